"""The liveness of a connection alone: a time goes in, ends and the next instant to look come out."""

from typing import Any

import pytest

from fastrpc.config import Keepalive, Timeouts
from fastrpc_harness.watched_connection import WatchedConnection
from tests.support.engine import frames
from tests.support.frame_factory import cut, opening
from tests.support.wire_frames import Goaway, Ping, Request, Response
from tests.support.wire_layout import FLAG_STREAM_OUT, Reason
from tests.support.wire_settings import Setting

SECOND = 1_000_000_000
NO_TIMEOUTS = Timeouts(handshake=None, idle=None)
NO_KEEPALIVE = Keepalive(interval=None)


def opened(
    timeouts: Timeouts = NO_TIMEOUTS, keepalive: Keepalive = NO_KEEPALIVE, **options: Any
) -> WatchedConnection:
    """Return a connection whose opening is through at instant 1, with nothing left to send."""
    connection = WatchedConnection(timeouts=timeouts, keepalive=keepalive, **options)
    connection.receive_at(opening(options.get("is_client", True)), 1)
    connection.take()
    return connection


def test_without_rules_there_is_nothing_to_look_at() -> None:
    connection = opened()
    assert connection.check_at(10**18) == 0
    assert connection.events == []


class TestPings:
    def test_silent_peer_is_pinged_and_left_after_a_second_look(self) -> None:
        connection = opened(keepalive=Keepalive(interval=10, timeout=4))
        assert connection.check_at(SECOND) == 1 + 10 * SECOND
        pinged = 11 * SECOND
        assert connection.check_at(pinged) == pinged + 4 * SECOND
        assert [type(frame) for frame in frames(connection.take())] == [Ping]
        again = connection.check_at(pinged + 4 * SECOND)
        assert connection.events == []
        assert again > pinged + 4 * SECOND
        assert connection.check_at(again) == 0
        assert [event[0] for event in connection.events] == ["on_closed", "cut_off"]
        assert connection.events[0][1] == Reason.KEEPALIVE

    def test_any_byte_answers_a_ping(self) -> None:
        connection = opened(keepalive=Keepalive(interval=10, timeout=4))
        connection.check_at(11 * SECOND)
        (ping,) = frames(connection.take())
        assert isinstance(ping, Ping)
        connection.receive_at(Ping(ping.content, ack=True).encode(), 12 * SECOND)
        assert connection.check_at(16 * SECOND) == 22 * SECOND

    def test_time_in_which_nobody_looked_is_given_back(self) -> None:
        connection = opened(keepalive=Keepalive(interval=10, timeout=4))
        connection.check_at(11 * SECOND)
        connection.forgive(60 * SECOND)
        assert connection.check_at(71 * SECOND) == 75 * SECOND
        assert connection.events == []

    def test_silence_before_somebody_reads_again_does_not_count(self) -> None:
        connection = opened(keepalive=Keepalive(interval=10, timeout=4))
        connection.check_at(11 * SECOND)
        connection.take()
        connection.forget_silence(100 * SECOND)
        assert connection.check_at(101 * SECOND) == 110 * SECOND
        assert connection.take() == b""

    def test_output_that_is_taken_is_a_sign_of_life_over_rpcx(self) -> None:
        connection = opened(keepalive=Keepalive(interval=3, timeout=2), answers_prove=True)
        connection.held = 100
        for second in range(1, 60):
            connection.taken += 1
            connection.check_at(second * SECOND)
        assert (connection.events, connection.take()) == ([], b"")
        for second in range(60, 70):
            connection.check_at(second * SECOND)
        assert connection.events[0][1] == Reason.KEEPALIVE

    def test_native_peer_that_takes_output_answers_pings_meanwhile(self) -> None:
        connection = opened(keepalive=Keepalive(interval=3, timeout=2))
        connection.held = 100
        for second in range(1, 10):
            connection.taken += 1
            connection.check_at(second * SECOND)
        assert connection.events[0][1] == Reason.KEEPALIVE

    def test_peer_is_pinged_no_faster_than_twice_its_bound(self) -> None:
        connection = WatchedConnection(timeouts=NO_TIMEOUTS, keepalive=Keepalive(interval=1, timeout=4))
        connection.receive_at(opening(True, {Setting.MIN_PING_MS: 3000}), 1)
        assert connection.check_at(SECOND) == 1 + 6 * SECOND

    @pytest.mark.parametrize("flags", [0, FLAG_STREAM_OUT], ids=["unary", "stream"])
    def test_peer_that_reads_only_while_it_waits_is_pinged_only_during_unary_calls(self, flags: int) -> None:
        connection = WatchedConnection(
            timeouts=NO_TIMEOUTS, keepalive=Keepalive(interval=10, timeout=4), is_client=False
        )
        connection.receive_at(opening(False, {Setting.PING_REPLY_MS: 0}), 1)
        connection.take()
        first, *_ = cut(Request(1, b"feed.ticks", bytes(1000), flags=flags), 300)
        connection.receive_at(first, 1)
        connection.check_at(11 * SECOND)
        assert [type(frame) for frame in frames(connection.take())] == ([] if flags else [Ping])


class TestWriting:
    def test_peer_that_takes_nothing_for_ten_seconds_is_cut_off(self) -> None:
        connection = opened()
        connection.held = 100
        assert connection.check_at(SECOND) == 2 * SECOND
        assert connection.check_at(10 * SECOND) == 11 * SECOND
        assert connection.check_at(11 * SECOND) == 0
        text = "nothing could be written for 10 s, 100 bytes wait"
        assert connection.events == [("on_closed", Reason.SLOW_READER, text), ("cut_off",)]

    def test_closed_connection_whose_peer_takes_nothing_is_cut_off_as_an_open_one(self) -> None:
        connection = opened()
        connection.held = 100
        connection.close_now()
        closed = connection.events[:]
        assert connection.check_at(SECOND) == 2 * SECOND
        connection.taken += 1
        assert connection.check_at(5 * SECOND) == 6 * SECOND
        assert connection.check_at(15 * SECOND) == 0
        assert connection.events == [*closed, ("cut_off",)]

    def test_closed_connection_whose_output_has_left_is_looked_at_no_more(self) -> None:
        connection = opened()
        connection.close_now()
        assert connection.check_at(SECOND) == 0

    def test_slow_reader_is_still_a_reader(self) -> None:
        connection = opened()
        connection.held = 100
        for second in range(1, 60):
            connection.taken += 1
            assert connection.check_at(second * SECOND) == (second + 1) * SECOND
        assert connection.events == []

    def test_peer_that_reads_only_while_it_waits_may_pause_in_a_stream(self) -> None:
        connection = WatchedConnection(timeouts=NO_TIMEOUTS, keepalive=NO_KEEPALIVE, is_client=False)
        connection.receive_at(opening(False, {Setting.PING_REPLY_MS: 0}), 1)
        connection.receive_at(Request(1, b"feed.ticks", b"", flags=FLAG_STREAM_OUT).encode(), 1)
        connection.take()
        connection.held = 100
        for second in range(1, 60):
            assert connection.check_at(second * SECOND) == (second + 1) * SECOND
        assert not [event for event in connection.events if event[0] == "on_closed"]
        # An answer is waited for by somebody who reads.
        first, *_ = cut(Request(3, b"feed.name", bytes(1000)), 300)
        connection.receive_at(first, 60 * SECOND)
        connection.check_at(60 * SECOND)
        connection.check_at(70 * SECOND)
        assert connection.events[-2][:2] == ("on_closed", Reason.SLOW_READER)

    def test_no_peer_may_pause_once_memory_is_short(self) -> None:
        connection = WatchedConnection(timeouts=NO_TIMEOUTS, keepalive=NO_KEEPALIVE, is_client=False)
        connection.receive_at(opening(False, {Setting.PING_REPLY_MS: 0}), 1)
        connection.receive_at(Request(1, b"feed.ticks", b"", flags=FLAG_STREAM_OUT).encode(), 1)
        connection.take()
        connection.held = 100
        connection.check_at(SECOND)
        connection.check_at(60 * SECOND)
        connection.is_short = True
        assert connection.check_at(69 * SECOND) == 70 * SECOND
        assert connection.check_at(70 * SECOND) == 0
        assert connection.events[-2][:2] == ("on_closed", Reason.SLOW_READER)

    def test_output_that_left_while_nobody_looked_is_blocked_no_more(self) -> None:
        connection = opened()
        connection.held = 100
        connection.check_at(SECOND)
        connection.held = 0
        connection.forget_silence(20 * SECOND)
        connection.held = 100
        assert connection.check_at(20 * SECOND) == 21 * SECOND
        assert connection.events == []

    def test_output_that_nobody_took_stays_blocked_over_a_rest(self) -> None:
        connection = opened()
        connection.held = 100
        connection.check_at(SECOND)
        connection.forget_silence(20 * SECOND)
        assert connection.check_at(20 * SECOND) == 0
        assert connection.events[-1] == ("cut_off",)

    def test_above_the_hard_bound_a_second_is_enough(self) -> None:
        connection = opened(send_hard=99)
        connection.held = 100
        assert connection.check_at(SECOND) == 2 * SECOND
        connection.check_at(2 * SECOND)
        assert connection.events[-1] == ("cut_off",)
        assert "Memory.send_hard" in str(connection.events[0][2])


class TestPieces:
    def test_cut_message_that_stalls_is_reported_after_ten_seconds(self) -> None:
        connection = opened(is_client=False)
        first, second, *_ = cut(Request(1, b"arith.mul", bytes(1000)), 300)
        connection.receive_at(first, SECOND)
        assert connection.check_at(SECOND) == 7 * SECOND // 2
        connection.check_at(4 * SECOND)
        connection.receive_at(second, 5 * SECOND)
        for instant in (7, 10, 13, 16):
            connection.check_at(instant * SECOND)
        assert connection.events == []
        connection.check_at(20 * SECOND)
        assert connection.events == [("on_stuck", 1)]

    def test_unfinished_answer_is_watched_as_a_request_is(self) -> None:
        connection = opened()
        connection.request(b"arith.mul")
        connection.receive_at(cut(Response(1, 0, bytes(1000)), 300)[0], SECOND)
        for instant in (1, 4, 8, 12):
            connection.check_at(instant * SECOND)
        assert connection.events == [("on_stuck", 1)]


class TestDrain:
    def test_final_follows_a_goaway_after_a_second_at_the_latest(self) -> None:
        connection = opened(is_client=False)
        assert connection.begin_drain_at(SECOND) == 2 * SECOND
        assert [
            frame.final for frame in frames(connection.take(), by_server=True) if isinstance(frame, Goaway)
        ] == [False]
        assert connection.check_at(3 * SECOND // 2) == 2 * SECOND
        assert connection.check_at(2 * SECOND) == 0
        assert [
            frame.final for frame in frames(connection.take(), by_server=True) if isinstance(frame, Goaway)
        ] == [True]

    def test_lingering_connection_is_cut_off_when_its_time_is_over(self) -> None:
        connection = opened()
        connection.linger_until(5 * SECOND)
        assert connection.check_at(SECOND) == 5 * SECOND
        assert connection.check_at(5 * SECOND) == 0
        assert connection.events == [("cut_off",)]
