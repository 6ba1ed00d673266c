"""The service that the container serves; replace it with your own."""

import fastrpc


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b


app = fastrpc.App([Arith])
