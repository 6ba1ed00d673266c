"""Settlements of several messages, for backends that settle one by one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["settled_each"]

Token = TypeVar("Token")


async def settled_each(settle: Callable[[Token], Awaitable[bool]], tokens: Sequence[Token]) -> Sequence[bool]:
    """Settle messages side by side; raise the first error once all have ended."""
    outcomes = await asyncio.gather(*map(settle, tokens), return_exceptions=True)
    settled: list[bool] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        settled.append(outcome)
    return settled
