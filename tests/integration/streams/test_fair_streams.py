"""Streams and calls that share a connection: who gets how much of it, counted in frames on the wire."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

import fastrpc
from fastrpc import Client, Limits, Memory, ServerConfig, SyncClient
from tests.support.frame_factory import opening
from tests.support.raw_peer import RawPeer, RawServer
from tests.support.raw_streams import BOTH_WAYS, StreamPeer, stream_peer
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.wire_frames import Credit, Data, Request
from tests.support.wire_settings import Setting

KIB, MIB = 1024, 1024 * 1024

#: More than a test sends.
CREDIT = 2**30


@fastrpc.service("line")
class Line:
    """Sends as much as there is room for."""

    @fastrpc.method
    async def endless(self, size: int) -> AsyncIterator[bytes]:
        message = bytes(size)
        while True:
            yield message

    @fastrpc.method
    def endless_in_thread(self, size: int) -> Iterator[bytes]:
        message = bytes(size)
        while True:
            yield message

    @fastrpc.method
    async def give(self, size: int) -> bytes:
        return bytes(size)

    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def mirror(self, messages: AsyncIterator[int]) -> AsyncIterator[int]:
        async for message in messages:
            yield message

    @fastrpc.method
    async def swallow(self, messages: AsyncIterator[bytes]) -> int:
        return sum([len(message) async for message in messages])


async def read_bytes(peer: RawPeer, most: int) -> Counter[int]:
    """Return the bytes that each id brings, of so many; answers without pieces aside."""
    totals: Counter[int] = Counter()
    while totals.total() < most:
        frame = await peer.next(Data)
        totals[frame.id] += len(frame.payload)
        peer.frames.clear()
    return totals


def opened(peer: StreamPeer, sizes: dict[str, int], **fields: int) -> dict[int, str]:
    """Open endless streams with credit without end; return their names by id."""
    ids = {}
    for name, size in sizes.items():
        method = "line.endless_in_thread" if "thread" in name else "line.endless"
        id = peer.open(method, size, **fields)
        ids[id] = name
        peer.peer.send(Credit(id, CREDIT).encode())
    return ids


async def test_streams_of_small_and_of_large_messages_get_the_same() -> None:
    async with served(Line(), scheme="tcp") as target, stream_peer(target) as peer:
        peer.peer.send(Credit(0, CREDIT).encode())
        ids = opened(
            peer, {"2 kB": 2_000, "10 KiB": 10 * KIB, "60 KiB": 60 * KIB, "1 MiB": MIB, "thread": 5_000}
        )
        await read_bytes(peer.peer, 8 * MIB)
        totals = await read_bytes(peer.peer, 24 * MIB)
    found = {ids[id]: size for id, size in totals.items()}
    assert found.keys() == set(ids.values())
    # How much a thread offers is up to the system.
    assert found.pop("thread") > 0.1 * max(found.values()), found
    assert min(found.values()) > 0.5 * max(found.values()), found


async def test_one_stream_of_large_messages_takes_at_most_its_share_of_many() -> None:
    async with served(Line(), scheme="tcp") as target, stream_peer(target) as peer:
        sizes = {f"small {number}": 1_000 for number in range(20)}
        peer.peer.send(Credit(0, CREDIT).encode())
        ids = opened(peer, {**sizes, "large": 4 * MIB})
        await read_bytes(peer.peer, 8 * MIB)
        totals = await read_bytes(peer.peer, 32 * MIB)
    [large] = [id for id, name in ids.items() if name == "large"]
    assert 0.5 < totals[large] / (totals.total() / len(ids)) < 1.5


async def test_sheddable_streams_get_a_quarter() -> None:
    async with served(Line(), scheme="tcp") as target, stream_peer(target) as peer:
        peer.peer.send(Credit(0, CREDIT).encode())
        normal = opened(peer, {"normal": MIB})
        sheddable = opened(peer, {"sheddable": MIB}, priority=1)
        high = opened(peer, {"high counts as normal": MIB}, priority=2)
        await read_bytes(peer.peer, 8 * MIB)
        totals = await read_bytes(peer.peer, 24 * MIB)
    one, low, other = (totals[next(iter(ids))] for ids in (normal, sheddable, high))
    assert 3 < one / low < 5
    assert 0.8 < one / other < 1.25


async def test_a_small_call_overtakes_large_answers() -> None:
    """Also if their remainder is more than `Memory.send_soft`."""
    config = ServerConfig(limits=Limits(message_bytes=64 * MIB), memory=Memory(send_soft=MIB))
    async with served(Line(), scheme="tcp", config=config) as target:
        async with stream_peer(target, {Setting.MAX_MESSAGE: 64 * MIB}) as peer:
            peer.peer.send(Credit(0, CREDIT).encode())
            large = [peer.open("line.give", 60 * MIB, flags=0) for _ in range(2)]
            await peer.end(large[0])
            assert (await peer.end(peer.open("line.echo", "small", flags=0))).status == 0
            received = sum(len(frame.payload) for frame in peer.peer.frames if isinstance(frame, Data))
    # Bytes in the buffers of the system came first.
    assert received < 30 * MIB


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_unread_stream_does_not_delay_ninety_nine_others(scheme: str) -> None:
    async with served(Line(), scheme=scheme) as target, Client(target) as client:
        unread = [await client.stream(Line.endless, size).__aenter__() for size in (100, MIB)]

        async def exchange() -> list[int]:
            async with client.open(Line.mirror) as stream:
                answers = []
                for number in range(100):
                    await stream.send(number)
                    answers.append(await stream.receive())
                return answers

        async with asyncio.timeout(60):
            found = await asyncio.gather(*(exchange() for _ in range(99)))
        assert found == [list(range(100))] * 99
        for stream in unread:
            await stream.aclose()


def test_an_unread_stream_does_not_delay_the_threads_of_a_blocking_client() -> None:
    found: list[int] = []
    with ThreadedServer(Line()) as server, SyncClient(server.address) as client:
        with client.stream(Line.endless, MIB) as unread:
            next(iter(unread))

            def exchange() -> None:
                with client.open(Line.mirror) as stream:
                    for number in range(100):
                        stream.send(number)
                        found.append(stream.receive())

            threads = [threading.Thread(target=exchange) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
    assert sorted(found) == sorted([*range(100)] * 8)


async def take_uploads(server: RawServer, count: int, most: int) -> Counter[int]:
    """Accept streams of one client and give them credit without end; return their bytes by id."""
    peer = await server.accept()
    peer.send(opening(True))
    peer.send(Credit(0, CREDIT).encode())
    for _ in range(count):
        request = await peer.next(Request)
        peer.send(Credit(request.id, CREDIT).encode())
        assert request.flags & BOTH_WAYS
    await read_bytes(peer, 8 * MIB)
    return await read_bytes(peer, most)


async def test_uploads_of_a_client_get_equal_shares_of_its_connection() -> None:
    sizes = (100, 10 * KIB, 60 * KIB, MIB)
    async with RawServer() as server, Client(server.address) as client:
        calls = [
            asyncio.ensure_future(client.call(Line.swallow, itertools.repeat(bytes(size)))) for size in sizes
        ]
        totals = await take_uploads(server, len(sizes), 16 * MIB)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert len(totals) == len(sizes)
    assert min(totals.values()) > 0.5 * max(totals.values()), totals
