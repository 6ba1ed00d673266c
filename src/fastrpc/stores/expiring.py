"""The end of expired leases of a store of this process, in turns that leave time for other work of its loop."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from fastrpc.time_limit import time_limit

__all__ = ["EXPIRED_AT_ONCE", "keep_expiring"]

#: Most leases that a store ends in one turn of its loop; each takes some 7 microseconds.
EXPIRED_AT_ONCE: Final = 256


async def keep_expiring(expire: Callable[[], float | None], changed: asyncio.Event) -> None:
    """End leases when they expire, until this is cancelled.

    Args:
        expire: ends at most EXPIRED_AT_ONCE leases, and returns the seconds until the next lease may expire; None: no
            lease.
        changed: is set when a lease may expire earlier.
    """
    while True:
        changed.clear()
        left = expire()
        if left == 0.0:
            # A peer may make leases as fast as it can, and these expire as fast: let calls run in between.
            await asyncio.sleep(0)
            continue
        with contextlib.suppress(TimeoutError):
            async with time_limit(left):
                await changed.wait()
