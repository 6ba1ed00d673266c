"""Windows that grow: `python -m bench.promises.windows serve`, and `… ADDRESS fast|stop|slow`.

Each client prints the rate of a stream, its window at the end, and by how much the client grew. `fast` receives
messages of 64 KiB for two seconds. `stop` does the same and then receives nothing for two seconds; `slow` waits after
each message.
"""

import asyncio
import json
import resource
import sys
import time

import uvloop

import fastrpc
from bench.promises.streams import Streams, serve

SECONDS = 2.0
KIB = 1024


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def receive(client: fastrpc.Client, way: str) -> dict[str, float]:
    """Return the rate in MB/s, the window at the end and the growth of the process, in KiB."""
    async with client.stream(Streams.endless, b"65536") as stream:
        await stream.receive()
        size, before, began = 0, peak_kib(), time.perf_counter()
        while time.perf_counter() < began + SECONDS:
            size += len(await stream.receive())
            if way == "slow":
                await asyncio.sleep(0.01)
        seconds = time.perf_counter() - began
        window = stream._window_bytes
        if way == "stop":
            await asyncio.sleep(SECONDS)
        return {"rate": size / seconds / 1e6, "window": window / KIB, "grown": peak_kib() - before}


async def run(address: str, way: str) -> dict[str, float]:
    async with fastrpc.Client(address) as client:
        return await receive(client, way)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve())
    else:
        print(json.dumps(uvloop.run(run(sys.argv[1], sys.argv[2]))), flush=True)
