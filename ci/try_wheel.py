"""Try an installed wheel, with what it declares to need and nothing else: run by ci/wheel in an empty environment."""

import asyncio
import importlib
import pkgutil
import sys

import fastrpc
from fastrpc import _core


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def call_over_tcp() -> int:
    async with fastrpc.Server(Arith()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as client:
            return await client.call(Arith.mul, 6, 7)


def main() -> None:
    walked = pkgutil.walk_packages(_core.__path__, "fastrpc._core.")
    modules = [found.name for found in walked if not found.ispkg]
    for name in modules:
        importlib.import_module(name)
    answer = asyncio.run(call_over_tcp())
    if answer != 42:
        sys.exit(f"wheel: 6 × 7 is {answer} over tcp")
    print(
        f"wheel: {len(modules)} compiled modules of {fastrpc.__file__} load, and a call over tcp is answered"
    )


if __name__ == "__main__":
    main()
