"""Concurrent awaitables, each of which runs to its end."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

__all__ = ["together"]

T = TypeVar("T")


async def together(works: Iterable[Awaitable[T]]) -> list[T]:
    """Run awaitables concurrently and return their results. Raise the first error after all have ended."""
    found: list[T] = []
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
        found.append(outcome)
    return found
