"""Stream messages in pieces that stall: their call ends, unless the reader causes the delay."""

import asyncio
from typing import Any

import msgspec
import pytest

from fastrpc import Client, DeadlineExceededError, Server, Status, SyncClient
from tests.support.feed import Feed
from tests.support.frame_factory import cut, opening
from tests.support.raw_peer import RawServer
from tests.support.raw_streams import BOTH_WAYS, CLIENT_STREAM, stream_peer
from tests.support.reference_server import reference_server
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Credit, Data, End, Request

pytestmark = pytest.mark.one_loop

PIECE_WAIT_NS = 200_000_000


def session_of(server: Server) -> Any:
    """Return the only live connection of a server."""
    assert server._gate is not None
    [session] = server._gate.engines
    return session


@pytest.mark.parametrize(
    ("method", "arguments", "flags"), [("feed.total", [], CLIENT_STREAM), ("feed.scale", [1], BOTH_WAYS)]
)
async def test_message_that_stalls_ends_its_call_at_the_server(
    method: str, arguments: list[int], flags: int
) -> None:
    feed = Feed()
    async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
        call = peer.open(method, *arguments, flags=flags)
        await peer.end(peer.open("fastrpc.health.check", "", flags=0))
        session = session_of(target.server)
        session.liveness.piece_wait_ns = PIECE_WAIT_NS
        first, *rest = cut(Data(call, bytes(1_000), codec=1), 600)
        peer.peer.send(first)
        answer = await peer.end(call)
        assert (answer.status, answer.outcome) == (Status.DEADLINE_EXCEEDED, 0)
        assert b"no piece of the message came for 0.2 s" in answer.message
        # Late frames are dropped, and the connection stays usable.
        peer.peer.send(*rest, End(call).encode())
        assert (await peer.end(peer.open("fastrpc.health.check", "", flags=0))).status == 0
        await eventually(lambda: not target.server.stats()["live"]["calls"])
        assert session.assembler.stream_pool_left == 33_554_432


async def test_message_that_waits_for_its_window_has_time() -> None:
    feed = Feed()
    async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
        call = peer.open("feed.unread", flags=CLIENT_STREAM)
        await peer.end(peer.open("fastrpc.health.check", "", flags=0))
        session = session_of(target.server)
        session.liveness.piece_wait_ns = PIECE_WAIT_NS // 4
        payload = msgspec.msgpack.encode(bytes(100_000))
        peer.send(call, bytes(50_000))
        room = 65_536 - len(msgspec.msgpack.encode(bytes(50_000))) - 16 - 24
        first, *rest = cut(Data(call, payload, codec=1), room)
        # The window is used up and nobody reads: several times as long as a piece may take.
        peer.peer.send(first)
        await asyncio.sleep(PIECE_WAIT_NS / 1e9)
        feed.go_on.set()
        await peer.peer.next(Credit)
        peer.peer.send(*rest, End(call).encode())
        assert msgspec.msgpack.decode((await peer.end(call)).payload) == 150_000


async def test_message_that_stalls_ends_its_call_at_the_client() -> None:
    async with RawServer() as server, Client(server.address) as client:
        stream = client.stream(Feed.count, 3)
        receiving = asyncio.ensure_future(stream.receive())
        peer = await server.accept()
        peer.send(opening(True))
        asked = await peer.next(Request)
        client._pool.connections[0].liveness.piece_wait_ns = PIECE_WAIT_NS  # type: ignore[attr-defined]
        peer.send(cut(Data(asked.id, bytes(1_000), codec=1), 600)[0])
        with pytest.raises(DeadlineExceededError, match=r"no piece of the message came for 0\.2 s"):
            await receiving
        assert (await peer.next(Cancel)).reason == 1


def test_message_that_stalls_ends_its_call_at_the_blocking_client() -> None:
    with reference_server() as server, SyncClient(server.address) as client:
        receiving = server.start(client.stream(Feed.count, 3).receive)
        connection = server.accept()
        call = connection.next("request")[1]
        client._pool.connections[0].engine.liveness.piece_wait_ns = PIECE_WAIT_NS
        connection.stream.sendall(cut(Data(call, bytes(1_000), codec=1), 600)[0])
        error = receiving.exception()
        assert isinstance(error, DeadlineExceededError)
        assert "no piece of the message came for 0.2 s" in str(error)
        assert connection.next("cancel")[1] == call
