"""A service whose streams wait for the test between their messages."""

import asyncio
from collections.abc import AsyncIterator

import fastrpc
from fastrpc import CallError, Status, current_call

__all__ = ["Talk"]


@fastrpc.service("talk")
class Talk:
    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.ended = asyncio.Event()
        self.started = 0
        self.sums: list[int] = []

    @fastrpc.method
    async def described(self) -> AsyncIterator[str]:
        current_call().reply_metadata["first"] = "1"
        await current_call().send_metadata()
        await self.may_go_on.wait()
        yield "a"
        current_call().reply_metadata["last"] = "2"

    @fastrpc.method
    async def with_message(self) -> AsyncIterator[str]:
        current_call().reply_metadata["first"] = "1"
        yield "a"
        await self.may_go_on.wait()

    @fastrpc.method
    async def refusing(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        """Double two numbers, then refuse."""
        yield 2 * await anext(numbers)
        yield 2 * await anext(numbers)
        raise CallError(Status.FAILED_PRECONDITION, "enough of them")

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        try:
            async for number in numbers:
                self.sums.append(number)
        finally:
            self.ended.set()
        return sum(self.sums)

    @fastrpc.method
    async def after_the_end(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        """Answer only once the caller sends nothing more."""
        received = [number async for number in numbers]
        for number in received:
            yield number

    @fastrpc.method
    async def unread(self, blocks: AsyncIterator[bytes]) -> int:
        await self.may_go_on.wait()
        return 0

    @fastrpc.method
    async def paced(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number
        await self.may_go_on.wait()

    @fastrpc.method(idempotent=True)
    async def silent(self) -> AsyncIterator[int]:
        self.started += 1
        try:
            await self.may_go_on.wait()
            yield 1
        finally:
            self.ended.set()

    @fastrpc.method(timeout=0.2)
    async def short(self) -> AsyncIterator[int]:
        await self.may_go_on.wait()
        yield 1
