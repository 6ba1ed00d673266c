"""The frames of a connection, and their time: order, slots at the peer, early frames."""

from typing import Any

import pytest

from fastrpc.errors import LocalProtocolError
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import call_ids, client, frames, server
from tests.support.frame_factory import answer, early_opening, opening
from tests.support.wire_layout import FLAG_IDEMPOTENT, FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_reference import (
    Cancel,
    Credit,
    Data,
    End,
    Goaway,
    Ping,
    Preface,
    Request,
    Setting,
    SettingsFrame,
    encode_settings,
)

METHOD = b"arith.mul"


class TestOrder:
    def test_small_message_overtakes_a_large_one(self) -> None:
        connection = client()
        large = connection.open_call(METHOD, bytes(100_000))
        small = connection.open_call(METHOD, b"small")
        sent = frames(connection.data_to_send())
        assert [len(frame.payload) for frame in sent if isinstance(frame, Request)] == [5, 100_000]
        assert (small.id, large.id) == (1, 3)

    def test_small_message_overtakes_the_pieces_that_are_left(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384})
        connection.open_call(METHOD, bytes(100_000))
        assert call_ids(frames(connection.data_to_send(1))) == [1]
        connection.open_call(METHOD, b"small")
        rest = frames(connection.data_to_send())
        assert isinstance(rest[0], Request)
        assert rest[0].id == 3
        assert {type(frame) for frame in rest[1:]} == {Data}

    def test_ids_rise_on_the_wire_even_after_waiting(self) -> None:
        connection = client({Setting.MAX_CALLS: 2})
        for size in (100_000, 5, 50_000, 7, 0):
            connection.open_call(METHOD, bytes(size))
        ids: list[int] = []
        while len(ids) < 5:
            new = call_ids(one for one in frames(connection.data_to_send()) if isinstance(one, Request))
            ids += new
            for call in new:
                connection.receive_data(answer(call))
        assert ids == [1, 3, 5, 7, 9]

    def test_large_messages_take_turns(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384})
        for _ in range(2):
            connection.open_call(METHOD, bytes(60_000))
        sent = call_ids(frames(connection.data_to_send()))
        assert sent[:4] in ([1, 3, 1, 3], [1, 1, 3, 1], [1, 3, 3, 1])
        assert sent.count(1) == sent.count(3) == 4

    def test_control_frames_overtake_messages(self) -> None:
        connection = client()
        connection.open_call(METHOD, b"first")
        connection.receive_data(Ping(b"12345678").encode())
        sent = frames(connection.data_to_send())
        assert [type(frame) for frame in sent] == [Ping, Request]

    def test_nothing_overtakes_the_opening(self) -> None:
        connection = RecordingConnection(is_client=False)
        connection.receive_data(opening(False) + Ping(b"12345678").encode())
        sent = connection.data_to_send()
        assert sent.startswith(Preface().encode())
        assert isinstance(frames(sent[8:], by_server=True)[0], SettingsFrame)

    def test_cancel_stays_after_its_request(self) -> None:
        connection = client()
        call = connection.open_call(METHOD, b"x")
        connection.cancel(call, 2)
        sent = frames(connection.data_to_send())
        assert sent[1:] == [Cancel(call.id, 2)]
        assert isinstance(sent[0], Request)

    def test_reserved_fields_are_zero_in_continuations(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384})
        connection.open_call(METHOD, bytes(40_000), codec=1)
        sent = frames(connection.data_to_send())
        assert [frame.codec for frame in sent if isinstance(frame, Request | Data)] == [1, 0, 0]


class TestPlaces:
    def test_call_above_max_calls_waits_for_an_answer(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD, b"1")
        waiting = connection.open_call(METHOD, b"2")
        assert len(frames(connection.data_to_send())) == 1
        assert waiting.id == 0
        connection.receive_data(answer(1))
        assert call_ids(frames(connection.data_to_send())) == [3]
        assert waiting.id == 3

    def test_large_calls_that_wait_for_their_turn_hold_a_place(self) -> None:
        connection = client({Setting.MAX_CALLS: 2})
        calls = [connection.open_call(METHOD, bytes(50_000)) for _ in range(3)]
        connection.data_to_send()
        assert [call.id for call in calls] == [1, 3, 0]

    def test_streams_wait_for_max_streams_while_unary_calls_pass(self) -> None:
        connection = client({Setting.MAX_STREAMS: 1})
        streams = [connection.open_call(METHOD, flags=FLAG_STREAM_OUT) for _ in range(2)]
        unary = connection.open_call(METHOD)
        connection.data_to_send()
        assert [call.id for call in (*streams, unary)] == [1, 0, 3]
        connection.receive_data(answer(1))
        connection.data_to_send()
        assert streams[1].id == 5

    def test_cancelled_call_keeps_its_place_until_the_answer(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.cancel(connection.open_call(METHOD))
        waiting = connection.open_call(METHOD)
        connection.data_to_send()
        assert waiting.id == 0
        assert connection.receive_data(answer(1, status=1)) == [("freed", 1)]
        assert waiting.id == 3

    def test_call_that_was_never_sent_is_abandoned_without_a_word(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        waiting = connection.open_call(METHOD)
        connection.data_to_send()
        connection.cancel(waiting)
        connection.receive_data(answer(1))
        assert connection.data_to_send() == b""
        assert connection.calls == []

    def test_one_way_calls_take_no_place(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        for _ in range(3):
            connection.open_call(METHOD, flags=FLAG_ONE_WAY)
        assert len(frames(connection.data_to_send())) == 4

    def test_nothing_is_opened_once_the_peer_drains(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        waiting = connection.open_call(METHOD)
        connection.data_to_send()
        connection.receive_data(Goaway(2**63 - 1).encode() + answer(1))
        assert frames(connection.data_to_send()) == []
        assert waiting.id == 0

    def test_ten_thousand_cancelled_calls_leave_no_state(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        for _ in range(10_000):
            connection.cancel(connection.open_call(METHOD, bytes(1_000)))
        assert connection.sender.queued_bytes == 0
        assert connection.waiting < 200

    def test_last_ids_are_used_and_never_wrap(self) -> None:
        connection = client(first_id=2**63 - 3)
        calls = [connection.open_call(METHOD) for _ in range(3)]
        sent = frames(connection.data_to_send())
        assert call_ids(sent) == [2**63 - 3, 2**63 - 1]
        assert calls[2].id == 0
        events = connection.receive_data(answer(2**63 - 1) + answer(2**63 - 3))
        assert [event[:2] for event in events] == [("response", 2**63 - 1), ("response", 2**63 - 3)]
        assert connection.data_to_send() == b""

    @pytest.mark.parametrize("first_id", [0, 2, 2**63 + 1])
    def test_first_id_of_the_wrong_kind_is_refused(self, first_id: int) -> None:
        with pytest.raises(LocalProtocolError, match="first_id"):
            RecordingConnection(is_client=True, first_id=first_id)


class TestEarlyCalls:
    def early(self, **options: Any) -> RecordingConnection:
        connection = RecordingConnection(is_client=True, **options)
        connection.sends_at_once = False
        connection.data_to_send()
        return connection

    @pytest.mark.parametrize(
        ("early_calls", "expected"),
        [("none", []), ("idempotent", [FLAG_IDEMPOTENT]), ("all", [0, FLAG_IDEMPOTENT])],
    )
    def test_setting_says_which_calls_are_early(self, early_calls: str, expected: list[int]) -> None:
        connection = self.early(early_calls=early_calls)
        for flags in (0, FLAG_IDEMPOTENT):
            connection.open_call(METHOD, flags=flags)
        sent = frames(connection.data_to_send())
        assert [frame.flags for frame in sent if isinstance(frame, Request)] == expected
        connection.receive_data(opening(True))
        assert len(frames(connection.data_to_send())) == 1 + 2 - len(expected)

    def test_unusual_codec_waits_for_the_settings(self) -> None:
        connection = self.early()
        connection.open_call(METHOD, codec=2)
        assert connection.data_to_send() == b""
        connection.receive_data(opening(True))
        assert [type(frame) for frame in frames(connection.data_to_send())] == [SettingsFrame, Request]

    def test_only_the_floor_of_calls_is_early(self) -> None:
        connection = self.early()
        for _ in range(101):
            connection.open_call(METHOD)
        assert len(frames(connection.data_to_send())) == 100

    def test_early_bytes_are_bounded_by_the_first_window(self) -> None:
        connection = self.early()
        for _ in range(10):
            connection.open_call(METHOD, bytes(10_000))
        assert len(connection.data_to_send()) <= 65_536
        connection.receive_data(early_opening(True))
        assert len(frames(connection.data_to_send())) == 1 + 10 - 65_536 // 10_041

    def test_message_above_the_floor_waits_and_fits(self) -> None:
        connection = self.early()
        connection.open_call(METHOD, bytes(65_537))
        assert connection.data_to_send() == b""
        connection.receive_data(opening(True))
        payloads = [
            frame.payload for frame in frames(connection.data_to_send()) if isinstance(frame, Request)
        ]
        assert payloads == [bytes(65_537)]

    def test_message_that_waited_may_turn_out_too_large(self) -> None:
        connection = self.early()
        connection.open_call(METHOD, bytes(70_000))
        events = connection.receive_data(opening(True, {Setting.MAX_MESSAGE: 66_000}))
        assert "unsendable" in [event[0] for event in events]
        assert connection.sender.queued_bytes == 0

    def test_early_stream_message_above_the_floor_waits(self) -> None:
        connection = self.early()
        call = connection.open_call(METHOD, flags=FLAG_STREAM_IN)
        connection.push_message(call, bytes(70_000))
        connection.push_end(call)
        assert [type(frame) for frame in frames(connection.data_to_send())] == [Request]
        connection.receive_data(opening(True))
        sent = frames(connection.data_to_send())
        assert sum(len(frame.payload) for frame in sent if isinstance(frame, Data)) == 65_536 - 24
        connection.receive_data(Credit(1, 70_000).encode())
        assert isinstance(frames(connection.data_to_send())[-1], End)

    def test_early_stream_message_that_turns_out_too_large_ends_its_call(self) -> None:
        connection = self.early()
        call = connection.open_call(METHOD, flags=FLAG_STREAM_IN)
        connection.push_message(call, bytes(70_000))
        connection.data_to_send()
        connection.receive_data(opening(True, {Setting.MAX_MESSAGE: 66_000}))
        assert frames(connection.data_to_send())[1:] == [Cancel(1, 4)]
        assert connection.events[0][0] == "unsendable"

    def test_server_opens_nothing_before_a_client_serves(self) -> None:
        connection = server()
        call = connection.open_call(METHOD)
        assert connection.data_to_send() == b""
        connection.receive_data(SettingsFrame(encode_settings({Setting.MAX_CALLS: 1})).encode())
        connection.data_to_send()
        assert call.id == 2
