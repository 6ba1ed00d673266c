"""Bytes that are still sent once a caller has cancelled a large call: only its end."""

from typing import Any

import pytest

from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import client, engine_settings, frames, server
from tests.support.frame_factory import answer, opening, piece, request
from tests.support.scenario import SERVING
from tests.support.wire_layout import FLAG_STREAM_OUT, Reason
from tests.support.wire_reference import Cancel, Credit, Data, Request, Response, Setting

METHOD = b"arith.mul"
MIB = 1_048_576
WINDOW = 16 * MIB
CANCELLED = 1


def callee(is_server: bool) -> tuple[RecordingConnection, int]:
    """Return a side that serves, and the id of the first call that its peer opens."""
    if is_server:
        return server(), 1
    connection = RecordingConnection(is_client=True, settings=engine_settings(False, SERVING))
    connection.sends_at_once = False
    connection.receive_data(opening(True))
    connection.data_to_send()
    return connection, 2


def sent_by(connection: RecordingConnection, is_server: bool, most: int = -1) -> list[Any]:
    return frames(connection.data_to_send(most), by_server=is_server)


both_roles = pytest.mark.parametrize("is_server", [True, False], ids=["server", "client"])


class TestCallee:
    @both_roles
    def test_begun_answer_is_ended_by_a_whole_one_without_a_further_piece(self, is_server: bool) -> None:
        connection, call = callee(is_server)
        connection.receive_data(request(call))
        connection.respond(call, bytes(4 * MIB))
        first = sent_by(connection, is_server, 1)
        assert isinstance(first[0], Response)
        assert first[0].total == 4 * MIB
        assert connection.receive_data(Cancel(call).encode()) == [("cancel", call, 0)]
        assert sent_by(connection, is_server) == [Response(call, CANCELLED)]
        assert connection.calls == []
        assert connection.sender.queued_bytes == 0

    @both_roles
    def test_large_answer_that_was_not_begun_is_sent_as_its_end_only(self, is_server: bool) -> None:
        connection, call = callee(is_server)
        connection.receive_data(request(call))
        connection.respond(call, bytes(4 * MIB), metadata=b"\x01\x00\x01\x00ab")
        connection.receive_data(Cancel(call).encode())
        assert sent_by(connection, is_server) == [Response(call, CANCELLED)]
        assert connection.calls == []

    @pytest.mark.parametrize("size", [0, 100, 16_384, 16_385, 4 * MIB])
    def test_value_given_after_the_cancel_is_not_sent(self, size: int) -> None:
        connection = server()
        connection.receive_data(request(1) + Cancel(1).encode())
        connection.respond(1, bytes(size), metadata=b"\x01\x00\x01\x00ab")
        assert sent_by(connection, True) == [Response(1, CANCELLED)]
        assert connection.calls == []

    @pytest.mark.parametrize("size", [0, 100, 4 * MIB])
    def test_error_given_after_the_cancel_keeps_status_and_outcome_and_loses_its_details(
        self, size: int
    ) -> None:
        connection = server()
        connection.receive_data(request(1) + Cancel(1).encode())
        connection.respond_error(1, 13, b"failed", details=bytes(size), outcome=2)
        assert sent_by(connection, True) == [Response(1, 13, message=b"failed", outcome=2)]

    def test_error_whose_details_were_begun_is_ended_with_its_outcome(self) -> None:
        connection = server({Setting.MAX_FRAME: 16_384})
        connection.receive_data(request(1))
        connection.respond_error(1, 13, b"failed", details=bytes(MIB), outcome=2)
        connection.data_to_send(1)
        connection.receive_data(Cancel(1).encode())
        assert sent_by(connection, True) == [Response(1, CANCELLED, outcome=2)]

    def test_error_that_waits_keeps_its_status(self) -> None:
        connection = server()
        connection.receive_data(request(1))
        connection.respond_error(1, 5, b"not found", details=bytes(MIB))
        connection.receive_data(Cancel(1).encode())
        assert sent_by(connection, True) == [Response(1, 5)]

    def test_end_of_a_begun_answer_waits_for_credit_and_is_then_sent_first(self) -> None:
        connection = server({Setting.OPEN_MESSAGES: 1})
        connection.receive_data(request(1) + request(3))
        connection.respond(1, bytes(WINDOW))
        connection.respond(3, bytes(MIB))
        connection.data_to_send()
        assert connection.sender.send_left < 4_200
        connection.receive_data(request(5) + Cancel(1).encode())
        connection.respond(5, bytes(4_500))
        connection.receive_data(Credit(0, WINDOW // 2).encode())
        sent = sent_by(connection, True)
        assert sent[0] == Response(1, CANCELLED)
        assert {frame.id for frame in sent} == {1, 3, 5}
        assert connection.calls == []

    def test_answer_ended_while_another_waits_frees_its_place_among_the_cut_ones(self) -> None:
        connection = server({Setting.OPEN_MESSAGES: 1})
        connection.receive_data(request(1) + request(3))
        connection.respond(1, bytes(2 * MIB))
        connection.respond(3, bytes(2 * MIB))
        connection.data_to_send(1)
        connection.receive_data(Cancel(1).encode())
        sent = sent_by(connection, True)
        assert sent[0] == Response(1, CANCELLED)
        assert sum(len(frame.payload) for frame in sent[1:] if frame.id == 3) == 2 * MIB

    def test_stream_messages_and_a_begun_answer_behind_them_are_dropped(self) -> None:
        connection = server({Setting.STREAM_WINDOW: 16_384})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        connection.push_message(1, bytes(100_000))
        connection.respond(1, bytes(MIB))
        connection.data_to_send()
        connection.receive_data(Cancel(1).encode())
        assert sent_by(connection, True) == [Response(1, CANCELLED)]
        assert connection.sender.queued_bytes == 0


def pair() -> tuple[RecordingConnection, RecordingConnection]:
    """Return a client and a server that shook hands."""
    caller, callee = RecordingConnection(is_client=True), RecordingConnection(is_client=False)
    caller.sends_at_once = callee.sends_at_once = False
    for _ in range(3):
        callee.receive_data(caller.data_to_send())
        caller.receive_data(callee.data_to_send())
    return caller, callee


class TestBothSides:
    @pytest.mark.parametrize("turns", [0, 1, 2, 5])
    def test_line_carries_no_more_than_was_under_way(self, turns: int) -> None:
        """Sixty-four answers of 16 MiB, four at a time, cancelled a few pieces in: the connection lives."""
        caller, callee = pair()
        carried = 0
        for _ in range(16):
            calls = [caller.open_call(METHOD) for _ in range(4)]
            for event in callee.receive_data(caller.data_to_send()):
                callee.respond(event[1], bytes(WINDOW))
            for _ in range(turns):
                output = callee.data_to_send(262_144)
                carried += len(output)
                caller.receive_data(output)
                callee.receive_data(caller.data_to_send())
            for call in calls:
                caller.cancel(call)
            # The bytes sent while the CANCELs are on their way.
            late = callee.data_to_send(262_144)
            callee.receive_data(caller.data_to_send())
            rest = callee.data_to_send()
            carried += len(late) + len(rest)
            assert len(rest) <= 4 * 32
            freed = caller.receive_data(late + rest)
            assert {event[0] for event in freed} <= {"discarded", "freed"}
            assert sum(event[0] == "freed" for event in freed) == 4
            callee.receive_data(caller.data_to_send())
        assert carried < 16 * (turns + 1) * 2 * 263_000
        answered = caller.open_call(METHOD)
        callee.receive_data(caller.data_to_send())
        callee.respond(answered.id, b"alive")
        assert caller.receive_data(callee.data_to_send())[0][:3] == ("response", answered.id, 0)
        assert caller.calls == callee.calls == []

    def test_whole_window_under_way_when_the_cancel_leaves_is_within_the_budget(self) -> None:
        caller, callee = pair()
        calls = [caller.open_call(METHOD) for _ in range(4)]
        callee.receive_data(caller.data_to_send())
        for call in calls:
            callee.respond(call.id, bytes(WINDOW))
        under_way = callee.data_to_send()
        assert len(under_way) > WINDOW - 100_000
        for call in calls:
            caller.cancel(call)
        caller.receive_data(under_way)
        # The callee keeps sending on any credit that reaches it before the CANCELs.
        callee.receive_data(caller.data_to_send())
        events = caller.receive_data(callee.data_to_send())
        assert not caller.is_closed
        assert [event[1] for event in events if event[0] == "freed"] == [call.id for call in calls]

    def test_no_credit_overtakes_a_cancel(self) -> None:
        connection = client()
        call = connection.open_call(METHOD)
        connection.data_to_send()
        connection.receive_data(answer(1, bytes(200_000), total=WINDOW))
        for _ in range(20):
            connection.receive_data(piece(1, bytes(200_000), more=True))
        connection.cancel(call)
        for _ in range(40):
            connection.receive_data(piece(1, bytes(200_000), more=True))
        sent = frames(connection.data_to_send())
        assert [type(frame) for frame in sent if isinstance(frame, Cancel | Credit)] == [Cancel, Credit]

    def test_half_sent_request_sends_nothing_after_its_cancel(self) -> None:
        caller, callee = pair()
        for _ in range(16):
            large = caller.open_call(METHOD, bytes(WINDOW))
            callee.receive_data(caller.data_to_send(262_144))
            caller.cancel(large)
            rest = caller.data_to_send()
            assert [frame for frame in frames(rest) if not isinstance(frame, Credit)] == [Cancel(large.id)]
            assert ("refused", large.id, CANCELLED) in callee.receive_data(rest)
            events = caller.receive_data(callee.data_to_send())
            assert [event for event in events if event[0] != "credit"] == [("freed", large.id)]
        assert caller.calls == callee.calls == []
        assert caller.is_closed is callee.is_closed is False

    def test_request_abandoned_before_its_first_piece_is_never_sent(self) -> None:
        connection = client({Setting.OPEN_MESSAGES: 1})
        connection.open_call(METHOD, bytes(2 * MIB))
        second = connection.open_call(METHOD, bytes(2 * MIB))
        connection.data_to_send(1)
        connection.cancel(second)
        sent = frames(connection.data_to_send())
        assert not any(isinstance(frame, Request | Cancel) for frame in sent)


class TestHostileCallee:
    @pytest.mark.parametrize("size", [262_128, 40_000])
    def test_pieces_after_the_cancel_end_the_connection_once_a_window_is_used_up(self, size: int) -> None:
        connection = client()
        call = connection.open_call(METHOD)
        connection.data_to_send()
        connection.receive_data(answer(1, bytes(1_000), total=WINDOW))
        connection.cancel(call)
        allowed = WINDOW // (size + 16)
        for _ in range(allowed):
            connection.receive_data(piece(1, bytes(size), more=True))
        assert not connection.is_closed
        connection.receive_data(piece(1, bytes(size), more=True))
        assert connection.closed_reason == Reason.CALM_DOWN

    def test_value_that_replaces_a_begun_answer_breaks_the_rules(self) -> None:
        connection = client()
        call = connection.open_call(METHOD)
        connection.data_to_send()
        connection.receive_data(answer(1, bytes(1_000), total=WINDOW))
        connection.cancel(call)
        connection.receive_data(answer(1, b"value"))
        assert connection.closed_reason == Reason.PROTOCOL

    def test_anything_after_the_end_of_an_abandoned_call_breaks_the_rules(self) -> None:
        for late in (piece(1, b"x" * 1_024, more=True), Data(1, b"x").encode(), answer(1, status=CANCELLED)):
            connection = client()
            call = connection.open_call(METHOD)
            connection.data_to_send()
            connection.receive_data(answer(1, bytes(1_000), total=WINDOW))
            connection.cancel(call)
            assert connection.receive_data(answer(1, status=CANCELLED)) == [("freed", 1)]
            connection.receive_data(late)
            assert connection.closed_reason == Reason.PROTOCOL
