"""A service with a handler of each kind, which counts its calls; the variable ARITH_NAME gives it another name."""

import asyncio
import os

import fastrpc
from fastrpc import CallError, Status, current_call

__all__ = ["Arith"]


@fastrpc.service(os.environ.get("ARITH_NAME", "arith"))
class Arith:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        self.ran += 1
        return a * b

    @fastrpc.method
    def add(self, a: int, b: int) -> int:
        self.ran += 1
        return a + b

    @fastrpc.method(inline=True)
    def sub(self, a: int, b: int) -> int:
        self.ran += 1
        return a - b

    @fastrpc.method
    async def fail(self, kind: str) -> None:
        self.ran += 1
        await asyncio.sleep(0)
        if kind == "refuse":
            raise CallError(Status.NOT_FOUND, "nothing there")
        if kind == "crash":
            raise ValueError("a bug")
        if kind == "cancel":
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    @fastrpc.method
    async def metadata(self) -> dict[str, str]:
        call = current_call()
        call.reply_metadata["from"] = "handler"
        return dict(call.metadata)
