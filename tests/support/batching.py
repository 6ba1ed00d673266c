"""Runs of `fastrpc.Batcher` that note their batches."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import uvloop.loop

import fastrpc

__all__ = ["Doubling", "all_of", "is_idle"]

#: uvloop calls a function without delay by the first of its own.
_HANDLES = {asyncio.Handle, asyncio.TimerHandle, uvloop.loop.Handle, uvloop.loop.TimerHandle}


class Doubling:
    """A run that notes its batches, and waits for `gate` before it doubles the items."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.ends: list[str] = []
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def run(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("ended")
        return [ValueError(f"{item} is negative") if item < 0 else 2 * item for item in items]


async def all_of(batcher: fastrpc.Batcher[int, int], items: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(batcher(item) for item in items), return_exceptions=True)


def is_idle(batcher: fastrpc.Batcher[Any, Any], tasks: int = 1) -> bool:
    """Whether neither a line of callers, a task nor a timer is left."""
    return not batcher._lines and len(asyncio.all_tasks()) == tasks and not handles_of(batcher)


def handles_of(batcher: fastrpc.Batcher[Any, Any]) -> list[object]:
    """Return the callbacks of a batcher that a loop has yet to call, now or later.

    uvloop shows no list of it, so all handles of loops are looked at; one that was cancelled has no callback.
    """
    return [
        handle
        for handle in gc.get_objects()
        if type(handle) in _HANDLES
        and any(
            getattr(getattr(callback, "__self__", None), "_batcher", None) is batcher
            for callback in gc.get_referents(handle)
        )
    ]
