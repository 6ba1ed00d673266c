"""The embedded registry with many records: prints as JSON how long its loop is blocked while it writes them.

python -m bench.promises.snapshot BYTES
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import uvloop

from fastrpc import Endpoint
from fastrpc.coordination import RegistryService
from fastrpc.registries.base.record import encode_record

#: The most bytes of a record.
RECORD_BYTES = 8_192

#: Labels that fill a record nearly up.
LABELS = {f"label-{number:02}": "x" * 500 for number in range(15)}

LEASE_SECONDS = 600.0

SNAPSHOTS = 3


class Ticks:
    """Requests turns of the loop all the time while its block lasts, and keeps the longest wait for one."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Self:
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)

    async def _tick(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before - 0.001)
            before = now


def record_at(number: int) -> str:
    """Return a record of nearly 8 KiB."""
    address = f"tcp://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:8972"
    text = encode_record(Endpoint(address, labels=LABELS)).decode()
    filler = {"filler": "x" * min(512, RECORD_BYTES - len(text) - len(',"filler":""'))}
    return encode_record(Endpoint(address, labels=LABELS | filler)).decode()


def replaced(file: Path, before: int, least: int = 0) -> int:
    """Wait, in a thread, for new content of a file of this size; return its time of creation."""
    while not file.exists() or file.stat().st_mtime_ns == before or file.stat().st_size < least:
        time.sleep(0.01)
    return file.stat().st_mtime_ns


async def measure(total: int, folder: Path) -> dict[str, float]:
    """Fill a registry, then let it write snapshots of everything."""
    file = folder / "registry.json"
    async with RegistryService(folder) as service:
        count = total // RECORD_BYTES + 1
        for number in range(count):
            await service.register("bench", record_at(number), LEASE_SECONDS)
        written = await asyncio.to_thread(replaced, file, 0, total)
        stalls, quiet, seconds = [], [], []
        for number in range(SNAPSHOTS):
            async with Ticks() as ticks:
                await asyncio.sleep(0.5)
            quiet.append(ticks.longest)
            begun = time.perf_counter()
            async with Ticks() as ticks:
                await service.register("bench", record_at(count + number), LEASE_SECONDS)
                written = await asyncio.to_thread(replaced, file, written)
            seconds.append(time.perf_counter() - begun)
            stalls.append(ticks.longest)
    return {
        "records": count,
        "stall_ms": statistics.median(stalls) * 1e3,
        "quiet_ms": statistics.median(quiet) * 1e3,
        "seconds": statistics.median(seconds),
    }


def main(total: str) -> None:
    """Print the measurements as one line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(uvloop.run(measure(int(total), Path(folder)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
