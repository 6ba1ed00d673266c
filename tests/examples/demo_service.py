"""The service that the demonstration calls: `fastrpc run demo_service:Demo` serves it.

A class under @service. Its signatures are the schema.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import fastrpc

__all__ = ["Demo", "Order", "Receipt"]


@dataclass
class Order:
    item: str
    pieces: int


@dataclass
class Receipt:
    text: str
    total: float


@fastrpc.service("demo")
class Demo:
    """Everything that the demonstration calls."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.sleeping = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.working = 0
        self.squares = fastrpc.Batcher(self._square_all, size=50)
        self.enough = asyncio.Event()

    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        """Multiply."""
        self.started["mul"] += 1
        return a * b

    @fastrpc.method
    async def buy(self, order: Order, *, price: float = 2.5) -> Receipt:
        """Take a dataclass, give another."""
        return Receipt(f"{order.pieces} x {order.item}", order.pieces * price)

    @fastrpc.method
    def blocking(self, words: list[str]) -> str:
        """Run in a thread, so it may block."""
        return " ".join(words)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        """Return the bytes as they came, untouched by any codec."""
        return data

    @fastrpc.method
    async def shout(self, text: str) -> str:
        """Give a long text back, larger."""
        return text.upper()

    @fastrpc.method(idempotent=True)
    async def numbers(self, limit: int) -> AsyncIterator[int]:
        """Stream numbers. With a limit of 0 they continue until the caller has left."""
        try:
            for number in itertools.count() if limit == 0 else range(limit):
                yield number
        finally:
            if limit == 0:
                self.cancelled.set()

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        """Add up a stream."""
        return sum([number async for number in numbers])

    @fastrpc.method
    async def talk(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        """Answer each word as it comes."""
        async for word in words:
            yield word.upper()

    @fastrpc.method
    async def sleep(self) -> None:
        """Go on until cancelled, and remember that."""
        self.sleeping.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.sleeping.clear()

    @fastrpc.method
    async def see_sleeping(self) -> bool:
        """Return once `sleep` has started."""
        return await self.sleeping.wait()

    @fastrpc.method
    async def see_cancelled(self) -> bool:
        """Return once `sleep` was cancelled."""
        await self.cancelled.wait()
        self.cancelled.clear()
        return True

    @fastrpc.method
    async def square(self, number: int) -> int:
        """Wait for a batch that has this number."""
        return await self.squares(number)

    async def _square_all(self, numbers: list[int]) -> list[int]:
        self.started["square"] += 1
        return [number * number for number in numbers]

    @fastrpc.method
    async def count(self, method: str) -> int:
        """Return how often the handler of a method has started."""
        return self.started[method]

    @fastrpc.method(idempotent=True)
    async def work(self, number: int) -> int:
        """Take a moment, or as long as `hold` says."""
        self.working += 1
        if self.working >= 20 and not self.release.is_set():
            self.enough.set()
        try:
            await asyncio.sleep(0.005)
            await self.release.wait()
            return number * 2
        finally:
            self.working -= 1

    @fastrpc.method
    async def hold(self) -> int:
        """Let `work` wait; returns once 20 calls of it do."""
        self.release.clear()
        await self.enough.wait()
        return self.working
