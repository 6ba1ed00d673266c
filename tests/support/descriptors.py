"""Count the descriptors of this process, to see that nothing was left open."""

import asyncio
import os
import time

__all__ = ["descriptors_come_back_to", "open_descriptors", "other_threads_leave"]


def open_descriptors() -> int:
    """Count them now. libuv keeps one more in reserve from a loop's first stream on: count after that."""
    return len(os.listdir("/proc/self/fd"))


async def descriptors_come_back_to(count: int) -> bool:
    """Say whether no more than this many are open, after at most ten seconds for the loop to close them."""
    try:
        async with asyncio.timeout(10):
            while open_descriptors() > count:
                await asyncio.sleep(0.001)
    except TimeoutError:
        return False
    return True


def other_threads_leave(count: int) -> bool:
    """Say the same where no loop runs: it is other threads that have something to close."""
    ends = time.monotonic() + 10
    while open_descriptors() > count and time.monotonic() < ends:
        time.sleep(0.001)
    return open_descriptors() <= count
