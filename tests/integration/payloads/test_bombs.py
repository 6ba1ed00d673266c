"""Several bombs hold a part of the server's memory, and other callers are served meanwhile."""

import asyncio
import gzip
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fastrpc import CallError, Client, OverloadedError, Status
from tests.support.bombs import (
    MIB,
    WAYS,
    Ask,
    Bombs,
    bomb,
    peak_bytes,
    reset_peak,
    resident_bytes,
)
from tests.support.program import Program
from tests.support.raw_streams import CLIENT_STREAM, stream_peer
from tests.support.wire_frames import Credit, Data, Response

ROOT = Path(__file__).parents[3]
CONNECTIONS = 100
RATE = 500
MOST_BYTES = 384 * MIB
MOST_LATE = 1.5
#: A body of 16 MB takes some 35 ms once it is unpacked, and a turn of the loop may have several.
MOST_STALLED = 0.15


pytestmark = [pytest.mark.measures, pytest.mark.one_loop]


def slow_text() -> str:
    """Return a text that gzip takes a while for, and shrinks to a third."""
    words = random.Random(3)
    text = "".join(words.choice(["what ", "one ", "sends ", "many ", "keep "]) for _ in range(200_000))
    return text[:1_000_000]


class Measured:
    """A server process, the load of a good client on it, and the results of both."""

    def __init__(self, program: Program, address: str) -> None:
        self.process_id = program.process_id
        self.address = address
        self.answered = 0
        self.refused = 0
        self.latest = 0.0
        self.growth = 0
        self.stalled = 0.0

    async def _call(self, client: Client) -> None:
        began = time.perf_counter()
        try:
            await client.call(Bombs.echo, b"x" * 32)
            self.answered += 1
        except (CallError, OverloadedError) as error:
            if error.status is not Status.RESOURCE_EXHAUSTED:
                raise
            self.refused += 1
        self.latest = max(self.latest, time.perf_counter() - began)

    async def _load(self, client: Client) -> None:
        calls: set[asyncio.Task[None]] = set()
        begin = time.perf_counter()
        try:
            while True:
                due = int((time.perf_counter() - begin) * RATE)
                while self.answered + self.refused + len(calls) < due:
                    call = asyncio.create_task(self._call(client))
                    calls.add(call)
                    call.add_done_callback(calls.discard)
                await asyncio.sleep(0.002)
        finally:
            await asyncio.gather(*calls)

    @asynccontextmanager
    async def attacked(self) -> AsyncIterator[None]:
        """Measure the effect of the block on the server, and on a good client."""
        async with Client(self.address) as client:
            await self._call(client)
            idle = resident_bytes(self.process_id)
            reset_peak(self.process_id)
            await client.call(Bombs.stall)
            load = asyncio.create_task(self._load(client))
            try:
                yield
            finally:
                load.cancel()
                await asyncio.wait([load])
                self.growth = peak_bytes(self.process_id) - idle
                self.stalled = await client.call(Bombs.stall)

    def check(self, name: str, told: object) -> None:
        print(
            f"{name}: +{self.growth / MIB:.0f} MiB, stall {self.stalled * 1e3:.0f} ms, good client "
            f"{self.answered} answered, {self.refused} refused, latest {self.latest * 1e3:.0f} ms; {told}"
        )
        assert self.growth <= MOST_BYTES
        assert self.latest <= MOST_LATE
        assert self.stalled <= MOST_STALLED


@pytest.fixture
def measured() -> Iterator[Measured]:
    with Program(["-m", "tests.support.bombs", "uvloop"], ROOT, is_anew=True) as program:
        yield Measured(program, program.wait_output(r"^(tcp://\S+)$")[1])


@asynccontextmanager
async def connections(way: str, address: str, count: int) -> AsyncIterator[list[Ask]]:
    """Yield connections that each made a call already."""
    connect, written = WAYS[way]
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(connect(address)) for _ in range(count)]
        told = await asyncio.gather(*(ask("bombs.size", gzip.compress(written("abc"))) for ask in found))
        assert set(told) == {Status.OK}
        yield found


@pytest.mark.parametrize("way", WAYS)
async def test_bombs_of_a_hundred_connections_hold_a_part_of_the_memory(way: str, measured: Measured) -> None:
    async with connections(way, measured.address, CONNECTIONS) as attackers, measured.attacked():
        told = await asyncio.gather(*(ask("fastrpc.health.check", bomb()) for ask in attackers))
        assert await attackers[0]("bombs.size", gzip.compress(WAYS[way][1]("abc"))) is Status.OK
    assert set(told) <= {Status.RESOURCE_EXHAUSTED, Status.INVALID_ARGUMENT}
    measured.check(way, Counter(one.name for one in told))


@pytest.mark.parametrize("way", WAYS)
async def test_honest_requests_are_served_during_bombs(way: str, measured: Measured) -> None:
    written = WAYS[way][1](slow_text())
    plain = gzip.compress(written)
    thirds = [written[:300_000], written[300_000:-10], written[-10:]]
    members = b"".join(gzip.compress(part) for part in thirds)
    async with (
        connections(way, measured.address, CONNECTIONS) as attackers,
        connections(way, measured.address, CONNECTIONS) as honest,
        measured.attacked(),
    ):
        bombs = [asyncio.ensure_future(ask("fastrpc.health.check", bomb())) for ask in attackers]
        asked = [ask("bombs.size", members if i % 2 else plain) for i, ask in enumerate(honest)]
        told = await asyncio.gather(*asked)
        await asyncio.gather(*bombs)
    measured.check(f"{way}, honest beside", Counter(one.name for one in told))
    assert set(told) == {Status.OK}


async def test_bombs_in_a_hundred_streams_hold_a_part_of_the_memory(measured: Measured) -> None:
    bomb = gzip.compress(msgspec.msgpack.encode(bytes(16 * MIB - 100)))
    async with stream_peer(measured.address) as peer:
        while (await peer.peer.next(Credit)).id != 0:
            pass
        calls = [peer.open("bombs.keep", 8.0, flags=CLIENT_STREAM) for _ in range(CONNECTIONS)]
        async with measured.attacked():
            for call in calls:
                peer.peer.send(Data(call, bomb, codec=1, compressor=1).encode())
            # Other calls of the same connection continue.
            plain = peer.open("bombs.size", "abc", flags=0)
            assert (await peer.end(plain)).status == Status.OK
            for call in calls:
                peer.send(call, b"", end=True)
            ends: list[Response] = [await peer.end(call) for call in calls]
    told = Counter(Status(end.status).name for end in ends)
    measured.check("streams", told)
    assert set(told) == {"OK", "RESOURCE_EXHAUSTED"}
