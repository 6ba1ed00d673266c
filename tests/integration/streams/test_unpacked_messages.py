"""Large compressed messages of streams are decompressed in slices: the loop has its turns meanwhile."""

import asyncio
import functools
import gzip
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, Status
from tests.support.feed import Feed
from tests.support.frame_factory import opening
from tests.support.raw_peer import RawServer
from tests.support.raw_streams import CLIENT_STREAM, stream_peer
from tests.support.served import served
from tests.support.wire_frames import Data, End, Request

pytestmark = pytest.mark.one_loop

MIB = 1_048_576
GZIP = 1


@functools.cache
def packed() -> bytes:
    """Return a few kilobytes that take the time of several slices."""
    return gzip.compress(msgspec.msgpack.encode(bytes(15 * MIB)))


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    async def __aenter__(self) -> "Turns":
        self._task = asyncio.create_task(self.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._task.cancel()


async def by_two(stream: Any) -> list[str]:
    """Receive by two tasks; the second begins while the first one unpacks. Return their messages."""
    first = asyncio.ensure_future(stream.receive())
    await asyncio.sleep(0)
    assert not first.done()
    got = []
    for again in (stream.receive, stream.receive_many, stream.__anext__):
        try:
            got.append(f"{len(await again())}")
        except RuntimeError as error:
            got.append(str(error))
    return [*got, f"{len(await first)}", f"{len(await stream.receive())}"]


@fastrpc.service("blocks")
class Blocks:
    """Notes at which turn of the loop each message came."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.came: list[int] = []

    @fastrpc.method
    async def put(self, blocks: AsyncIterator[bytes]) -> int:
        size = 0
        async for block in blocks:
            size += len(block)
            self.came.append(self.turns.count)
        return size

    @fastrpc.method
    async def put_by_two(self, blocks: AsyncIterator[bytes]) -> list[str]:
        return await by_two(blocks)

    @fastrpc.method
    async def put_many(self, blocks: AsyncIterator[bytes]) -> int:
        size = 0
        while True:
            try:
                many = await blocks.receive_many()  # type: ignore[attr-defined]
            except fastrpc.StreamEndedError:
                return size
            size += sum(map(len, many))
            self.came += [self.turns.count] * len(many)


@pytest.mark.parametrize("method", ["blocks.put", "blocks.put_many"])
async def test_large_message_is_decompressed_in_slices_at_the_server(method: str) -> None:
    async with Turns() as turns:
        blocks = Blocks(turns)
        async with served(blocks, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, flags=CLIENT_STREAM)
            small = Data(call, msgspec.msgpack.encode(b"x"), codec=1)
            large = Data(call, packed(), codec=1, compressor=GZIP)
            # All of them have arrived when the first is taken.
            peer.peer.send(small.encode() + large.encode() + small.encode() + End(call).encode())
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 15 * MIB + 2
            assert blocks.came[1] - blocks.came[0] >= 2
            assert blocks.came == sorted(blocks.came)


async def test_large_message_is_decompressed_in_slices_at_the_client() -> None:
    async with Turns() as turns, RawServer() as server, Client(server.address) as client:
        stream = client.stream(Feed.count, 3)
        beginning = asyncio.ensure_future(stream.begin())
        peer = await server.accept()
        peer.send(opening(True))
        await beginning
        asked = await peer.next(Request)
        small = Data(asked.id, msgspec.msgpack.encode(1), codec=1)
        peer.send(
            small.encode() + Data(asked.id, packed(), codec=1, compressor=GZIP).encode() + small.encode()
        )
        assert await stream.receive() == 1
        before = turns.count
        with pytest.raises(DecodeError, match="expected `int`, got `bytes`"):
            await stream.receive()
        assert turns.count - before >= 1


SECOND = "a stream has one receiver at a time, and another one waits for its next message"
BY_TWO = [SECOND] * 3 + [f"{15 * MIB}", "1"]


async def test_second_receiver_at_the_server_is_refused_while_the_first_one_unpacks() -> None:
    async with Turns() as turns, served(Blocks(turns), scheme="tcp") as target, stream_peer(target) as peer:
        call = peer.open("blocks.put_by_two", flags=CLIENT_STREAM)
        large = Data(call, packed(), codec=1, compressor=GZIP)
        small = Data(call, msgspec.msgpack.encode(b"x"), codec=1)
        peer.peer.send(large.encode() + small.encode() + End(call).encode())
        assert msgspec.msgpack.decode((await peer.end(call)).payload) == BY_TWO


async def test_second_receiver_at_the_client_is_refused_while_the_first_one_unpacks() -> None:
    async with RawServer() as server, Client(server.address) as client:
        stream = client.stream("feed.blocks")
        beginning = asyncio.ensure_future(stream.begin())
        peer = await server.accept()
        peer.send(opening(True))
        await beginning
        asked = await peer.next(Request)
        small = Data(asked.id, msgspec.msgpack.encode(b"x"), codec=1)
        large = Data(asked.id, packed(), codec=1, compressor=GZIP)
        # All of them have arrived when the second is taken.
        peer.send(small.encode() + large.encode() + small.encode())
        assert await stream.receive() == b"x"
        assert await by_two(stream) == BY_TWO


async def test_message_that_is_too_large_decompressed_ends_its_call() -> None:
    async with served(Feed(), scheme="tcp") as target, stream_peer(target) as peer:
        call = peer.open("feed.total", flags=CLIENT_STREAM)
        peer.peer.send(Data(call, gzip.compress(bytes(20 * MIB)), codec=1, compressor=GZIP).encode())
        answer = await peer.end(call)
        assert answer.status == Status.RESOURCE_EXHAUSTED
        assert answer.message.startswith(b"feed.total: ")
        damaged = peer.open("feed.total", flags=CLIENT_STREAM)
        peer.peer.send(Data(damaged, b"no gzip", codec=1, compressor=GZIP).encode())
        answer = await peer.end(damaged)
        assert answer.status == Status.INVALID_ARGUMENT
        assert answer.message.startswith(b"feed.total: ")
        unknown = peer.open("feed.total", flags=CLIENT_STREAM)
        peer.peer.send(Data(unknown, b"", codec=1, compressor=99).encode())
        assert (await peer.end(unknown)).status == Status.UNIMPLEMENTED


@pytest.mark.parametrize("compressor", ["gzip", "zstd", "lz4"])
async def test_compressed_messages_arrive_both_ways(compressor: str) -> None:
    blocks = [bytes([number]) * (MIB if number % 3 == 0 else 5_000) for number in range(10)]

    @fastrpc.service("mirror")
    class Mirror:
        @fastrpc.method
        async def echo(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for block in blocks:
                yield block

    async with served(Mirror(), scheme="tcp") as target, Client(target) as client:
        view = client.with_options(compressor=compressor)
        assert [block async for block in view.stream(Mirror.echo, blocks)] == blocks


async def test_reader_that_is_cancelled_while_a_message_is_decompressed_finds_it_later() -> None:
    @fastrpc.service("source")
    class Source:
        @fastrpc.method
        async def give(self) -> AsyncIterator[bytes]:
            yield bytes(15 * MIB)
            yield b"end"

    async with served(Source(), scheme="tcp") as target, Client(target) as client:
        async with client.with_options(compressor="gzip").stream(Source.give) as stream:
            await stream.headers()
            while not stream.waiting:
                await asyncio.sleep(0)
            receiving = asyncio.ensure_future(stream.receive())
            await asyncio.sleep(0)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            assert len(await stream.receive()) == 15 * MIB
            assert await stream.receive() == b"end"


async def test_stream_that_is_left_while_a_message_is_decompressed_drops_it() -> None:
    async with RawServer() as server, Client(server.address) as client:
        stream = client.stream(Feed.count, 3)
        beginning = asyncio.ensure_future(stream.begin())
        peer = await server.accept()
        peer.send(opening(True))
        await beginning
        asked = await peer.next(Request)
        peer.send(Data(asked.id, packed(), codec=1, compressor=GZIP).encode())
        receiving = asyncio.ensure_future(stream.receive())
        while not stream.waiting:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        stream.cancel()
        with pytest.raises((CallError, asyncio.CancelledError)):
            await receiving
