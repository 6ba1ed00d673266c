"""Small calls during a transfer: `python -m bench.promises.fairness serve FOLDER`, and `… ADDRESS BESIDE`.

The client prints the p50 and p99 in seconds of 1 KiB calls made one after the other on a connection that moves 256 MiB
again and again: `nothing`, a `stream`, an `upload`, a `file` of a FileService, or `answers` of 16 MiB. `handler` is the
p99 from the call to its handler, which is the server's share: it reads while it writes.

An answer of 16 MiB is one value of the client's program. Its memory does not matter: the allocator reuses it, freeing
it takes a microsecond, and a pool for it changes nothing. Slow calls are in the middle of its transfer.
"""

import asyncio
import json
import struct
import sys
import time
from collections.abc import AsyncIterator

import uvloop

import fastrpc
from bench.compare.measurement import percentile
from bench.compare.peers.base import announce
from bench.promises.server import read_all_input
from fastrpc.files import FileService

__all__ = ["BESIDE"]

#: Work that may run during the calls, and its title.
BESIDE = {
    "stream": "a stream of 256 MiB",
    "upload": "a streamed upload of 256 MiB",
    "file": "a file of 256 MiB",
    "answers": "answers of 16 MiB",
}

KIB, MIB = 1024, 1024 * 1024
TRANSFER = 256 * MIB
BLOCK = bytes(256 * KIB)
#: Made once: zeroing it again each time would block the server's loop for more than a millisecond.
ANSWER = bytes(16 * MIB - KIB)
#: The instant at which its handler ran, before the payload of an answer; both processes have one clock.
INSTANT = struct.Struct("<d")
CALLS = 2_000


@fastrpc.service("fairness")
class Fairness:
    """The called method, and the transferred data."""

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return INSTANT.pack(time.perf_counter()) + payload[INSTANT.size :]

    @fastrpc.method(codec="raw")
    async def give(self, payload: bytes) -> bytes:
        return ANSWER

    @fastrpc.method(codec="raw")
    async def stream(self, size: bytes) -> AsyncIterator[bytes]:
        for _ in range(0, int(size), len(BLOCK)):
            yield BLOCK

    @fastrpc.method(codec="raw")
    async def upload(self, blocks: AsyncIterator[bytes]) -> bytes:
        return str(sum([len(block) async for block in blocks])).encode()


async def serve(folder: str) -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Fairness(), FileService(folder)) as server:
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
            await client.call(Fairness.give, b"")


async def latencies(client: fastrpc.Client, beside: str) -> tuple[list[float], list[float]]:
    """Return the seconds of each small call during a transfer, and the seconds until its handler ran."""
    payload, seconds, until_handler = bytes(KIB), list[float](), list[float]()
    moving = asyncio.ensure_future(transfer(client.with_options(timeout=None), beside))
    try:
        for _ in range(CALLS):
            began = time.perf_counter()
            answer = await client.call(Fairness.echo, payload)
            seconds.append(time.perf_counter() - began)
            until_handler.append(INSTANT.unpack_from(answer)[0] - began)
        if moving.done():
            moving.result()
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
    return sorted(seconds), sorted(until_handler)


async def run(address: str, beside: str) -> dict[str, float]:
    """Run the measurement of the command line."""
    async with fastrpc.Client(address) as client:
        await client.ready(timeout=10)
        await latencies(client, "nothing")
        seconds, until_handler = await latencies(client, beside)
    return {
        "p50": percentile(seconds, 0.5),
        "p99": percentile(seconds, 0.99),
        "handler": percentile(until_handler, 0.99),
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(sys.argv[2]))
    else:
        print(json.dumps(uvloop.run(run(sys.argv[1], sys.argv[2]))), flush=True)
