"""The time of one operation while several tasks run operations one after the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["IN_FLIGHT", "WARM_SECONDS", "Window", "together"]

#: Tests make both smaller.
IN_FLIGHT = 64
WARM_SECONDS = 0.3


class Window:
    """Counts operations between the end of a warm-up and some seconds later."""

    def __init__(self) -> None:
        self._done = 0
        self._one_done = asyncio.Event()

    def note(self, count: int = 1) -> None:
        """Count operations that ended."""
        self._done += count
        self._one_done.set()

    async def measure(self, seconds: float) -> float:
        """Return the seconds by the number of operations."""
        await asyncio.sleep(WARM_SECONDS)
        self._one_done.clear()
        first, started = self._done, time.perf_counter()
        await asyncio.sleep(seconds)
        # One operation may take longer than the whole window.
        await self._one_done.wait()
        return (time.perf_counter() - started) / (self._done - first)


async def together(
    operation: Callable[[int], Awaitable[object]],
    seconds: float,
    *,
    tasks: int | None = None,
) -> float:
    """Return the time per operation of several tasks, 64 or as given, each running operations one after another."""
    window = Window()
    running = True

    async def repeat(number: int) -> None:
        while running:
            await operation(number)
            window.note()

    async with asyncio.TaskGroup() as group:
        for number in range(IN_FLIGHT if tasks is None else tasks):
            group.create_task(repeat(number))
        found = await window.measure(seconds)
        running = False
    return found
