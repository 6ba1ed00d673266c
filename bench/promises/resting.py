"""Streams at rest, a process each: `python -m bench.promises.resting serve`, and `… ADDRESS idle|unread COUNT`.

`idle` opens COUNT streams without further messages, and prints its peak memory. `unread` makes round trips on COUNT
streams, alone and next to an unread stream of a gibibyte. It prints p99 of both, and its growth.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator

import uvloop

import fastrpc
from bench.compare.measurement import percentile
from bench.compare.peers.base import announce
from bench.promises.server import read_all_input

#: Streams of one connection, with few calls.
LIMITS = fastrpc.Limits(streams=20_000, concurrent_calls=30_000)

#: Streams opened at the same time.
TOGETHER = 500

SECONDS = 1.5
GAP_SECONDS = 0.05
OFFERED_BYTES, BLOCK = 1024**3, bytes(64 * 1024)


@fastrpc.service("resting")
class Resting:
    """The streamed methods."""

    @fastrpc.method
    async def idle(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    @fastrpc.method
    async def echo(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number

    @fastrpc.method
    async def offer(self) -> AsyncIterator[bytes]:
        for _ in range(OFFERED_BYTES // len(BLOCK)):
            yield BLOCK


async def serve() -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Resting(), config=fastrpc.ServerConfig(limits=LIMITS)) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def idle(client: fastrpc.Client, count: int) -> dict[str, float]:
    """Return the most KiB that this process held with so many streams."""
    streams = []

    async def open_one() -> None:
        stream = client.stream(Resting.idle)
        await stream.receive()
        streams.append(stream)

    while len(streams) < count:
        await asyncio.gather(*(open_one() for _ in range(TOGETHER)))
    peak = peak_kib()
    for stream in streams:
        stream.cancel()
    return {"peak_kib": peak}


async def unread(client: fastrpc.Client, count: int) -> dict[str, float]:
    """Return p99 of round trips without and with an unread stream, and that stream's growth in KiB."""
    await round_trips(client, count)
    alone = await round_trips(client, count)
    before = peak_kib()
    async with client.stream(Resting.offer) as offered:
        await offered.headers()
        beside = await round_trips(client, count)
        grown = peak_kib() - before
    return {"alone": alone, "beside": beside, "kib": grown}


async def round_trips(client: fastrpc.Client, count: int) -> float:
    """Return p99 of round trips on several streams, one per stream every `GAP_SECONDS`."""
    seconds: list[float] = []

    async def talk(number: int) -> None:
        async with client.open(Resting.echo) as stream:
            await asyncio.sleep(GAP_SECONDS * number / count)
            over = time.perf_counter() + SECONDS
            while (began := time.perf_counter()) < over:
                await stream.send(1)
                await stream.receive()
                seconds.append(time.perf_counter() - began)
                await asyncio.sleep(GAP_SECONDS)

    await asyncio.gather(*(talk(number) for number in range(count)))
    return percentile(sorted(seconds), 0.99)


async def run(address: str, kind: str, count: int) -> None:
    """Run the command line's measurement and print one line of JSON."""
    async with fastrpc.Client(address, config=fastrpc.ClientConfig(limits=LIMITS)) as client:
        await client.ready(timeout=10)
        print(json.dumps(await {"idle": idle, "unread": unread}[kind](client, count)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve())
    else:
        uvloop.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
