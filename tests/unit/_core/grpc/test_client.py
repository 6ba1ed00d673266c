"""The engine of a client of gRPC against python `h2`: GOAWAY, the end, time."""

import asyncio

import h2.events
import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import ConnectionLostError, RemoteProtocolError, UnavailableError
from fastrpc.config import ClientConfig, Keepalive, Timeouts
from tests.support.grpc_link import HEAD, OK, GrpcLink, Head, error_of, message


def framed(kind: int, content: bytes, flags: int) -> bytes:
    """Return a frame of stream 1."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags, 0, 0, 0, 1)) + content


class TestLeaving:
    async def test_calls_above_the_last_stream_did_not_run(self) -> None:
        link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        first, second, waiting = await link.call(), await link.call(), await link.call()
        await link.heard(Head)
        link.server.close_connection(ErrorCodes.NO_ERROR, last_stream_id=1)
        link.send_out()
        for call in (second, waiting):
            error = await error_of(call)
            assert isinstance(error, UnavailableError)
            assert (error.processed, error.retryable) == ("no", True)
        assert not link.engine.is_usable
        assert link.engine.peer_replaces
        assert "draining" in link.owner.heard
        assert not link.engine.is_closed
        # Written by hand, as h2 sends nothing after its GOAWAY.
        encoder = hpack.Encoder()
        link.receive(framed(1, encoder.encode(HEAD), 4))
        link.receive(framed(0, message(b"abc"), 0))
        link.receive(framed(1, encoder.encode(OK), 5))
        assert await first == b"abc"
        assert link.engine.is_closed

    async def test_the_connection_closes_with_its_last_call(self) -> None:
        link = GrpcLink()
        link.server.close_connection(ErrorCodes.NO_ERROR, last_stream_id=2**31 - 1)
        link.send_out()
        assert link.engine.is_closed

    async def test_pings_that_came_too_often_are_noted(self, caplog: pytest.LogCaptureFixture) -> None:
        link = GrpcLink()
        await link.call()
        await link.heard(Head)
        link.server.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings", last_stream_id=1)
        link.send_out()
        assert link.engine.wants_fewer_pings
        assert "raise Keepalive.interval" in caplog.text

    async def test_an_error_of_the_server_is_in_the_error_of_its_calls(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.server.close_connection(ErrorCodes.INTERNAL_ERROR, b"out of tea", last_stream_id=1)
        link.send_out()
        link.stream.connection_lost(None)
        error = await error_of(call)
        assert isinstance(error, ConnectionLostError)
        assert "out of tea" in error.message
        assert error.processed == "unknown"

    async def test_a_lost_connection_fails_its_calls(self) -> None:
        link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        sent, waiting = await link.call(), await link.call()
        await link.heard(Head)
        link.stream.connection_lost(OSError("the cable"))
        first, second = await error_of(sent), await error_of(waiting)
        assert (first.processed, second.processed) == ("unknown", "no")
        assert "the cable" in first.message
        assert link.owner.heard[-1] == "lost"

    async def test_a_broken_rule_ends_the_connection(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.receive(b"\0\0\0\x09\x04\0\0\0\x01")
        error = await error_of(call)
        assert isinstance(error, RemoteProtocolError)
        assert error.processed == "unknown"

    async def test_closing_fails_the_calls_under_way(self) -> None:
        link = GrpcLink()
        call = await link.call()
        link.engine.close()
        assert isinstance(await error_of(call), ConnectionLostError)
        assert link.engine.is_closed
        assert (
            len([event for event in link.exchange() if isinstance(event, h2.events.ConnectionTerminated)])
            == 1
        )

    async def test_a_retired_connection_ends_with_its_last_call(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.engine.retire()
        assert not link.engine.is_usable
        assert not link.engine.is_closed
        link.answer(1, message(b"x"))
        assert await call == b"x"
        assert link.engine.is_closed


class TestTime:
    async def test_an_opening_without_an_answer_ends(self) -> None:
        link = GrpcLink(timeouts=Timeouts(handshake=5.0, idle=None), is_settled=False)
        call = await link.call()
        link.look(4.0)
        assert not link.engine.is_closed
        link.look(5.1)
        assert link.engine.is_closed
        assert "the opening took more than 5 s" in (await error_of(call)).message

    async def test_a_connection_that_rests_ends(self) -> None:
        link = GrpcLink(timeouts=Timeouts(handshake=None, idle=10.0))
        call = await link.call()
        await link.heard(Head)
        link.look(11.0)
        assert not link.engine.is_closed
        link.answer(1, message(b"x"))
        await call
        link.look(30.0)
        assert link.engine.is_closed
        assert link.engine.life.is_dispensable

    async def test_an_old_connection_waits_for_its_successor(self) -> None:
        config = ClientConfig(wire_protocol="grpc", keepalive=Keepalive(max_age=100.0, interval=None))
        link = GrpcLink(config)
        link.look(111.0)
        assert link.engine.life.is_aged
        assert link.owner.heard[-1] == "aged"
        assert link.engine.is_usable
        link.look(230.0)
        assert link.engine.is_closed

    async def test_a_silent_server_with_a_call_under_way_is_asked_and_left(self) -> None:
        config = ClientConfig(wire_protocol="grpc", keepalive=Keepalive(interval=3.0, timeout=2.0))
        link = GrpcLink(config)
        link.look(4.0)
        assert await link.heard(h2.events.PingReceived) == []
        call = await link.call()
        await link.heard(Head)
        link.look(8.0)
        await asyncio.sleep(0)
        assert b"\0\0\x08\x06\0\0\0\0\0" in link.transport.written
        link.look(10.1)
        link.look(10.2)
        assert link.engine.is_closed
        assert "nothing came" in (await error_of(call)).message

    async def test_by_default_servers_are_asked_rarely(self) -> None:
        link = GrpcLink()
        await link.call()
        await link.heard(Head)
        link.look(100.0)
        assert await link.heard(h2.events.PingReceived) == []
        link.look(301.0)
        assert len(await link.heard(h2.events.PingReceived)) == 1
