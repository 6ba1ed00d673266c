"""A message of a stream counts until its handler asks for the next one, as large as it is decompressed."""

import asyncio
import functools
import gzip
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, CallError, Client, Memory, ServerConfig, Status
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.either_client import CLIENTS, connected
from tests.support.held_gzip import HeldGzip
from tests.support.http_talk import HttpClient
from tests.support.raw_streams import CLIENT_STREAM, stream_peer
from tests.support.served import Served, served
from tests.support.socket_client import opened_socket
from tests.support.waiting import eventually
from tests.support.wire_frames import Data, End

pytestmark = pytest.mark.one_loop

MIB = 1_048_576
GZIP = 1
#: A quarter of it is 16 MiB: room for one message of 10 MiB.
PROCESS_BYTES = 64 * MIB
LARGE = msgspec.msgpack.encode(bytes(10 * MIB))

each_client = pytest.mark.parametrize("kind", CLIENTS)


@functools.cache
def packed_message() -> bytes:
    return gzip.compress(LARGE)


@fastrpc.service("held")
class Held:
    """Takes one message at each release."""

    def __init__(self) -> None:
        self.may_take = asyncio.Semaphore(0)
        self.taken = 0

    @fastrpc.method
    async def sizes(self, blocks: AsyncIterator[bytes]) -> int:
        size = 0
        while True:
            await self.may_take.acquire()
            try:
                size += len(await anext(blocks))
            except StopAsyncIteration:
                return size
            self.taken += 1

    @fastrpc.method
    async def lines(self, blocks: AsyncIterator[str]) -> int:
        return await self.sizes(blocks)

    @fastrpc.method
    async def take_many(self, blocks: AsyncIterator[bytes]) -> int:
        size = 0
        while True:
            await self.may_take.acquire()
            try:
                many = await blocks.receive_many()  # type: ignore[attr-defined]
            except fastrpc.StreamEndedError:
                return size
            size += sum(map(len, many))
            self.taken += len(many)

    @fastrpc.method
    async def total(self, blocks: AsyncIterator[bytes]) -> int:
        return sum([len(block) async for block in blocks])

    @fastrpc.method
    async def ping(self) -> str:
        return "pong"


def config(**options: Any) -> ServerConfig:
    return ServerConfig(memory=Memory(process_bytes=PROCESS_BYTES), **options)


def unpacking(target: Served) -> Any:
    assert target.server._gate is not None
    return target.server._gate.dispatcher._unpacking


def waiting(target: Served) -> int:
    return sum(len(line.waiting) for line in unpacking(target)._messages._lines.values())


async def is_given_back(target: Served) -> None:
    await eventually(lambda: unpacking(target)._messages.is_idle and bytes_held() == 0)


@each_client
@pytest.mark.parametrize("compressor", [None, "gzip", "zstd", "lz4"])
@pytest.mark.parametrize("method", [Held.sizes, Held.take_many])
async def test_message_counts_until_the_next_message_is_requested(
    kind: str, compressor: str | None, method: Any
) -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, connected(kind, target) as client:
        view = client.with_options(compressor=compressor)
        async with view.open(method) as stream:
            await stream.begin()
            # The record alone: its request was unpacked before.
            await eventually(lambda: 0 < bytes_held() < 10_000)
            record = bytes_held()
            await stream.send(bytes(40_000))
            held.may_take.release()
            await eventually(lambda: held.taken == 1)
            # The record itself may have changed by some bytes meanwhile.
            assert abs(bytes_held() - record - 40_050) <= 100
            held.may_take.release()
            await eventually(lambda: abs(bytes_held() - record) <= 100)
            await stream.send(bytes(30_000))
            await eventually(lambda: held.taken == 2)
            assert abs(bytes_held() - record - 30_050) <= 100
            await stream.end()
            held.may_take.release()
            assert await stream.receive() == 70_000
        await is_given_back(target)


async def test_packed_message_counts_its_received_bytes_until_it_is_requested() -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, stream_peer(target) as peer:
        call = peer.open("held.sizes", flags=CLIENT_STREAM)
        await eventually(lambda: bytes_held() > 0)
        record = bytes_held()
        peer.peer.send(Data(call, packed_message(), codec=1, compressor=GZIP).encode())
        await eventually(lambda: bytes_held() > record)
        assert len(packed_message()) <= bytes_held() - record <= len(packed_message()) + 100
        held.may_take.release()
        await eventually(lambda: held.taken == 1)
        assert len(LARGE) == bytes_held() - record
        peer.peer.send(End(call).encode())
        held.may_take.release()
        assert msgspec.msgpack.decode((await peer.end(call)).payload) == 10 * MIB
        await is_given_back(target)


async def test_message_of_a_websocket_counts_until_the_next_message_is_requested() -> None:
    held = Held()
    settings = config(protocols=("http",), http=HTTP(json=True, websocket=True))
    async with served(held, scheme="tcp", config=settings) as target:
        async with await HttpClient.to(target) as http, opened_socket(http, "/ws/held/lines") as socket:
            socket.send({"arguments": {}})
            await eventually(lambda: bytes_held() > 0)
            record = bytes_held()
            socket.send({"value": "x" * 30_000})
            held.may_take.release()
            await eventually(lambda: held.taken == 1)
            assert abs(bytes_held() - record - 30_050) <= 100
            held.may_take.release()
            await eventually(lambda: abs(bytes_held() - record) <= 100)
        await is_given_back(target)


@pytest.mark.parametrize("end", ["answer", "cancel", "lose"])
async def test_taken_message_is_given_back_with_the_end_of_its_call(end: str) -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, Client(target) as client:
        stream = client.with_options(compressor="gzip").open(Held.sizes)
        await stream.begin()
        await stream.send(bytes(9 * MIB))
        held.may_take.release()
        await eventually(lambda: held.taken == 1)
        assert bytes_held() > 9 * MIB
        if end == "answer":
            await stream.end()
            held.may_take.release()
            assert await stream.receive() == 9 * MIB
        elif end == "cancel":
            stream.cancel()
        else:
            [session] = client._pool.connections
            session.abort()
        await is_given_back(target)


async def test_message_waits_packed_for_room_and_other_calls_continue() -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, stream_peer(target) as peer:
        first, second = (peer.open("held.sizes", flags=CLIENT_STREAM) for _ in range(2))
        for call in (first, second):
            peer.peer.send(Data(call, packed_message(), codec=1, compressor=GZIP).encode())
        held.may_take.release()
        held.may_take.release()
        await eventually(lambda: held.taken == waiting(target) == 1)
        assert bytes_held() < 11 * MIB
        ping = peer.open("held.ping", flags=0)
        assert msgspec.msgpack.decode((await peer.end(ping)).payload) == "pong"
        third = peer.open("held.sizes", flags=CLIENT_STREAM)
        peer.send(third, b"abc", end=True)
        held.may_take.release()
        await eventually(lambda: held.taken == 2)
        # The first handler asks for its next message: that gives its room to the second.
        held.may_take.release()
        await eventually(lambda: held.taken == 3 and waiting(target) == 0)
        for call in (first, second):
            peer.peer.send(End(call).encode())
        for _ in range(4):
            held.may_take.release()
        for call in (first, second):
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 10 * MIB
        await peer.end(third)
        await is_given_back(target)


async def test_stream_whose_message_finds_no_room_in_time_ends() -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, stream_peer(target) as peer:
        unpacking(target)._messages._patience_seconds = 0.2
        first, second = (peer.open("held.sizes", flags=CLIENT_STREAM) for _ in range(2))
        for call in (first, second):
            peer.peer.send(Data(call, packed_message(), codec=1, compressor=GZIP).encode())
        held.may_take.release()
        held.may_take.release()
        answers = [asyncio.ensure_future(peer.end(second))]
        [ended], _ = await asyncio.wait(answers)
        answer = ended.result()
        assert answer.status == Status.RESOURCE_EXHAUSTED
        assert b"Memory.process_bytes" in answer.message
        peer.peer.send(End(first).encode())
        held.may_take.release()
        assert msgspec.msgpack.decode((await peer.end(first)).payload) == 10 * MIB
        await is_given_back(target)


async def test_message_that_nothing_asks_for_yet_does_not_wait_for_room() -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, stream_peer(target) as peer:
        first = peer.open("held.sizes", flags=CLIENT_STREAM)
        second = peer.open("held.take_many", flags=CLIENT_STREAM)
        packed = Data(first, packed_message(), codec=1, compressor=GZIP).encode()
        peer.peer.send(packed)
        held.may_take.release()
        await eventually(lambda: held.taken == 1)
        small = Data(second, msgspec.msgpack.encode(b"abc"), codec=1)
        peer.peer.send(small.encode() + Data(second, packed_message(), codec=1, compressor=GZIP).encode())
        # Once this later call is answered, all messages have arrived.
        await peer.end(peer.open("held.ping", flags=0))
        held.may_take.release()
        await eventually(lambda: held.taken == 2)
        # Otherwise its patience would end while the handler does something else.
        assert unpacking(target)._messages.is_idle
        # The first handler asks for its next message and gives its room back, then the second one asks.
        held.may_take.release()
        held.may_take.release()
        await eventually(lambda: held.taken == 3)
        for call in (first, second):
            peer.peer.send(End(call).encode())
            held.may_take.release()
        assert msgspec.msgpack.decode((await peer.end(first)).payload) == 10 * MIB
        assert msgspec.msgpack.decode((await peer.end(second)).payload) == 10 * MIB + 3
        await is_given_back(target)


@pytest.mark.parametrize("end", ["cancel", "lose", "close"])
async def test_message_that_waits_for_room_is_dropped_with_its_call(end: str) -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target:
        packing = HeldGzip(MIB).into(target.server)
        async with Client(target) as client:
            view = client.with_options(compressor="gzip")
            streams = [view.open(Held.sizes) for _ in range(2)]
            for stream in streams:
                await stream.begin()
                await stream.send(bytes(9 * MIB))
                held.may_take.release()
            await eventually(lambda: packing.begun == waiting(target) == 1)
            if end == "lose":
                [session] = client._pool.connections
                session.abort()
            elif end == "close":
                await target.server.close()
            else:
                for stream in streams:
                    stream.cancel()
            await is_given_back(target)
            assert packing.begun == 0
            for stream in streams:
                stream.cancel()


async def test_reader_that_is_cancelled_while_its_message_waits_finds_it_later() -> None:
    @fastrpc.service("patient")
    class Patient:
        @fastrpc.method
        async def take(self, blocks: AsyncIterator[bytes]) -> int:
            receiving = asyncio.ensure_future(blocks.receive())  # type: ignore[attr-defined]
            await eventually(lambda: packing.begun == 1)
            receiving.cancel()
            await asyncio.wait([receiving])
            packing.release()
            return len(await anext(blocks))

    async with served(Patient(), scheme="tcp", config=config()) as target, Client(target) as client:
        packing = HeldGzip(MIB).into(target.server)
        view = client.with_options(compressor="gzip")
        assert await view.call(Patient.take, iter([bytes(9 * MIB)])) == 9 * MIB
        await is_given_back(target)


async def test_message_that_outgrows_its_room_ends_its_stream() -> None:
    held = Held()
    async with served(held, scheme="tcp", config=config()) as target, Client(target) as client:
        view = client.with_options(compressor="gzip")
        async with view.open(Held.sizes) as stream:
            await stream.send(bytes(9 * MIB))
            held.may_take.release()
            await eventually(lambda: held.taken == 1)
            HeldGzip(20 * MIB, stated=10).into(target.server)
            with pytest.raises(CallError, match=r"held\.total.*larger than it states.*Memory") as failed:
                await view.call(Held.total, iter([bytes(9 * MIB)]))
            assert failed.value.status is Status.RESOURCE_EXHAUSTED
        await is_given_back(target)
