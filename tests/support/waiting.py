"""Waiting for what no event tells."""

import asyncio
import itertools
from collections.abc import Callable

__all__ = ["eventually"]

#: After so many turns of the loop, what is missing waits for a timer or another process: it is looked for in pauses,
#: which leave the processor to others.
BUSY_TURNS = 500
PAUSE_SECONDS = 0.001


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds; TimeoutError if it does not within twenty seconds."""
    async with asyncio.timeout(20):
        for turn in itertools.count():
            if condition():
                return
            await asyncio.sleep(0 if turn < BUSY_TURNS else PAUSE_SECONDS)
