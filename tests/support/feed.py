"""A service whose methods stream, in every way a handler can."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import fastrpc
from fastrpc import CallError, Status, current_call

__all__ = ["Feed"]


@fastrpc.service("feed")
class Feed:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.thread_goes_on = threading.Event()
        #: The exceptions of generators at their `yield` when they had to end, and their progress.
        self.ends: list[str] = []
        self.yielded = 0
        self.ended = asyncio.Event()

    def note_end(self, error: BaseException) -> None:
        self.ends.append(type(error).__name__)
        self.ended.set()

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def endless(self, size: int) -> AsyncIterator[bytes]:
        """Yield without ever awaiting."""
        try:
            while True:
                self.yielded += 1
                yield bytes(size)
        except BaseException as error:
            self.note_end(error)
            raise

    @fastrpc.method
    async def awaited(self) -> AsyncIterator[int]:
        """Yield one message, then wait for the test."""
        try:
            yield 1
            await self.go_on.wait()
            yield 2
        except BaseException as error:
            self.note_end(error)
            raise

    @fastrpc.method
    async def stubborn(self) -> AsyncIterator[int]:
        """Swallow the cancellation, and yield all the same."""
        number = 0
        while True:
            number += 1
            try:
                yield number
                if number > 1:
                    await self.go_on.wait()
            except asyncio.CancelledError as error:
                self.note_end(error)

    @fastrpc.method
    async def refuse(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise CallError(Status.NOT_FOUND, "no more of them", details={"after": after})

    @fastrpc.method
    async def crash(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise ZeroDivisionError

    @fastrpc.method
    async def wrong(self) -> AsyncIterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]

    @fastrpc.method
    async def until_drain(self) -> AsyncIterator[int]:
        yield 1
        await current_call().draining
        yield 2

    @fastrpc.method
    async def described(self) -> AsyncIterator[str]:
        current_call().reply_metadata["first"] = "1"
        yield "a"
        current_call().reply_metadata["last"] = "2"

    @fastrpc.method
    async def early(self) -> AsyncIterator[str]:
        current_call().reply_metadata["first"] = "1"
        await current_call().send_metadata()
        await self.go_on.wait()
        yield "a"

    @fastrpc.method
    async def sized(self, sizes: list[int]) -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        try:
            async for number in numbers:
                start += number
        except BaseException as error:
            self.note_end(error)
            raise
        return start

    @fastrpc.method
    async def first(self, numbers: AsyncIterator[int]) -> int:
        return await anext(numbers)

    @fastrpc.method
    async def unread(self, blocks: AsyncIterator[bytes]) -> int:
        await self.go_on.wait()
        return sum([len(block) async for block in blocks])

    @fastrpc.method
    async def deaf(self, numbers: AsyncIterator[int]) -> int:
        """Keep receiving in spite of cancellations, until three ends are noted."""
        seen = 0
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                async for _ in numbers:
                    seen += 1
                return seen
            self.note_end(asyncio.CancelledError())
            if len(self.ends) == 3:
                return seen

    @fastrpc.method
    async def scale(self, numbers: AsyncIterator[int], by: int) -> AsyncIterator[int]:
        async for number in numbers:
            yield number * by

    @fastrpc.method
    async def mirror(self, values: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for value in values:
            yield value

    @fastrpc.method
    def lines(self, limit: int) -> Iterator[int]:
        yield from range(limit)

    @fastrpc.method
    def blocks(self, size: int) -> Iterator[bytes]:
        try:
            while True:
                self.yielded += 1
                yield bytes(size)
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise
        finally:
            self.ends.append("finally")

    @fastrpc.method
    def paced(self) -> Iterator[int]:
        yield 1
        self.thread_goes_on.wait()
        yield 2

    @fastrpc.method
    def broken(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise CallError(Status.ABORTED, "in the thread")

    @fastrpc.method(inline=True)
    def inline(self, limit: int) -> Iterator[int]:
        yield from range(limit)

    @fastrpc.method
    async def unary(self, value: Any) -> Any:
        return value
