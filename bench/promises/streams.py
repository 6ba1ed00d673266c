"""Streams in one process for each side: `python -m bench.promises.streams serve`, and `… ADDRESS read|leave COUNT`.

`read` receives messages of 32 bytes for two seconds, one by one and many at once, and prints the rates; COUNT idle
streams are open as well. `leave` opens COUNT endless streams that it never reads, and prints its growth.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.promises.server import read_all_input

SECONDS = 2.0
KIB = 1024


@fastrpc.service("streams")
class Streams:
    """The streamed methods."""

    @fastrpc.method(codec="raw")
    async def endless(self, size: bytes) -> AsyncIterator[bytes]:
        block = bytes(int(size))
        while True:
            yield block


async def serve() -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Streams()) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


async def read(address: str, _count: int) -> dict[str, float]:
    """Return the messages a second of one stream, through `async for` and `receive_many`."""
    rates: dict[str, float] = {}
    async with fastrpc.Client(address) as client:
        async with client.stream(Streams.endless, b"32") as stream:
            received, began = 0, time.perf_counter()
            async for _ in stream:
                received += 1
                if received % 1_024 == 0 and time.perf_counter() > began + SECONDS:
                    break
            rates["async_for"] = received / (time.perf_counter() - began)
        async with client.stream(Streams.endless, b"32") as stream:
            received, began = 0, time.perf_counter()
            while time.perf_counter() < began + SECONDS:
                received += len(await stream.receive_many())
            rates["receive_many"] = received / (time.perf_counter() - began)
    return rates


async def leave(address: str, count: int) -> dict[str, float]:
    """Return by how many KiB this process grew for this number of unread streams."""
    async with fastrpc.Client(address) as client:
        async with client.stream(Streams.endless, b"32") as stream:
            await stream.receive()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        streams = [await client.stream(Streams.endless, b"1000").__aenter__() for _ in range(count)]
        await asyncio.sleep(SECONDS)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        for stream in streams:
            await stream.aclose()
    return {"kib": grown}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve())
    else:
        way = {"read": read, "leave": leave}[sys.argv[2]]
        print(json.dumps(uvloop.run(way(sys.argv[1], int(sys.argv[3])))), flush=True)
