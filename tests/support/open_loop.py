"""Load that does not wait for answers: calls at fixed instants, even if earlier calls are still running."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import pytest

__all__ = ["OpenLoop"]

#: The shortest wait for the next call; calls that come due meanwhile are made in one go. uvloop takes waits below half
#: a millisecond for none at all, and would turn until the next call is due.
SHORTEST_WAIT = 0.002

#: A call that cannot be made so long after its instant, as this process or its machine was busy, was not offered.
LATE_SECONDS = 1.0

#: How much of the load has to be offered for a test to say anything.
LEAST_SHARE = 0.95


class OpenLoop:
    """Makes calls at a rate inside an `async with` block, which ends when all of them have.

    Args:
        rate: calls per second.
        call: makes one, given its number; must not raise.
    """

    def __init__(self, rate: float, call: Callable[[int], Awaitable[object]]) -> None:
        self._rate = rate
        self._call = call
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._is_over = False
        self._offering: asyncio.Task[None]
        #: Calls whose instant has come.
        self.due = 0
        #: The calls of these that were made.
        self.offered = 0

    async def __aenter__(self) -> Self:
        self._offering = asyncio.create_task(self._offer())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        await self._offering
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            self.check()

    def check(self) -> None:
        """Fail unless every call ended in the way it may; skip the test where the load could not be offered.

        `make services` takes a skip for a failure.
        """
        if self._error is not None:
            raise self._error
        if self.offered < LEAST_SHARE * self.due:
            pytest.skip(
                f"only {self.offered} of {self.due} calls could be offered: this machine is too busy to tell anything"
            )

    async def _offer(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not self._is_over:
            instant = started + self.due / self._rate
            wait = instant - loop.time()
            if wait > 0:
                await asyncio.sleep(max(wait, SHORTEST_WAIT))
                continue
            if wait > -LATE_SECONDS:
                task = loop.create_task(self._one(self.due))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self.offered += 1
            self.due += 1
            if self.due % 100 == 0:
                await asyncio.sleep(0)

    async def _one(self, number: int) -> None:
        try:
            await self._call(number)
        except Exception as error:
            self._error = self._error or error
