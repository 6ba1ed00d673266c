"""A service with every kind of streaming method, and the records of its handlers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import fastrpc
from tests.support.served import served

__all__ = ["Feed", "calling", "idle"]


async def idle(client: fastrpc.Client) -> None:
    """Return once no call of a client holds a place any more."""
    async with asyncio.timeout(10):
        while client.stats()["live"]["calls"]:
            await asyncio.sleep(0)


@asynccontextmanager
async def calling(feed: "Feed", scheme: str = "memory", **options: Any) -> AsyncIterator[fastrpc.Client]:
    """Serve a feed and yield a client of it that is connected."""
    async with served(feed, scheme=scheme) as address, fastrpc.Client(address, **options) as client:
        await client.ready(timeout=10)
        yield client


@fastrpc.service("feed")
class Feed:
    """Counts its starts; cancelled handlers are noted by name."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.received: list[object] = []
        self.left: list[str] = []
        self.has_left = asyncio.Event()
        self.may_go_on = asyncio.Event()

    def _leave(self, name: str) -> None:
        self.left.append(name)
        self.has_left.set()

    @fastrpc.method
    async def latest(self) -> int:
        """Give one answer."""
        return 42

    @fastrpc.method(idempotent=True)
    async def count(self, limit: int) -> AsyncIterator[int]:
        """Give the numbers below a limit."""
        self.started["count"] += 1
        for number in range(limit):
            yield number

    @fastrpc.method
    def lines(self, text: str) -> Iterator[str]:
        """Give the lines of a text, from a thread."""
        yield from text.splitlines()

    @fastrpc.method
    async def blocks(self, size: int, limit: int) -> AsyncIterator[bytes]:
        """Give the given number of blocks of a size."""
        for number in range(limit):
            yield bytes([number % 256]) * size

    @fastrpc.method(idempotent=True)
    async def watch(self) -> AsyncIterator[str]:
        """Give one message, then wait to be cancelled."""
        self.started["watch"] += 1
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            self._leave("watch")

    @fastrpc.method
    async def silent(self) -> AsyncIterator[str]:
        """Give nothing before it is cancelled."""
        self.started["silent"] += 1
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            self._leave("silent")

    @fastrpc.method
    async def broken(self, limit: int) -> AsyncIterator[int]:
        """Give some numbers, then refuse."""
        for number in range(limit):
            yield number
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "there is no more", details={"at": limit})

    @fastrpc.method
    async def crashing(self) -> AsyncIterator[int]:
        """Give a number, then crash."""
        yield 1
        raise ZeroDivisionError

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        """Add up the received numbers."""
        self.started["total"] += 1
        result = 0
        try:
            async for number in numbers:
                self.received.append(number)
                result += number
        finally:
            self._leave("total")
        return result

    @fastrpc.method
    async def scaled(self, numbers: AsyncIterator[int], factor: int, *, offset: int = 0) -> int:
        """Add up the received numbers, with arguments in addition to the stream."""
        return offset + factor * sum([number async for number in numbers])

    @fastrpc.method
    async def first(self, numbers: AsyncIterator[int]) -> int:
        """Answer the first number; the other ones are not read."""
        async for number in numbers:
            return number
        return -1

    @fastrpc.method
    async def unread(self, numbers: AsyncIterator[bytes]) -> None:
        """Read nothing until the test says so."""
        await self.may_go_on.wait()

    @fastrpc.method
    async def echo(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        """Return the received texts, louder."""
        self.started["echo"] += 1
        try:
            async for message in messages:
                yield message.upper()
        finally:
            self._leave("echo")
