"""Long messages of answers, whose rest comes out of the stream pool of their connection."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import Client, ClientConfig, Limits, SyncClient, Timeouts
from fastrpc.config import Memory
from tests.support.scripted_grpc import HEAD, ScriptedPeer, scripted_grpc
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

LONG = struct.pack(">BI", 0, 700_000) + bytes(700_000)
#: Longer than a window, and short enough for the rest of the pool next to two long ones, three times.
SHORT = struct.pack(">BI", 0, 75_000) + bytes(75_000)
FIRST = 60_000
#: Room for two of them, of streams that nothing reads.
CONFIG = ClientConfig(
    memory=Memory(stream_pool=1_000_000),
    limits=Limits(message_bytes=800_000),
    timeouts=Timeouts(stream_idle=20),
)


class Script:
    """A server that begins a long message on each of the first three streams, and answers all other calls."""

    peer: ScriptedPeer

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.others: list[int] = []
        self.answers = True

    async def run(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        for _ in range(3):
            self.begin(await peer.request())
        while True:
            stream = await peer.request()
            self.others.append(stream)
            if self.answers:
                peer.answer(stream)

    def begin(self, stream: int, data: bytes = LONG) -> None:
        self.peer.h2.send_headers(stream, HEAD)
        self.peer.h2.send_data(stream, data[:FIRST])
        self.peer.flush()
        self.begun.append(stream)

    def window(self, stream: int) -> int:
        return self.peer.h2.local_flow_control_window(stream)

    async def granted(self, stream: int) -> None:
        await eventually(lambda: len(self.begun) > 2 and self.window(stream) == len(LONG) - FIRST)

    def send_rest(self, stream: int, data: bytes = LONG) -> None:
        for at in range(FIRST, len(data), 200_000):
            self.peer.h2.send_data(stream, data[at : at + 200_000])
        self.peer.flush()

    def end(self, stream: int) -> None:
        self.peer.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        self.peer.flush()


@asynccontextmanager
async def following() -> AsyncIterator[tuple[Script, Any, list[Any]]]:
    """Yield the server, a client, and its streams: the messages of the first two take the pool."""
    script = Script()
    async with scripted_grpc(script.run) as server, Client(server.target, config=CONFIG) as client:
        streams = [client.stream("shop.Desk.Follow", b"") for _ in range(3)]
        for one in streams:
            await one.begin()
        await script.granted(3)
        # The server has all that the client had to say until then.
        assert await client.call("shop.Desk.Get", b"") == b"done"
        assert script.window(5) == 65_536 - FIRST
        yield script, client, streams


async def test_messages_of_streams_wait_until_the_ones_before_them_are_read() -> None:
    async with following() as (script, _, streams):
        script.send_rest(1)
        assert len(await streams[0].receive()) == 700_000
        await script.granted(5)
        for number, stream in ((1, 3), (2, 5)):
            script.send_rest(stream)
            assert len(await streams[number].receive()) == 700_000
        for stream in (1, 3, 5):
            script.end(stream)
        async with asyncio.timeout(20):
            assert [[one async for one in stream] for stream in streams] == [[], [], []]


async def test_a_reader_that_waits_gets_its_message_before_streams_that_nothing_reads() -> None:
    async with following() as (script, client, streams):
        for stream in (1, 3):
            script.send_rest(stream)
        reading = asyncio.ensure_future(streams[2].receive())
        await script.granted(5)
        script.send_rest(5)
        assert len(await reading) == 700_000
        for one in streams[:2]:
            assert len(await one.receive()) == 700_000
        await eventually(lambda: client._pool.open_connections[0].http2.stream_pool_left == 1_300_000)


async def test_a_reader_that_waits_already_gets_a_message_that_begins() -> None:
    async with following() as (script, client, streams):
        late = client.stream("shop.Desk.Follow", b"")
        script.answers = False
        await late.begin()
        await eventually(lambda: script.others == [7, 9])
        reading = asyncio.ensure_future(late.receive())
        # It waits once the server has heard of a call that came later.
        other = asyncio.ensure_future(client.call("shop.Desk.Get", b""))
        await eventually(lambda: script.others == [7, 9, 11])
        script.begin(9)
        await script.granted(9)
        script.send_rest(9)
        assert len(await reading) == 700_000
        for one in (*streams, other):
            one.cancel()


async def test_answers_pass_messages_of_streams_that_nothing_reads() -> None:
    async with following() as (script, client, streams):
        script.answers = False
        calls = [asyncio.ensure_future(client.call("shop.Desk.Get", b"")) for _ in range(3)]
        await eventually(lambda: len(script.others) == 4)
        answered = script.others[1:]
        for stream in answered:
            script.begin(stream, SHORT)
        # All at the same time, and not one after another.
        await eventually(lambda: {script.window(stream) for stream in answered} == {len(SHORT) - FIRST})
        # The message of the third stream waits on.
        assert script.window(5) == 65_536 - FIRST
        for stream in answered:
            script.send_rest(stream, SHORT)
            script.end(stream)
        assert [len(await call) for call in calls] == [75_000] * 3
        for one in streams:
            one.cancel()


async def test_long_answers_get_returned_memory_before_streams_that_waited_longer() -> None:
    async with following() as (script, client, streams):
        script.answers = False
        calls = [asyncio.ensure_future(client.call("shop.Desk.Get", b"")) for _ in range(2)]
        await eventually(lambda: len(script.others) == 3)
        first, second = script.others[1:]
        script.begin(first)
        # It comes beyond the pool.
        await script.granted(first)
        script.begin(second)
        script.answers = True
        # The client has the beginning of both before this answer.
        assert await client.call("shop.Desk.Get", b"") == b"done"
        for one in streams[:2]:
            one.cancel()
        # There is room for one of them, and the third stream has waited longer.
        await eventually(lambda: script.window(second) != script.window(5))
        assert script.window(second) == len(LONG) - FIRST
        for one in (streams[2], *calls):
            one.cancel()


async def test_a_thread_that_waits_gets_its_message_before_streams_that_nothing_reads() -> None:
    script = Script()

    def read(target: str) -> int:
        with SyncClient(target, config=CONFIG) as client:
            streams = [client.stream("shop.Desk.Follow", b"") for _ in range(3)]
            for one in streams:
                one.begin()
            size = len(streams[2].receive())
            for one in streams:
                one.cancel()
            return size

    async with scripted_grpc(script.run) as server:
        reading = asyncio.ensure_future(asyncio.to_thread(read, server.target))
        await script.granted(5)
        script.send_rest(5)
        assert await reading == 700_000
