"""Time that the loop had: on a busy machine it measures promises about deadlines."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["RunningTime"]

#: How often the clock looks, and the longest pause between two looks that counts as running.
_TICK_SECONDS = 0.005
_LONGEST_SECONDS = 0.015


class RunningTime:
    """A clock that stands still while something keeps the loop from running."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = 0.0
        self._seen = self._loop.time()
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> float:
        """Return the seconds."""
        self._look()
        return self._seen - self._lost

    @contextmanager
    def ticking(self) -> Iterator["RunningTime"]:
        """Let it run inside."""
        self._tick()
        try:
            yield self
        finally:
            if self._handle is not None:
                self._handle.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        self._lost += max(0.0, now - self._seen - _LONGEST_SECONDS)
        self._seen = now

    def _tick(self) -> None:
        self._look()
        self._handle = self._loop.call_later(_TICK_SECONDS, self._tick)
