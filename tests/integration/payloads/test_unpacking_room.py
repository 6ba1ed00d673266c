"""Requests are decompressed within memory: they wait for room, packed, and are refused if there is no room."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    HTTP,
    Admission,
    CallError,
    Client,
    DeadlineExceededError,
    Identity,
    Memory,
    OverloadedError,
    Peer,
    ServerConfig,
    Status,
)
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.bombs import MIB, WAYS, Bombs
from tests.support.either_client import CLIENTS, connected
from tests.support.held_gzip import HeldGzip
from tests.support.served import Served, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: A quarter of it is 16 MiB: room for one of these.
PROCESS_BYTES = 64 * MIB
LARGE = "x" * (10 * MIB)
#: At most of all connections by gRPC.
TABLE_BYTES = 64 * 1024

each_way = pytest.mark.parametrize("way", WAYS)
each_client = pytest.mark.parametrize("kind", CLIENTS)


@asynccontextmanager
async def bombs_served(*, queue_age: float = 30.0, **options: Any) -> AsyncIterator[Served]:
    config = ServerConfig(
        protocols=("native", "http", "rpcx", "grpc"),
        http=HTTP(json=True),
        memory=Memory(process_bytes=PROCESS_BYTES),
        admission=Admission(queue_age=queue_age),
    )
    async with served(Bombs(), scheme="tcp", config=config, **options) as target:
        yield target


def unpacking(target: Served) -> Any:
    assert target.server._gate is not None
    return target.server._gate.dispatcher._unpacking


def waiting(target: Served) -> int:
    return sum(len(line.waiting) for line in unpacking(target)._requests._lines.values())


async def is_given_back(target: Served) -> None:
    """Return once nothing is decompressed, nothing waits, and nothing is counted but tables of HPACK."""
    await eventually(lambda: unpacking(target).is_idle and bytes_held() < TABLE_BYTES)


@each_way
async def test_outputs_count_as_they_grow_and_hold_a_quarter_of_the_memory(way: str) -> None:
    connect, written = WAYS[way]
    packed = gzip.compress(written("x" * 3 * MIB))
    most = 0

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, bytes_held())
            await asyncio.sleep(0)

    async with bombs_served() as target, AsyncExitStack() as stack:
        asks = [await stack.enter_async_context(connect(target)) for _ in range(20)]
        looking = asyncio.ensure_future(look())
        assert set(await asyncio.gather(*(ask("bombs.size", packed) for ask in asks))) == {Status.OK}
        looking.cancel()
        await is_given_back(target)
    # The received bytes, and a record for each call, count in addition to the outputs.
    assert 3 * MIB <= most <= PROCESS_BYTES // 4 + 20 * (len(packed) + 4_096)


@each_way
async def test_small_request_passes_a_waiting_large_one(way: str) -> None:
    connect, written = WAYS[way]
    large, small = gzip.compress(written(LARGE)), gzip.compress(written("x" * 5_000))
    async with bombs_served() as target, AsyncExitStack() as stack:
        held = HeldGzip(MIB).into(target.server)
        asks = [await stack.enter_async_context(connect(target)) for _ in range(3)]
        first, second = (asyncio.ensure_future(ask("bombs.size", large)) for ask in asks[:2])
        await eventually(lambda: held.begun == waiting(target) == 1)
        assert await asks[2]("bombs.size", small) is Status.OK
        assert [first.done(), second.done()] == [False, False]
        held.release()
        assert [await first, await second] == [Status.OK] * 2
        await is_given_back(target)


@each_client
async def test_small_request_passes_a_large_one_of_the_same_connection(kind: str) -> None:
    async with bombs_served() as target, connected(kind, target) as client:
        held = HeldGzip(MIB).into(target.server)
        view = client.with_options(compressor="gzip")
        large = [asyncio.ensure_future(view.call(Bombs.size, LARGE)) for _ in range(2)]
        await eventually(lambda: held.begun == waiting(target) == 1)
        assert await view.call(Bombs.size, "x" * 5_000) == 5_000
        assert not any(call.done() for call in large)
        held.release()
        assert await asyncio.gather(*large) == [len(LARGE)] * 2
        await is_given_back(target)


@each_way
async def test_request_without_room_is_refused_once_it_waited_for_too_long(way: str) -> None:
    connect, written = WAYS[way]
    large = gzip.compress(written(LARGE))
    async with bombs_served(queue_age=0.1) as target, connect(target) as one, connect(target) as other:
        held = HeldGzip(MIB).into(target.server)
        first = asyncio.ensure_future(one("bombs.size", large))
        await eventually(lambda: held.begun == 1)
        assert await other("bombs.size", large) is Status.RESOURCE_EXHAUSTED
        assert not first.done()
        held.release()
        assert await first is Status.OK
        assert await other("bombs.size", large) is Status.OK
        await is_given_back(target)


@each_client
async def test_refusal_names_its_settings_and_that_nothing_ran(kind: str) -> None:
    async with bombs_served(queue_age=0.1) as target, connected(kind, target) as client:
        held = HeldGzip(MIB).into(target.server)
        view = client.with_options(compressor="gzip", fail_mode="failfast")
        first = asyncio.ensure_future(view.call(Bombs.size, LARGE))
        await eventually(lambda: held.begun == 1)
        with pytest.raises(OverloadedError) as refused:
            await view.call(Bombs.size, LARGE)
        assert refused.value.processed == "no"
        for setting in ("Admission.queue_age", "Memory.process_bytes"):
            assert setting in str(refused.value)
        held.release()
        assert await first == len(LARGE)


@each_client
async def test_deadline_passes_while_a_request_waits_for_room(kind: str) -> None:
    async with bombs_served() as target, connected(kind, target) as client:
        held = HeldGzip(MIB).into(target.server)
        view = client.with_options(compressor="gzip")
        first = asyncio.ensure_future(view.call(Bombs.size, LARGE))
        await eventually(lambda: held.begun == 1)
        with pytest.raises(DeadlineExceededError):
            await view.with_options(timeout=0.5).call(Bombs.size, LARGE)
        await eventually(lambda: waiting(target) == 0)
        held.release()
        assert await first == len(LARGE)
        await is_given_back(target)


@pytest.mark.parametrize("is_begun", [True, False])
async def test_cancelled_request_gives_its_room_back_at_once(is_begun: bool) -> None:
    async with bombs_served() as target, Client(target) as client:
        held = HeldGzip(MIB).into(target.server)
        view = client.with_options(compressor="gzip")
        first = asyncio.ensure_future(view.call(Bombs.size, LARGE))
        await eventually(lambda: held.begun == 1)
        second = asyncio.ensure_future(view.call(Bombs.size, LARGE))
        await eventually(lambda: waiting(target) == 1)
        cancelled, stays = (first, second) if is_begun else (second, first)
        cancelled.cancel()
        await eventually(lambda: held.begun == 1 and waiting(target) == 0)
        held.release()
        assert await stays == len(LARGE)
        await is_given_back(target)


@each_way
async def test_lost_connections_give_their_room_back(way: str) -> None:
    connect, written = WAYS[way]
    large = gzip.compress(written(LARGE))
    async with bombs_served() as target:
        held = HeldGzip(MIB).into(target.server)
        async with connect(target) as one, connect(target) as other:
            calls = [asyncio.ensure_future(ask("bombs.size", large)) for ask in (one, other)]
            await eventually(lambda: held.begun == waiting(target) == 1)
            assert target.server._gate is not None
            for session in [*target.server._gate.engines]:
                session.abort()
            await is_given_back(target)
            assert held.begun == 0
            await asyncio.gather(*calls, return_exceptions=True)


async def test_draining_server_waits_for_requests_that_wait_for_room() -> None:
    async with bombs_served() as target, Client(target) as client:
        held = HeldGzip(MIB).into(target.server)
        view = client.with_options(compressor="gzip")
        calls = [asyncio.ensure_future(view.call(Bombs.size, LARGE)) for _ in range(2)]
        await eventually(lambda: held.begun == waiting(target) == 1)
        draining = asyncio.ensure_future(target.server.drain(30))
        await eventually(lambda: target.server.is_draining)
        held.release()
        assert await asyncio.gather(*calls) == [len(LARGE)] * 2
        assert await draining
        assert bytes_held() == 0


@each_way
async def test_request_that_states_too_little_continues_while_there_is_room(way: str) -> None:
    connect, written = WAYS[way]
    large = gzip.compress(written(LARGE))
    async with bombs_served() as target, connect(target) as one, connect(target) as other:
        liar = HeldGzip(MIB, stated=10).into(target.server)
        liar.release()
        assert await one("bombs.size", large) is Status.OK
        held = HeldGzip(MIB).into(target.server)
        first = asyncio.ensure_future(one("bombs.size", large))
        await eventually(lambda: held.begun == 1)
        liar.into(target.server)
        assert await other("bombs.size", large) is Status.RESOURCE_EXHAUSTED
        held.release()
        assert await first is Status.OK
        await is_given_back(target)


async def test_request_that_outgrows_its_room_is_told_why_and_may_be_tried_again() -> None:
    async with bombs_served() as target, Client(target) as client:
        view = client.with_options(compressor="gzip", fail_mode="failfast")
        held = HeldGzip(MIB).into(target.server)
        first = asyncio.ensure_future(view.call(Bombs.size, LARGE))
        await eventually(lambda: held.begun == 1)
        HeldGzip(20 * MIB, stated=10).into(target.server)
        with pytest.raises(
            OverloadedError, match=r"bombs\.size: .* larger than it states.*Memory\.process_bytes"
        ) as refused:
            await view.call(Bombs.size, LARGE)
        assert (refused.value.processed, refused.value.retryable) == ("no", True)
        held.release()
        assert await first == len(LARGE)
        await is_given_back(target)


@each_way
async def test_gzip_of_several_members_is_one_request(way: str) -> None:
    connect, written = WAYS[way]
    plain = written("ab" * 500_000)
    members = b"".join(gzip.compress(plain[at : at + 300_000]) for at in range(0, len(plain), 300_000))
    async with bombs_served() as target, connect(target) as ask:
        assert await ask("bombs.size", members) is Status.OK
        assert await ask("bombs.size", members + gzip.compress(b"")) is Status.OK
        # gRPC's table of statuses has INTERNAL for a payload that does not decompress.
        corrupt = Status.INTERNAL if way == "gRPC" else Status.INVALID_ARGUMENT
        assert await ask("bombs.size", members + b"garbage") is corrupt


@fastrpc.service("open")
class Open:
    @fastrpc.method(public=True)
    async def size(self, text: str) -> int:
        return len(text)

    @fastrpc.method(public=True)
    async def total(self, blocks: AsyncIterator[bytes]) -> int:
        return sum([len(block) async for block in blocks])


async def ada(peer: Peer) -> Identity | None:
    return Identity("ada") if peer.credentials == "secret" else None


@each_way
async def test_peer_without_identity_sends_no_more_decompressed_than_plain(way: str) -> None:
    connect, written = WAYS[way]
    config = ServerConfig(protocols=("native", "http", "rpcx", "grpc"), http=HTTP(json=True))
    async with (
        served(Open(), scheme="tcp", config=config, authenticate=ada) as target,
        connect(target) as ask,
    ):
        assert await ask("open.size", gzip.compress(written("x" * 65_000))) is Status.OK
        assert await ask("open.size", gzip.compress(written("x" * 65_536))) is Status.RESOURCE_EXHAUSTED
        assert await ask("open.size", gzip.compress(written("x" * 65_000))) is Status.OK


@each_client
async def test_peer_without_identity_is_told_the_bound_of_its_messages(kind: str) -> None:
    async with served(Open(), scheme="tcp", authenticate=ada) as target:
        async with connected(kind, target) as client:
            view = client.with_options(compressor="gzip")
            with pytest.raises(CallError, match="65536 bytes.*without an identity") as refused:
                await view.call(Open.size, "x" * 65_536)
            assert (refused.value.status, refused.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
            with pytest.raises(CallError, match="without an identity"):
                await view.call(Open.total, iter([bytes(65_536)]))
        async with connected(kind, target, credentials="secret") as client:
            view = client.with_options(compressor="gzip")
            assert await view.call(Open.size, "x" * 70_000) == 70_000
            assert await view.call(Open.total, iter([bytes(70_000)])) == 70_000
