"""Wrong credentials of some calls, and valid calls of the same connection.

`python -m bench.promises.guessed serve` serves, `… ADDRESS` measures and prints JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from typing import Any

import uvloop

import fastrpc
from bench.compare.processes import choose_cores, run_client, running_server
from bench.promises.access import TOKEN, serve
from bench.promises.finding import Finding

__all__ = ["guessed_tokens"]

SECONDS = 3.0
#: Calls with a wrong credential each second, for which a gateway that passes tokens on needs one bad user.
GUESSES = 20

_COMMAND = [sys.executable, "-m", "bench.promises.guessed"]


def guessed_tokens() -> list[Finding]:
    """A connection that carries wrong credentials of some calls."""
    with running_server([*_COMMAND, "serve"], choose_cores().server) as server:
        found = run_client([*_COMMAND, server.address], choose_cores().client, 30)
    return [
        Finding(
            f"a connection with {GUESSES} wrong credentials a second: the slowest of its other calls",
            found["slowest"] * 1e3,
            300,
            "ms",
            f"of {found['calls']:,.0f}; a verdict for this host waits for a second; {found['refused']:,.0f} refused",
        )
    ]


async def refused(call: Awaitable[Any]) -> bool:
    """Return whether a call is refused."""
    try:
        await call
    except fastrpc.FastRPCError:
        return True
    return False


async def load(address: str) -> dict[str, float]:
    """Make valid calls, one after the other, during wrong ones."""
    async with fastrpc.Client(address, credentials=TOKEN, fail_mode="failfast") as client:
        await client.ready(timeout=10)
        took: list[float] = []
        guesses: list[asyncio.Future[bool]] = []
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + SECONDS:
            if len(guesses) < (now - began) * GUESSES:
                wrong = client.with_options(metadata={"authorization": f"Bearer wrong-{len(guesses)}"})
                guesses.append(asyncio.ensure_future(refused(wrong.call("bench.echo", b""))))
            await client.call("bench.echo", b"")
            took.append(time.perf_counter() - now)
            await asyncio.sleep(0.002)
        found = await asyncio.gather(*guesses)
    return {"slowest": max(took), "calls": len(took), "refused": sum(found)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve("guarded"))
    else:
        print(json.dumps(uvloop.run(load(sys.argv[1]))), flush=True)
