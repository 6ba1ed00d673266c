"""A signal for one task. An `asyncio.Event` takes three calls of Python for each wait."""

import asyncio
from typing import Any

__all__ = ["TaskSignal"]


class TaskSignal:
    """A flag that wakes the waiting task, and stays set until that task clears it."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self, _: Any = None) -> None:
        """Let the present wait end, or the next one."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Let the next wait last until the signal is set again."""
        self._is_set = False

    def wait(self) -> "asyncio.Future[None]":
        """Return a future that is done once the signal is set; one task waits at a time."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._is_set:
            self._waiter.set_result(None)
        return self._waiter
