"""Count the descriptors of a process, to see that nothing was left open."""

import asyncio
import os
import time

__all__ = ["descriptors_come_back_to", "open_descriptors", "other_threads_leave"]


def open_descriptors(process: int | None = None) -> int:
    """Count them now, in this process or another one. libuv keeps one in reserve from a loop's first stream on."""
    return len(os.listdir(f"/proc/{process or 'self'}/fd"))


async def descriptors_come_back_to(count: int) -> bool:
    """Say whether no more than this many are open, after at most ten seconds for the loop to close them."""
    try:
        async with asyncio.timeout(10):
            while open_descriptors() > count:
                await asyncio.sleep(0.001)
    except TimeoutError:
        return False
    return True


def other_threads_leave(count: int, process: int | None = None) -> bool:
    """Say the same where no loop runs: it is other threads, or another process, that have something to close."""
    ends = time.monotonic() + 10
    while open_descriptors(process) > count and time.monotonic() < ends:
        time.sleep(0.001)
    return open_descriptors(process) <= count
