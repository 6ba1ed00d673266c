"""Waiting for conditions without an event."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["eventually", "overdue_inside"]

#: A condition that does not hold after this many turns of the loop waits for a timer or another process. Further looks
#: come after pauses, which leave the processor to other programs and are longer after the first `SHORT_PAUSES`.
BUSY_TURNS = 50
PAUSE_SECONDS = 0.001
SHORT_PAUSES = 50
LONG_PAUSE_SECONDS = 0.004

#: A machine that is busy with other things gives few looks in twenty seconds: at least this number is made.
LOOKS = 1_500


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds; TimeoutError if it does not within twenty seconds and `LOOKS` looks."""
    until = time.monotonic() + 20
    for turn in itertools.count():
        if condition():
            return
        if turn >= LOOKS and time.monotonic() >= until:
            raise TimeoutError("it does not hold within twenty seconds")
        await asyncio.sleep(_pause(turn))


def _pause(turn: int) -> float:
    """Return the seconds before the next look."""
    if turn < BUSY_TURNS:
        return 0
    return PAUSE_SECONDS if turn < BUSY_TURNS + SHORT_PAUSES else LONG_PAUSE_SECONDS


async def overdue_inside(call: Callable[[], Awaitable[Any]], has_begun: Callable[[], object]) -> TimeoutError:
    """Make calls of little time until one runs out of it in its handler, and return that one's error.

    A machine that stalls takes all of the time before the handler begins.
    """
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except TimeoutError as error:
                if has_begun():
                    return error
            else:
                raise AssertionError("the call ended in time")
