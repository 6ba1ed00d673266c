"""Each rule of a served connection's life, in every protocol that has it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Keepalive, Limits, Server, ServerConfig, Timeouts
from fastrpc.auth import Identity, StaticTokens
from tests.support.frame_factory import cut
from tests.support.grpc_bytes import said
from tests.support.lived import COLUMNS, IDLE_SECONDS, PATIENCE_SECONDS, LivedConnection, Way, lived
from tests.support.shop import Shop
from tests.support.socket_client import handshake
from tests.support.socket_frames import TEXT, client_frame
from tests.support.toy_protocol import ToyWire
from tests.support.waiting import eventually
from tests.support.wire_frames import Request
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens({"secret": Identity("ada")})
#: Where a test is about another rule.
PATIENT = Keepalive(interval=None, timeout=80_000)
ENDLESS = Timeouts(handshake=None, idle=None, call=None)
HOLD_STALL = 1

ALL = pytest.mark.parametrize("column", COLUMNS)
#: The native protocol has rules of its own for its peer (`test_liveness.py`).
FOREIGN = pytest.mark.parametrize("column", [column for column in COLUMNS if column != "native"])
#: A late request by HTTP/2 ends its stream, and its connection stays.
BY_STREAMS = ["http by HTTP/2", "websocket by HTTP/2"]
RATED = pytest.mark.parametrize(
    "column", [column for column in COLUMNS if column not in ("native", *BY_STREAMS)]
)
STREAMING = pytest.mark.parametrize("column", [column for column, way in COLUMNS.items() if way.stream])
#: The protocol `lines` has no tokens.
WITH_TOKENS = pytest.mark.parametrize("column", [column for column, way in COLUMNS.items() if way.own_stream])
#: A WebSocket does as HTTP.
LINGERING = pytest.mark.parametrize("column", ["native", "http", "rpcx", "grpc", "toy", "lines"])
#: A WebSocket at a method is one call; it begins as HTTP.
BETWEEN = pytest.mark.parametrize("column", [column for column in COLUMNS if column != "websocket"])
RESTING = pytest.mark.parametrize(
    "column", [column for column in COLUMNS if not column.startswith("websocket")]
)


@ALL
async def test_a_connection_is_counted_in_and_out(column: str) -> None:
    shop = Shop()
    async with lived(column, shop=shop, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        assert len(connection.gate.engines) == 1
        await connection.open()
        await connection.begun()
        connection.lose()
        await eventually(lambda: shop.cancelled == 1)
        assert len(connection.gate.engines) == 0
        assert (connection.engine.connection.is_closed, connection.engine.connection.held_bytes) == (True, 0)


@ALL
async def test_a_connection_too_many_is_closed(column: str) -> None:
    async with lived(column, count=2, limits=Limits(connections=1)) as (first, second):
        assert first.gate.totals()["refused_connections"] == 1
        if column == "native":
            await second.open()
        assert (first.is_over, second.is_over) == (False, True)


@BETWEEN
async def test_an_opening_takes_a_limited_time(column: str) -> None:
    async with lived(column, keepalive=PATIENT, timeouts=Timeouts(handshake=5, idle=None)) as connection:
        connection.look(4)
        assert not connection.is_over
        connection.look(6)
        assert connection.is_over


@BETWEEN
async def test_a_peer_that_called_is_through_its_opening(column: str) -> None:
    async with lived(column, keepalive=PATIENT, timeouts=Timeouts(handshake=5, idle=None)) as connection:
        await connection.open()
        await connection.begun()
        connection.look(50)
        assert not connection.is_over


@ALL
async def test_calls_wait_for_the_verdict_about_a_certificate(column: str) -> None:
    shop = Shop()
    async with lived(column, shop=shop, authenticate=TOKENS, keepalive=PATIENT) as connection:
        authentication = connection.gate.guards.access.authentication
        authentication.opened = lambda session: False
        await connection.give(connection.way.opening + connection.way.held)
        await asyncio.sleep(0)
        assert shop.started == 0
        connection.prove(None)
        connection.engine.go_on()
        await eventually(lambda: shop.started == 1)


@ALL
async def test_a_connection_drains_at_its_age(column: str) -> None:
    keepalive = Keepalive(interval=None, timeout=80_000, max_age=100)
    async with lived(column, keepalive=keepalive, timeouts=ENDLESS) as connection:
        await connection.open()
        await connection.begun()
        connection.look(80)
        assert not connection.drains
        connection.look(111)
        assert connection.drains


@ALL
async def test_connections_opened_together_reach_their_age_at_different_times(column: str) -> None:
    keepalive = Keepalive(interval=None, timeout=80_000, max_age=100)
    async with lived(column, count=40, keepalive=keepalive, timeouts=ENDLESS) as connections:
        aged = []
        for connection in connections:
            await connection.open()
            await connection.give(connection.way.held)
            connection.look(100)
            aged.append(connection.drains)
        assert set(aged) == {True, False}


@ALL
async def test_calls_that_outlast_the_age_are_ended(column: str) -> None:
    shop = Shop()
    keepalive = Keepalive(interval=None, timeout=80_000, max_age=100)
    timeouts = Timeouts(handshake=None, idle=None, call=None, drain=30)
    async with lived(column, shop=shop, keepalive=keepalive, timeouts=timeouts) as connection:
        await connection.open()
        await connection.begun()
        connection.look(111)
        connection.look(140)
        await asyncio.sleep(0)
        assert (connection.is_over, shop.cancelled) == (False, 0)
        connection.look(142)
        await eventually(lambda: shop.cancelled == 1)
        await eventually(lambda: connection.is_over)


@pytest.mark.parametrize("column", ["http", "rpcx", "toy", "lines"])
async def test_a_connection_that_drains_closes_without_a_call(column: str) -> None:
    """The native protocol and HTTP/2 have GOAWAY, and a WebSocket at a method closes after its call."""
    async with lived(column, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        await connection.give(connection.way.short)
        await eventually(lambda: connection.transport.written)
        connection.engine.begin_drain(0)
        with connection.transport.something_unread():
            connection.look(3)
            assert not connection.is_over
        connection.look(4)
        assert connection.is_over


@RESTING
async def test_a_connection_that_rests_is_closed(column: str) -> None:
    timeouts = Timeouts(handshake=None, idle=IDLE_SECONDS)
    options: dict[str, Any] = {"idle_seconds": IDLE_SECONDS, "timeouts": timeouts}
    async with lived(column, keepalive=PATIENT, **options) as connection:
        await connection.open()
        await connection.give(connection.way.short)
        await eventually(lambda: connection.transport.written)
        connection.look(1)
        connection.look(IDLE_SECONDS - 1)
        assert (connection.is_over, connection.drains) == (False, False)
        connection.look(IDLE_SECONDS + 2)
        assert connection.is_over or connection.drains


@RESTING
async def test_a_short_rest_after_a_long_call_ends_on_time(column: str) -> None:
    shop = Shop()
    options: dict[str, Any] = {"idle_seconds": 2.0, "timeouts": Timeouts(handshake=None, idle=2)}
    async with lived(column, shop=shop, keepalive=PATIENT, **options) as connection:
        await connection.open()
        await connection.begun()
        at, due = 0.0, connection.look(0)
        written = connection.transport.written
        shop.go_on.set()
        await eventually(lambda: connection.transport.written != written)
        while not (connection.is_over or connection.drains) and due:
            at, due = due, connection.look(due)
        assert connection.is_over or connection.drains
        # The checks of the other rules are ten seconds apart.
        assert at < 9


@ALL
async def test_an_identity_ends_with_its_credential(column: str) -> None:
    async with lived(column, authenticate=TOKENS, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        served = connection.engine.connection
        connection.prove(60.0)
        await connection.open()
        await connection.begun()
        connection.look(50)
        assert served.identity is not None
        connection.look(61)
        assert (served.identity, served.is_expired) == (None, True)


@fastrpc.service("feed")
class Feed:
    def __init__(self) -> None:
        self.started = self.ended = self.cut_off = self.cleaned = 0
        self.cleanup = asyncio.Event()
        self.cleanup.set()

    @fastrpc.method
    async def ticks(self) -> AsyncIterator[int]:
        self.started += 1
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            self.ended += 1
            try:
                await self.cleanup.wait()
                self.cleaned += 1
            except asyncio.CancelledError:
                self.cut_off += 1
                raise


@STREAMING
async def test_streams_end_with_their_credential(column: str) -> None:
    feed = Feed()
    async with lived(
        column, shop=feed, authenticate=TOKENS, keepalive=PATIENT, timeouts=ENDLESS
    ) as connection:
        connection.prove(60.0)
        await connection.give(connection.way.stream)
        await eventually(lambda: feed.started == 1)
        connection.look(50)
        await asyncio.sleep(0)
        assert feed.ended == 0
        connection.look(61)
        await eventually(lambda: feed.ended == 1)


@WITH_TOKENS
async def test_streams_end_with_the_credential_of_their_call(column: str) -> None:
    feed = Feed()
    async with lived(
        column, shop=feed, authenticate=TOKENS, keepalive=PATIENT, timeouts=ENDLESS
    ) as connection:
        await connection.give(connection.way.own_stream)
        await eventually(lambda: feed.started == 1)
        [call] = connection.engine.connection.running
        connection.look(1)
        await asyncio.sleep(0)
        assert feed.ended == 0
        connection.gate.guards.access.expire_call(call)
        connection.look(1)
        await eventually(lambda: feed.ended == 1)


@STREAMING
async def test_a_stream_whose_credential_expires_while_the_connection_leaves_ends_with_that_reason(
    column: str,
) -> None:
    feed = Feed()
    keepalive = Keepalive(interval=None, timeout=80_000, max_age=100)
    timeouts = Timeouts(handshake=None, idle=None, call=None, drain=30)
    async with lived(
        column, shop=feed, authenticate=TOKENS, keepalive=keepalive, timeouts=timeouts
    ) as connection:
        connection.prove(140.0)
        await connection.give(connection.way.stream)
        await eventually(lambda: feed.started == 1)
        connection.look(111)
        await asyncio.sleep(0)
        assert (connection.drains, feed.ended) == (True, 0)
        connection.look(200)
        await eventually(lambda: feed.ended == 1)
        written = bytes(connection.transport.written)
        assert b"the credential has expired" in (said(written) if column == "grpc" else written)


def told_at_the_end(connection: LivedConnection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the orders that the transport gets from now on but for `abort`; it still has to write."""
    told: list[str] = []
    monkeypatch.setattr(connection.transport, "can_write_eof", lambda: True)
    monkeypatch.setattr(connection.transport, "write_eof", lambda: told.append("write_eof"))
    monkeypatch.setattr(connection.transport, "close", lambda: told.append("close"))
    return told


async def close(connection: LivedConnection) -> None:
    """Let a connection close by itself: HTTP reads on after a last response, other protocols after their last bytes."""
    if connection.way.protocol == "http":
        await connection.give(b"GET\r\n\r\n")
    else:
        connection.engine.close()


@LINGERING
async def test_a_closing_connection_reads_on_for_its_linger(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lived(column, keepalive=PATIENT, timeouts=Timeouts(handshake=None, linger=5)) as connection:
        await connection.open()
        told = told_at_the_end(connection, monkeypatch)
        await close(connection)
        connection.look(4)
        assert (told, connection.transport.is_aborted) == (["write_eof"], False)
        connection.look(6)
        assert connection.transport.is_aborted


@LINGERING
async def test_a_linger_of_0_ends_a_closing_connection_at_once(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lived(column, keepalive=PATIENT, timeouts=Timeouts(handshake=None, linger=0)) as connection:
        await connection.answered()
        told_at_the_end(connection, monkeypatch)
        connection.transport.untaken = 0 if column == "http" else 65_536
        await close(connection)
        connection.look(0)
        assert connection.transport.is_aborted


@LINGERING
async def test_without_a_linger_a_closing_connection_ends_after_its_output(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepalive = Keepalive(interval=None, timeout=PATIENCE_SECONDS)
    timeouts = Timeouts(handshake=None, linger=None)
    async with lived(column, keepalive=keepalive, timeouts=timeouts) as connection:
        await connection.answered()
        told = told_at_the_end(connection, monkeypatch)
        connection.transport.untaken = 65_536
        connection.engine.close()
        # The native protocol has a separate bound for a peer that takes nothing.
        patience = 10 if column == "native" else PATIENCE_SECONDS
        connection.look(0)
        connection.look(patience - 1)
        # A transport that is told to close does so after its output.
        assert (told, connection.transport.is_aborted) == (["close"], False)
        connection.look(patience + 1)
        assert connection.transport.is_aborted


@ALL
async def test_output_counts_until_it_has_left(column: str) -> None:
    """The transport writes the last of it by itself, and no flush follows."""
    async with lived(column, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        await connection.answered()
        served = connection.engine.connection
        before = served.held_bytes
        connection.transport.untaken = 65_536
        connection.gate.weigh_output(served, 65_536)
        connection.look(1)
        assert served.held_bytes == before + 65_536
        connection.transport.untaken = 0
        connection.look(2)
        assert served.held_bytes == before


@RATED
async def test_a_message_comes_at_a_lowest_rate(column: str) -> None:
    keepalive = Keepalive(interval=None, timeout=PATIENCE_SECONDS)
    async with lived(column, keepalive=keepalive, timeouts=ENDLESS) as connection:
        await connection.open()
        await connection.give(connection.way.part)
        connection.look(PATIENCE_SECONDS - 1)
        assert not connection.is_over
        connection.look(PATIENCE_SECONDS + 3)
        assert connection.is_over


@pytest.mark.parametrize("column", BY_STREAMS)
async def test_a_late_message_by_http2_ends_its_stream_alone(column: str) -> None:
    keepalive = Keepalive(interval=None, timeout=PATIENCE_SECONDS)
    async with lived(column, keepalive=keepalive, timeouts=ENDLESS) as connection:
        await connection.open()
        await connection.give(connection.way.part)
        connection.look(PATIENCE_SECONDS - 1)
        assert b"in time" not in said(bytes(connection.transport.written))
        connection.look(PATIENCE_SECONDS + 3)
        await eventually(lambda: b"did not come in time" in said(bytes(connection.transport.written)))
        assert not connection.is_over


@FOREIGN
async def test_a_peer_that_takes_no_output_is_left(column: str) -> None:
    keepalive = Keepalive(interval=None, timeout=PATIENCE_SECONDS)
    async with lived(column, keepalive=keepalive, timeouts=ENDLESS) as connection:
        await connection.answered()
        await connection.begun()
        connection.transport.untaken = 65_536
        connection.session.pause_writing()
        connection.look(0)
        connection.look(PATIENCE_SECONDS - 1)
        assert not connection.is_over
        connection.look(PATIENCE_SECONDS + 1)
        assert connection.is_over


@ALL
async def test_a_stall_of_the_loop_holds_calls_until_all_is_read(column: str) -> None:
    holding: list[int] = []
    async with lived(column, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        # The watch for stalls begins with the first read.
        await connection.answered()
        engine: Any = connection.engine
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def blocked() -> None:
            connection._receive(connection.way.held, 0.2)
            holding.append(engine.connection.holding)
            done.set_result(None)

        loop.call_soon(blocked)
        await done
        assert holding[0] & HOLD_STALL


async def test_a_websocket_with_running_calls_is_closed_after_its_maximum_age() -> None:
    shop = Shop()
    config = ServerConfig(
        protocols=("http",),
        http=HTTP(websocket=True, jsonrpc=True),
        keepalive=Keepalive(interval=None, timeout=80_000, max_age=100),
        timeouts=Timeouts(handshake=None, idle=None, drain=50),
    )
    async with Server(shop, config=config) as server:
        call = client_frame(TEXT, b'{"jsonrpc":"2.0","id":1,"method":"shop.pack","params":{"item":"apple"}}')
        connection = LivedConnection(server, Way("http", handshake("/jsonrpc"), call, call, b""))
        await connection.open()
        await connection.begun()
        connection.look(111)
        assert (connection.drains, connection.is_over) == (True, False)
        # Behind its age as well, so that it has calls at every instant.
        await connection.give(call)
        connection.look(175)
        assert connection.is_over
        connection.lose()


async def test_a_wire_that_holds_its_input_back_is_given_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_at_a_time(wire: Any, data: bytes) -> int:
        taken = 0
        while (end := data.find(b"\n", taken)) >= 0:
            if wire.calls:
                wire.hold_back(True)
                break
            wire.take_line(data[taken:end])
            taken = end + 1
        return taken

    monkeypatch.setattr(ToyWire, "receive_data", one_at_a_time)
    keepalive = Keepalive(interval=10, timeout=10)
    async with lived("toy", shop=Shop(), keepalive=keepalive, timeouts=ENDLESS) as connection:
        await connection.give(connection.way.held * 2)
        await eventually(lambda: connection.gate.running == 1)
        connection.look(500)
        assert not connection.is_over


async def test_a_closed_connection_whose_peer_takes_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    keepalive = Keepalive(interval=10, timeout=10, max_age=100)
    timeouts = Timeouts(handshake=None, idle=None, drain=5, linger=None)
    async with lived("toy", shop=Shop(), keepalive=keepalive, timeouts=timeouts) as connection:
        await connection.answered()
        await connection.begun()
        connection.transport.untaken = 65_536
        # As a transport that still has to write.
        monkeypatch.setattr(connection.transport, "close", lambda: None)
        connection.look(111)
        connection.look(117)
        assert (connection.engine.is_closed, connection.transport.is_aborted) == (True, False)
        connection.look(118)
        connection.look(140)
        assert connection.transport.is_aborted


@pytest.mark.parametrize("flags", [FLAG_STREAM_IN, FLAG_STREAM_OUT, FLAG_STREAM_IN | FLAG_STREAM_OUT])
async def test_a_stream_in_pieces_to_no_method_ends_with_its_credential(flags: int) -> None:
    async with lived("native", authenticate=TOKENS, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        connection.prove(5.0)
        await connection.open()
        await connection.give(cut(Request(1, b"shop.nope", bytes(1_000), codec=1, flags=flags), 300)[0])
        assert connection.engine.stats()["calls"] == 1
        connection.look(5.5)
        assert connection.engine.stats()["calls"] == 0
