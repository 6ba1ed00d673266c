"""Small calls beside a transfer: `python -m bench.promises.fairness serve FOLDER`, and `… ADDRESS BESIDE`.

The client prints the p50 and p99 in seconds of 1 KiB calls made one after the other on a connection that moves 256 MiB
again and again: `nothing`, a `stream`, an `upload`, a `file` of a FileService, or `answers` of 16 MiB.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import uvloop

import fastrpc
from bench.compare.measurement import percentile
from bench.compare.peers.base import announce
from bench.promises.server import Promised, read_all_input
from fastrpc.files import FileService

__all__ = ["BESIDE"]

#: What may run beside the calls, and its title.
BESIDE = {
    "stream": "a stream of 256 MiB",
    "upload": "a streamed upload of 256 MiB",
    "file": "a file of 256 MiB",
    "answers": "answers of 16 MiB",
}

KIB, MIB = 1024, 1024 * 1024
TRANSFER = 256 * MIB
BLOCK = bytes(256 * KIB)
CALLS = 2_000


@fastrpc.service("fairness")
class Fairness:
    """What is transferred in streams."""

    @fastrpc.method(codec="raw")
    async def stream(self, size: bytes) -> AsyncIterator[bytes]:
        for _ in range(0, int(size), len(BLOCK)):
            yield BLOCK

    @fastrpc.method(codec="raw")
    async def upload(self, blocks: AsyncIterator[bytes]) -> bytes:
        return str(sum([len(block) async for block in blocks])).encode()


async def serve(folder: str) -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Promised(), Fairness(), FileService(folder)) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


async def blocks_of(size: int) -> AsyncIterator[bytes]:
    """Yield blocks of so many bytes in all."""
    for _ in range(0, size, len(BLOCK)):
        yield BLOCK


async def transfer(client: fastrpc.Client, beside: str) -> None:
    """Transfer 256 MiB again and again."""
    while beside != "nothing":
        if beside == "stream":
            async with client.stream(Fairness.stream, str(TRANSFER).encode()) as blocks:
                async for _ in blocks:
                    pass
        elif beside == "upload":
            await client.call(Fairness.upload, blocks_of(TRANSFER))
        elif beside == "file":
            async with client.stream(FileService.read, "large") as pieces:
                async for _ in pieces:
                    pass
        else:
            await client.call(Promised.give, str(16 * MIB - KIB).encode())


async def latencies(client: fastrpc.Client, beside: str) -> list[float]:
    """Return the seconds of each small call beside a transfer."""
    payload, seconds = bytes(KIB), list[float]()
    moving = asyncio.ensure_future(transfer(client.with_options(timeout=None), beside))
    try:
        for _ in range(CALLS):
            began = time.perf_counter()
            await client.call(Promised.echo, payload)
            seconds.append(time.perf_counter() - began)
        if moving.done():
            moving.result()
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
    return seconds


async def run(address: str, beside: str) -> dict[str, float]:
    """Measure what the command line asks for."""
    async with fastrpc.Client(address) as client:
        await client.ready(timeout=10)
        await latencies(client, "nothing")
        seconds = sorted(await latencies(client, beside))
    return {"p50": percentile(seconds, 0.5), "p99": percentile(seconds, 0.99)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(sys.argv[2]))
    else:
        print(json.dumps(uvloop.run(run(sys.argv[1], sys.argv[2]))), flush=True)
