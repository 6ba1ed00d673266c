"""The base of client engines in Python: the opening, the end, and the table of calls."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import (
    CallError,
    ConnectionLostError,
    DecodeError,
    EncodeError,
    Keepalive,
    Limits,
    OverloadedError,
    Status,
    UnavailableError,
)
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.calling_engine import CallingEngine
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import ClientConfig, Timeouts
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import ClientParts, ClientTraits, Protocol
from tests.support.calling_link import Lines, Link

HERE = Endpoint("tcp://here:1")


class Greeted(CallingEngine):
    """Is ready once the server said anything."""

    def connection_made(self) -> None:
        self.send(b"hello\n")

    def receive_data(self, data: bytes) -> int:
        if data == b"bye\n":
            self.leave()
        else:
            self.ready()
        return len(data)


def parts_with(timeouts: Timeouts, *, takes_values: bool = True) -> ClientParts:
    return ClientParts(
        protocol=Protocol("greeted", client_engine=Greeted, traits=ClientTraits(takes_values=takes_values)),
        endpoint=HERE,
        config=ClientConfig(),
        timeouts=timeouts,
        settings=usual_settings(False),
    )


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    far.settimeout(20)
    yield near, far
    far.close()


def session_over(near: socket.socket, timeouts: Timeouts | None = None) -> BlockingSession:
    engine = Greeted(parts_with(timeouts or Timeouts()))
    return BlockingSession(engine, io=SocketIO(near), endpoint=HERE)


def test_the_opening_leaves_with_the_first_step(pair: tuple[socket.socket, socket.socket]) -> None:
    session = session_over(pair[0])
    assert session.is_usable
    assert not session.is_ready
    session.catch_up()
    assert pair[1].recv(100) == b"hello\n"
    pair[1].sendall(b"hello\n")
    assert session.wait_ready(None)
    session.close()
    assert pair[1].recv(100) == b""


def test_a_server_that_says_nothing_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    session = session_over(pair[0], Timeouts(handshake=0.05))
    assert not session.wait_ready(None)
    assert session.lost_because == "the opening took more than 0.05 s"
    assert session.is_closed


def test_a_server_that_leaves_gets_no_new_calls(pair: tuple[socket.socket, socket.socket]) -> None:
    session = session_over(pair[0])
    pair[1].sendall(b"bye\n")
    assert not session.wait_ready(None)
    assert not session.is_usable
    assert session.engine.peer_replaces
    assert session.is_closed


def test_the_end_of_the_stream_is_the_end_of_the_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    session = session_over(pair[0])
    pair[1].shutdown(socket.SHUT_WR)
    assert not session.wait_ready(None)
    assert session.lost_because == "the server closed it"


def test_an_engine_combines_the_reports_of_its_parts() -> None:
    engine = Greeted(parts_with(Timeouts()))
    assert engine.endpoint is HERE
    assert engine.protocol == "greeted"
    assert engine.calling.takes_values
    assert not Greeted(parts_with(Timeouts(), takes_values=False)).calling.takes_values
    assert (engine.auth_status, engine.own_calls.calls, engine.calls_in_flight) == (-1, [], 0)
    assert engine.stats() == {"calls": 0, "waiting": 0, "buffered": 0, "credit": 0}


def test_an_engine_implements_how_a_call_is_sent() -> None:
    engine = CallingEngine(parts_with(Timeouts()))
    with pytest.raises(NotImplementedError, match=r"does not implement send_call\(\)"):
        engine.send_call(None, b"")  # type: ignore[arg-type]


SECOND = 1_000_000_000
CANCEL_USER = 0


class TestAnswers:
    async def test_a_call_ends_with_its_answer(self) -> None:
        link = Link()
        first, second = await link.call(1), await link.call(2)
        await asyncio.sleep(0)
        assert link.transport.written == b"[1]\n[2]\n"
        assert link.engine.own_calls.calls == link.engine.sent
        link.engine.answer(link.engine.sent[1], b"4")
        assert link.engine.own_calls.calls == link.engine.sent[:1]
        link.engine.answer(link.engine.sent[0], b"2")
        assert (await first, await second) == (2, 4)
        assert link.engine.calls_in_flight == 0

    @pytest.mark.parametrize("ends_by", ["answer", "cancel"])
    async def test_an_answer_to_a_call_that_is_over_is_dropped(self, ends_by: str) -> None:
        link = Link()
        first, second = await link.call(1), await link.call(2)
        call = link.engine.sent[0]
        if ends_by == "answer":
            link.engine.answer(call, b"2")
        else:
            first.cancel()
            await asyncio.wait([first])
        link.engine.answer(call, b"3")
        link.engine.fail(call, Status.INTERNAL, "late")
        assert link.engine.own_calls.calls == link.engine.sent[1:]
        link.engine.answer(link.engine.sent[1], b"4")
        assert await second == 4
        assert first.cancelled() or await first == 2

    async def test_an_answer_to_a_call_of_another_connection_is_dropped(self) -> None:
        link, other = Link(), Link()
        ours, theirs = await link.call(1), await other.call(2)
        link.engine.answer(other.engine.sent[0], b"3")
        link.engine.fail(other.engine.sent[0], Status.INTERNAL, "not ours")
        assert (link.engine.calls_in_flight, other.engine.calls_in_flight) == (1, 1)
        link.engine.answer(link.engine.sent[0], b"2")
        other.engine.answer(other.engine.sent[0], b"4")
        assert (await ours, await theirs) == (2, 4)

    async def test_an_answer_that_cannot_be_decoded_is_the_error_of_its_call_alone(self) -> None:
        link = Link()
        first, second = await link.call(1), await link.call(2)
        link.engine.answer(link.engine.sent[0], b"{")
        with pytest.raises(DecodeError, match=r"desk\.mul"):
            await first
        assert link.engine.is_usable
        link.engine.answer(link.engine.sent[1], b"4")
        assert await second == 4

    @pytest.mark.parametrize(
        ("status", "options", "kind", "processed", "retry_after"),
        [
            (Status.NOT_FOUND, {}, CallError, "yes", None),
            (Status.NOT_FOUND, {"has_run": None}, CallError, "unknown", None),
            (Status.UNAVAILABLE, {"has_run": False, "retry_after": 0.25}, UnavailableError, "no", 0.25),
            (Status.RESOURCE_EXHAUSTED, {"has_run": False}, OverloadedError, "no", None),
            (Status.UNAVAILABLE, {"has_run": False, "retry_after": -1.0}, UnavailableError, "no", None),
            (
                Status.UNAVAILABLE,
                {"has_run": False, "retry_after": 1e12},
                UnavailableError,
                "no",
                4_000_000.0,
            ),
        ],
    )
    async def test_a_failure_says_whether_the_call_ran_and_when_to_try_again(
        self,
        status: Status,
        options: dict[str, Any],
        kind: type[CallError],
        processed: str,
        retry_after: float | None,
    ) -> None:
        link = Link()
        call = await link.call(1)
        link.engine.fail(link.engine.sent[0], status, "no such thing", **options)
        with pytest.raises(kind, match="no such thing") as caught:
            await call
        assert (caught.value.status, caught.value.processed) == (status, processed)
        assert caught.value.retry_after == retry_after

    @pytest.mark.parametrize("status", [Status.OK, 17, -1])
    async def test_a_call_fails_with_a_known_status_alone(self, status: int) -> None:
        link = Link()
        call = await link.call(1)
        with pytest.raises(ValueError, match=f"a status from 1 to 16, not {int(status)}"):
            link.engine.fail(link.engine.sent[0], status, "wrong")
        link.engine.answer(link.engine.sent[0], b"2")
        assert await call == 2


class TestSending:
    async def test_an_engine_that_cannot_send_a_call_fails_it_alone(self) -> None:
        link = Link()
        link.engine.fails = EncodeError("not by this protocol")
        call = await link.call(1)
        with pytest.raises(EncodeError, match="not by this protocol"):
            await call
        assert (link.engine.own_calls.calls, link.engine.is_usable) == ([], True)

    async def test_a_request_above_the_limit_is_not_sent(self) -> None:
        link = Link(config=ClientConfig(codec="json", limits=Limits(message_bytes=4_096)))
        call = await link.call("x" * 5_000)
        with pytest.raises(EncodeError, match="this client sends at most 4096"):
            await call
        assert (link.engine.sent, link.transport.written) == ([], b"")

    async def test_a_one_way_call_has_no_answer_to_wait_for(self) -> None:
        link = Link()
        await link.caller.notify("desk.mul", 1)
        assert (len(link.engine.sent), link.engine.own_calls.calls) == (1, [])

    @pytest.mark.parametrize("fails", [None, ValueError("cannot cancel")])
    async def test_a_cancelled_call_is_reported_to_the_engine(self, fails: Exception | None) -> None:
        link = Link()
        first, second = await link.call(1), await link.call(2)
        link.engine.fails = fails
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        assert link.engine.given_up == [(link.engine.sent[0], CANCEL_USER)]
        if fails is None:
            link.engine.answer(link.engine.sent[1], b"4")
            assert await second == 4
        else:
            # The state of the protocol is unknown then.
            with pytest.raises(ConnectionLostError, match="internal error"):
                await second

    async def test_stats_report_calls_and_unsent_output(self) -> None:
        link = Link()
        calls = [await link.call(number) for number in range(3)]
        link.engine.answer(link.engine.sent[1], b"2")
        await asyncio.sleep(0)
        link.transport.untaken = 8
        assert link.engine.stats() == {"calls": 2, "waiting": 0, "buffered": 8, "credit": 0}
        link.engine.send(b"abc")
        assert link.engine.stats()["buffered"] == 11
        link.engine.close()
        assert link.engine.stats()["calls"] == 0
        await asyncio.wait(calls)

    async def test_the_owner_hears_of_the_first_call_where_it_asked(self) -> None:
        link = Link()
        link.engine.life.announces_calls = True
        calls = [await link.call(number) for number in range(2)]
        assert link.owner.heard == ["ready", "used"]
        link.engine.close()
        await asyncio.wait(calls)

    async def test_the_owner_hears_of_a_crowd_once(self) -> None:
        link = Link()
        link.engine.await_crowd(2)
        calls = [await link.call(number) for number in range(4)]
        await asyncio.sleep(0)
        assert link.owner.heard == ["ready", "crowded"]
        link.engine.await_crowd(5)
        calls.append(await link.call(5))
        link.engine.close()
        await asyncio.sleep(0)
        # The crowd is gone with its connection.
        assert link.owner.heard == ["ready", "crowded", "draining"]
        await asyncio.wait(calls)


class TestEnd:
    @pytest.mark.parametrize("error", [None, OSError("reset by the peer")])
    async def test_the_loss_of_the_connection_ends_its_calls(self, error: OSError | None) -> None:
        link = Link()
        calls = [await link.call(number) for number in range(2)]
        await asyncio.sleep(0)
        link.stream.connection_lost(error)
        for call in calls:
            with pytest.raises(ConnectionLostError, match=str(error or "the server closed it")) as caught:
                await call
            assert caught.value.processed == "unknown"
        assert (link.engine.is_usable, link.engine.own_calls.calls) == (False, [])
        assert link.owner.heard == ["ready", "draining", "lost"]

    async def test_a_call_that_the_stream_did_not_take_was_not_sent(self) -> None:
        link = Link()
        first = await link.call(1)
        await asyncio.sleep(0)
        link.stream.pause_writing()
        second = await link.call(2)
        await asyncio.sleep(0)
        assert link.transport.written == b"[1]\n"
        link.stream.connection_lost(None)
        found = []
        for call in (first, second):
            with pytest.raises(ConnectionLostError) as caught:
                await call
            found.append((caught.value.processed, caught.value.retryable))
        assert found == [("unknown", False), ("no", True)]

    @pytest.mark.parametrize("text", ["", "the client closes"])
    async def test_a_close_ends_its_calls(self, text: str) -> None:
        link = Link()
        call = await link.call(1)
        link.engine.close(0, text)
        with pytest.raises(ConnectionLostError, match=text or "it was closed") as caught:
            await call
        assert caught.value.processed == "unknown"
        link.engine.close(0, "again")
        assert link.engine.closed_text == text
        assert link.transport.is_aborted
        assert link.owner.heard == ["ready", "draining"]

    async def test_input_that_crashes_the_engine_ends_the_connection(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        link = Link()
        call = await link.call(1)
        link.receive(b"?")
        with pytest.raises(ConnectionLostError, match="internal error") as caught:
            await call
        assert caught.value.processed == "unknown"
        assert (link.engine.is_closed, link.transport.is_aborted) == (True, True)
        [record] = caplog.records
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "no line of ours"

    async def test_the_end_of_the_input_takes_no_new_calls(self) -> None:
        link = Link()
        call = await link.call(1)
        link.stream.eof_received()
        assert (link.engine.is_usable, link.owner.heard) == (False, ["ready", "draining"])
        link.stream.connection_lost(None)
        await asyncio.wait([call])

    @pytest.mark.parametrize("who", ["client", "server"])
    async def test_a_connection_that_is_left_closes_after_its_last_call(self, who: str) -> None:
        link = Link()
        first, second = await link.call(1), await link.call(2)
        (link.engine.leave if who == "server" else link.engine.retire)()
        assert (link.engine.is_usable, link.engine.is_closed) == (False, False)
        assert link.engine.peer_replaces == (who == "server")
        link.engine.answer(link.engine.sent[0], b"2")
        was_closed = link.engine.is_closed
        link.engine.fail(link.engine.sent[1], Status.NOT_FOUND, "none")
        assert (was_closed, link.engine.is_closed) == (False, True)
        assert await first == 2
        with pytest.raises(CallError, match="none"):
            await second

    async def test_a_call_that_is_abandoned_is_the_last_one_too(self) -> None:
        link = Link()
        call = await link.call(1)
        link.engine.retire()
        call.cancel()
        await asyncio.wait([call])
        assert link.engine.is_closed

    async def test_nothing_follows_the_end(self) -> None:
        link = Link()
        link.engine.close()
        link.engine.ready()
        link.engine.retire()
        link.engine.send(b"late")
        assert link.owner.heard == ["ready", "draining"]
        assert link.transport.written == b""
        assert link.look(1_000) == 0


class TestLife:
    async def test_an_opening_takes_a_limited_time(self) -> None:
        link = Link(Timeouts(handshake=5, idle=None), is_connected=False)
        # It never says that it is ready.
        link.engine.connection_made = lambda: None  # type: ignore[method-assign]
        link.stream.connection_made(link.transport)
        assert link.look(4) > link.made_ns
        assert not link.engine.is_closed
        assert link.look(6) == 0
        assert link.engine.closed_text == "the opening took more than 5 s"
        assert link.transport.is_aborted

    async def test_a_connection_at_rest_ends(self) -> None:
        link = Link(Timeouts(handshake=None, idle=60))
        call = await link.call(1)
        link.look(100)
        assert link.engine.is_usable
        link.engine.answer(link.engine.sent[0], b"2")
        assert await call == 2
        link.look(59)
        assert not link.engine.is_closed
        link.look(62)
        assert (link.engine.is_closed, link.engine.life.is_dispensable) == (True, True)

    async def test_an_old_connection_waits_for_its_successor_as_long_again(self) -> None:
        keepalive = Keepalive(max_age=100)
        link = Link(config=ClientConfig(codec="json", keepalive=keepalive))
        call = await link.call(1)
        link.look(89)
        assert not link.engine.life.is_aged
        link.look(112)
        assert (link.engine.life.is_aged, link.engine.is_usable) == (True, True)
        assert link.owner.heard == ["ready", "aged"]
        link.look(179)
        assert link.engine.is_usable
        link.look(225)
        assert (link.engine.is_usable, link.engine.is_closed) == (False, False)
        link.engine.answer(link.engine.sent[0], b"2")
        assert link.engine.is_closed
        assert await call == 2

    def test_a_thread_is_told_of_age_and_rest(self) -> None:
        parts = ClientParts(
            protocol=Protocol("lines", client_engine=Lines),
            endpoint=HERE,
            config=ClientConfig(keepalive=Keepalive(max_age=100)),
            timeouts=Timeouts(handshake=None, idle=60),
            settings=usual_settings(False),
        )
        engine, made = Lines(parts), time.monotonic_ns()
        assert engine.own_calls.takes_thread(made + 89 * SECOND, made + 30 * SECOND)
        # Another connection is made meanwhile.
        assert not engine.own_calls.takes_thread(made + 111 * SECOND, 0)
        assert engine.life.is_aged
        assert engine.own_calls.takes_thread(made + 112 * SECOND, 0)
        was_spent = engine.life.is_spent
        assert engine.own_calls.takes_thread(made + 112 * SECOND, made + 40 * SECOND)
        assert (was_spent, engine.life.is_spent, engine.is_usable) == (False, True, False)
