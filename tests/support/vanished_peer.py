"""A program whose caller vanishes: no packet passes any more, while nothing of the caller is read.

::

    unshare --map-root-user --net python -m tests.support.vanished_peer WAY INTERVAL TIMEOUT [uvloop]

prints the seconds after which its handler is cancelled. It needs a separate network, whose loopback it takes down.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import uvloop

from fastrpc import Keepalive, Timeouts
from tests.support.held_caller import WAYS, calling


async def measure(way: str, interval: float, timeout: float) -> float:
    """Return how long it takes to notice."""
    keepalive = Keepalive(interval=interval, timeout=timeout)
    options = {"keepalive": keepalive, "timeouts": Timeouts(call=None)}
    async with calling("tcp", None, Path(), WAYS[way], **options) as (service, _, _):
        # Blocking, so that nothing else happens at that moment.
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        began = time.monotonic()
        async with asyncio.timeout(10 * (interval + timeout)):
            await service.cancelled.wait()
        return time.monotonic() - began


def main(way: str, interval: str, timeout: str, loop: str = "asyncio") -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    make_loop = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        print(runner.run(measure(way, float(interval), float(timeout))))


if __name__ == "__main__":
    main(*sys.argv[1:])
