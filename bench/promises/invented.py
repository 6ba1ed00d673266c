"""Names that a caller invents.

`python -m bench.promises.invented ADDRESS FIRST COUNT` calls so many methods that the server does not have.
"""

import asyncio
import contextlib
import json
import sys

import uvloop

import fastrpc
from bench.compare.processes import choose_cores, run_client
from bench.promises.finding import Finding, serving

__all__ = ["invented_names"]

NAMES = 100_000
#: The allocator has its blocks after these.
BEFORE = 20_000
AT_ONCE = 500


def invented_names() -> Finding:
    """100,000 methods that the server does not have."""
    with serving() as server:

        def call(first: int, count: int) -> None:
            command = [sys.executable, "-m", "bench.promises.invented", server.address]
            run_client([*command, str(first), str(count)], choose_cores().client, 120)

        call(0, BEFORE)
        before = server.peak_bytes()
        call(BEFORE, NAMES)
        grown = (server.peak_bytes() - before) / 1024
    details = "the names alone would be some 8,000"
    return Finding(f"{NAMES:,} unknown methods: the server grows by", grown, 2_048, "KiB", details)


async def load(address: str, first: int, count: int) -> dict[str, float]:
    """Call methods that do not exist."""
    async with fastrpc.Client(address, fail_mode="failfast") as client:

        async def call(number: int) -> None:
            with contextlib.suppress(fastrpc.FastRPCError):
                await client.call(f"invented{number}.method{number}")

        for start in range(first, first + count, AT_ONCE):
            await asyncio.gather(*map(call, range(start, start + AT_ONCE)))
    return {"calls": count}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))), flush=True)
