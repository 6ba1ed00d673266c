"""Calls that run all the time, at a pace, and the servers that answer them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastrpc import Client
from tests.support.who import Who

__all__ = ["PacedCalls", "paced_calls"]

#: Callers, and seconds between two calls of each: at most 500 calls/s.
CALLERS = 10
PAUSE_SECONDS = 0.02

#: The calls by which a change is seen.
WINDOW = 200


class PacedCalls:
    """Idempotent calls of one client to the service `who`; a failed one fails the test.

    Args:
        seconds: the time in which calls follow a change.
    """

    def __init__(self, client: Client, seconds: float) -> None:
        self._seconds = seconds
        self._client = client
        self._answers: Counter[str] = Counter()
        self._answered = asyncio.Event()
        self.is_over = False

    async def run(self) -> None:
        """Make one call after the other until `is_over`."""
        while not self.is_over:
            self._answers[await self._client.call(Who.name_of)] += 1
            self._answered.set()
            await asyncio.sleep(PAUSE_SECONDS)

    async def go_to(self, *names: str) -> None:
        """Wait until the last calls were answered by exactly these servers."""
        async with asyncio.timeout(self._seconds):
            while (await self._window()).keys() != set(names):
                pass

    async def lean_to(self, name: str) -> None:
        """Wait until a server answers most of the last calls: more than three of four."""
        async with asyncio.timeout(self._seconds):
            while (await self._window())[name] <= WINDOW * 0.75:
                pass

    async def _window(self) -> Counter[str]:
        answers = self._answers = Counter()
        while answers.total() < WINDOW:
            self._answered.clear()
            await self._answered.wait()
        return answers


@asynccontextmanager
async def paced_calls(registry: str, seconds: float = 60.0) -> AsyncIterator[PacedCalls]:
    """Make calls to the servers in a registry, by their weights."""
    async with Client("who", registry=registry, selector="weighted") as client:
        calls = PacedCalls(client, seconds)
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(calls.run())
            try:
                yield calls
            finally:
                calls.is_over = True
