"""Waiting for what no event tells."""

import asyncio
from collections.abc import Callable

__all__ = ["eventually"]


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds; TimeoutError if it does not within twenty seconds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)
