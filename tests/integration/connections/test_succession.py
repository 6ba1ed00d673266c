"""A connection of age takes calls until its successor stands."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Backoff, Client, ClientConfig, Keepalive, SyncClient
from fastrpc.config import Pool
from tests.support.frame_factory import answer, opening
from tests.support.raw_peer import RawPeer, RawServer
from tests.support.reference_server import ReferenceConnection, ReferenceServer, reference_server
from tests.support.wire_frames import Goaway, Request
from tests.support.wire_layout import HIGHEST_ID

pytestmark = pytest.mark.one_loop

#: Long enough for the steps of a test during one age, on a busy machine too.
AGE_SECONDS = 1.0

PAYLOAD = msgspec.msgpack.encode(42)


def aging(max_age: float = AGE_SECONDS, **options: Any) -> ClientConfig:
    backoff = Backoff(first=0.01, longest=0.05)
    return ClientConfig(keepalive=Keepalive(max_age=max_age), backoff=backoff, **options)


async def respond(peer: RawPeer, call: "asyncio.Task[Any]") -> None:
    asked = await peer.next(Request)
    peer.send(answer(asked.id, PAYLOAD, codec=1))
    assert await call == 42


async def called(client: Client, peer: RawPeer) -> None:
    """Make a call that must not run twice; it has to come to this connection."""
    await respond(peer, asyncio.create_task(client.call("arith.mul", 6, 7)))


async def opened(client: Client, server: RawServer) -> RawPeer:
    call = asyncio.create_task(client.call("arith.mul", 6, 7))
    peer = await server.accept()
    peer.send(opening(True))
    await respond(peer, call)
    return peer


async def test_calls_stay_on_the_old_connection_until_the_new_one_is_open() -> None:
    async with RawServer() as server, Client(server.address, config=aging()) as client:
        first = await opened(client, server)
        second = await server.accept()
        # It says nothing yet, and nobody waits for it.
        await called(client, first)
        second.send(opening(True))
        await first.ended()
        await called(client, second)


async def answering(peer: RawPeer) -> None:
    """Answer all that comes, until the client closes."""
    with contextlib.suppress(EOFError):
        while True:
            asked = await peer.next(Request)
            peer.send(answer(asked.id, PAYLOAD, codec=1))


async def test_every_one_of_several_connections_has_its_successor_first() -> None:
    config = aging(pool=Pool(connections_per_endpoint=2))
    async with RawServer() as server, asyncio.TaskGroup() as group:
        async with Client(server.address, config=config) as client:
            first = await opened(client, server)
            second = await server.accept()
            second.send(opening(True))
            old = [group.create_task(answering(peer)) for peer in (first, second)]
            async with asyncio.timeout(10):
                while len(client._pool.connections) < 2:
                    await asyncio.sleep(0)
            assert await client.call_many("arith.mul", [(6, 7)] * 2) == [42, 42]
            assert [await client.call("arith.mul", 6, 7) for _ in range(2)] == [42, 42]
            for _ in range(2):
                following = await server.accept()
                assert len(client._pool.connections) == 2
                following.send(opening(True))
                group.create_task(answering(following))
            await asyncio.gather(*old)
            assert await client.call("arith.mul", 6, 7) == 42


@pytest.mark.measures
async def test_an_old_connection_stays_while_no_other_can_be_made_but_not_for_ever() -> None:
    async with RawServer() as server, Client(server.address, config=aging()) as client:
        made = time.monotonic()
        first = await opened(client, server)
        server.stop()
        subchannel = client._pool.subchannels[0]
        async with asyncio.timeout(10):
            while subchannel.error is None:
                await asyncio.sleep(0)
        assert isinstance(subchannel.error, fastrpc.ConnectError)
        await called(client, first)
        await first.ended()
        assert time.monotonic() - made >= 2 * 0.9 * AGE_SECONDS
        with pytest.raises(fastrpc.ConnectError):
            await client.call("arith.mul", 6, 7)


async def test_an_old_connection_whose_server_drains_is_left_at_once() -> None:
    async with RawServer() as server, Client(server.address, config=aging()) as client:
        first = await opened(client, server)
        second = await server.accept()
        first.send(Goaway(HIGHEST_ID, 0, final=False).encode())
        async with asyncio.timeout(10):
            while client._pool.subchannels[0].usable(ready=True) is not None:
                await asyncio.sleep(0)
        call = asyncio.create_task(client.call("arith.mul", 6, 7))
        second.send(opening(True))
        await respond(second, call)


async def test_a_server_that_drains_gets_the_successors_opening_before_the_next_call() -> None:
    async with RawServer() as server, Client(server.address) as client:
        first = await opened(client, server)
        first.send(Goaway(HIGHEST_ID, 0, final=False).encode())
        second = await server.accept()
        second.send(opening(True))
        await called(client, second)


async def test_a_connection_of_age_that_nobody_called_on_has_no_successor() -> None:
    config = aging(0.1)
    async with RawServer() as server, Client(server.address, config=config) as client:
        ready = asyncio.create_task(client.ready())
        peer = await server.accept()
        peer.send(opening(True))
        await ready
        await peer.ended()
        assert len(server.accepted_at) == 1
        await opened(client, server)


# Without a loop


@pytest.fixture
def reference() -> Iterator[ReferenceServer]:
    with reference_server() as server:
        yield server


def respond_to(connection: ReferenceConnection) -> None:
    connection.respond(connection.next("request")[1], PAYLOAD)


def grow_old(seconds: float) -> None:
    threading.Event().wait(seconds)


def opened_by(client: SyncClient, server: ReferenceServer) -> ReferenceConnection:
    call = server.start(client.call, "arith.mul", 6, 7)
    connection = server.accept()
    respond_to(connection)
    assert call.result() == 42
    return connection


def test_other_threads_use_the_old_connection_while_one_makes_its_successor(
    reference: ReferenceServer,
) -> None:
    with SyncClient(reference.address, config=aging()) as client:
        first = opened_by(client, reference)
        grow_old(1.11 * AGE_SECONDS)
        leading = reference.start(client.call, "arith.mul", 6, 7)
        second = reference.accept()
        # It says nothing yet; only the call that found the old one of age waits, and only for a moment.
        call = reference.start(client.call, "arith.mul", 6, 7)
        respond_to(first)
        assert call.result() == 42
        respond_to(second)
        assert leading.result() == 42
        assert first.next("goaway")
        call = reference.start(client.call, "arith.mul", 6, 7)
        respond_to(second)
        assert call.result() == 42


def test_a_blocking_client_keeps_an_old_connection_whose_successor_does_not_open(
    reference: ReferenceServer,
) -> None:
    # A machine that stalls has as long again for the call on the old one.
    with SyncClient(reference.address, config=aging(1.5 * AGE_SECONDS)) as client:
        first = opened_by(client, reference)
        grow_old(1.5 * 1.11 * AGE_SECONDS)
        call = reference.start(client.call, "arith.mul", 6, 7)
        reference.accept()
        respond_to(first)
        assert call.result() == 42
        grow_old(1.5 * 1.2 * AGE_SECONDS)
        # Twice as old as it should be: it leaves in any case.
        call = reference.start(client.call, "arith.mul", 6, 7)
        respond_to(reference.accept())
        assert call.result() == 42
        assert first.next("goaway")
