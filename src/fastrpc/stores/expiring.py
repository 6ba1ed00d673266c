"""End the expired leases of a store in this process, in batches between which the event loop can do other work."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from fastrpc.time_limit import time_limit

__all__ = ["EXPIRED_AT_ONCE", "keep_expiring"]

#: Most leases that a store ends in one iteration of the loop. Each takes some 7 µs.
EXPIRED_AT_ONCE: Final = 256


async def keep_expiring(expire: Callable[[], float | None], changed: asyncio.Event) -> None:
    """End leases when they expire, until this is cancelled.

    Args:
        expire: ends at most EXPIRED_AT_ONCE leases; returns the seconds until the next lease may expire, or None
            without leases.
        changed: an event that is set when a lease may expire earlier.
    """
    while True:
        changed.clear()
        left = expire()
        if left == 0.0:
            # Let calls run in between: a peer may create leases as fast as it can, and these expire as fast.
            await asyncio.sleep(0)
            continue
        with contextlib.suppress(TimeoutError):
            async with time_limit(left):
                await changed.wait()
