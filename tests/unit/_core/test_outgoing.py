"""What a connection sends: order, credit, places at the peer, pieces of large messages."""

from typing import Any

import pytest

from fastrpc._core.recording import RecordingConnection
from fastrpc.errors import EncodeError, LocalProtocolError
from tests.support.engine import engine_settings
from tests.support.frame_factory import answer, early_opening, opening, request, settings
from tests.support.wire_layout import (
    CONNECTION_WINDOW,
    FLAG_IDEMPOTENT,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
)
from tests.support.wire_reference import (
    Cancel,
    Credit,
    Data,
    End,
    Frame,
    Goaway,
    Head,
    Parser,
    Ping,
    Preface,
    Request,
    Response,
    Setting,
    SettingsFrame,
    encode_settings,
)

METHOD = b"arith.mul"


def frames(sent: bytes, *, by_server: bool = False) -> list[Frame]:
    """Read what was sent behind the opening."""
    parser = Parser(not by_server, has_preface=False, max_frame=2**24)
    parser.window_left = 2**40
    parser.feed(sent)
    return [frame for frame in parser if not isinstance(frame, Preface)]


def client(changes: dict[int, Any] | None = None, **options: Any) -> RecordingConnection:
    """Return a client whose server announced its defaults with changes; nothing is left to send."""
    connection = RecordingConnection(is_client=True, **options)
    connection.sends_at_once = False
    connection.receive_data(opening(True, changes))
    connection.data_to_send()
    return connection


def server(changes: dict[int, Any] | None = None) -> RecordingConnection:
    """Return a server whose client announced its defaults with changes; nothing is left to send."""
    connection = RecordingConnection(is_client=False)
    connection.sends_at_once = False
    connection.receive_data(opening(False, changes))
    connection.data_to_send()
    return connection


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
        assert [frame.id for frame in frames(connection.data_to_send(1))] == [1]
        connection.open_call(METHOD, b"small")
        rest = frames(connection.data_to_send())
        assert isinstance(rest[0], Request)
        assert rest[0].id == 3
        assert {type(frame) for frame in rest[1:]} == {Data}

    def test_ids_rise_on_the_wire_whatever_waited(self) -> None:
        connection = client({Setting.MAX_CALLS: 2})
        for size in (100_000, 5, 50_000, 7, 0):
            connection.open_call(METHOD, bytes(size))
        ids: list[int] = []
        while len(ids) < 5:
            new = [one.id for one in frames(connection.data_to_send()) if isinstance(one, Request)]
            ids += new
            for call in new:
                connection.receive_data(answer(call))
        assert ids == [1, 3, 5, 7, 9]

    def test_large_messages_take_turns(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384})
        for _ in range(2):
            connection.open_call(METHOD, bytes(60_000))
        sent = [frame.id for frame in frames(connection.data_to_send())]
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

    def test_cancel_stays_behind_its_request(self) -> None:
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
        assert [frame.id for frame in frames(connection.data_to_send())] == [3]
        assert waiting.id == 3

    def test_large_calls_that_wait_for_their_turn_hold_a_place(self) -> None:
        connection = client({Setting.MAX_CALLS: 2})
        calls = [connection.open_call(METHOD, bytes(50_000)) for _ in range(3)]
        connection.data_to_send()
        assert [call.id for call in calls] == [1, 3, 0]

    def test_streams_wait_for_max_streams_while_others_pass(self) -> None:
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

    def test_call_that_was_never_sent_is_given_up_without_a_word(self) -> None:
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

    def test_ten_thousand_given_up_calls_leave_nothing_behind(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        for _ in range(10_000):
            connection.cancel(connection.open_call(METHOD, bytes(1_000)))
        assert connection.queued_bytes == 0
        assert connection.waiting < 200

    def test_last_ids_are_used_and_never_wrap(self) -> None:
        connection = client(first_id=2**63 - 3)
        calls = [connection.open_call(METHOD) for _ in range(3)]
        sent = frames(connection.data_to_send())
        assert [frame.id for frame in sent] == [2**63 - 3, 2**63 - 1]
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
        assert connection.queued_bytes == 0

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
        events = connection.receive_data(opening(True, {Setting.MAX_MESSAGE: 66_000}))
        assert "unsendable" in [event[0] for event in events]
        assert Cancel(1, 4) in frames(connection.data_to_send())

    def test_server_opens_nothing_before_a_client_serves(self) -> None:
        connection = server()
        call = connection.open_call(METHOD)
        assert connection.data_to_send() == b""
        connection.receive_data(SettingsFrame(encode_settings({Setting.MAX_CALLS: 1})).encode())
        connection.data_to_send()
        assert call.id == 2


class TestCredit:
    def test_message_without_connection_credit_waits(self) -> None:
        connection = client({Setting.MAX_MESSAGE: 2**30})
        # What the opening grants is used up to a few bytes.
        connection.open_call(METHOD, bytes(CONNECTION_WINDOW - 200))
        connection.data_to_send()
        second = connection.open_call(METHOD, bytes(300))
        assert connection.data_to_send() == b""
        assert second.id == 0
        connection.receive_data(Credit(0, 1_000).encode())
        assert [frame.id for frame in frames(connection.data_to_send())] == [3]

    def test_rest_of_a_large_message_goes_with_the_next_credit(self) -> None:
        connection = client({Setting.MAX_MESSAGE: 2**30})
        connection.open_call(METHOD, bytes(CONNECTION_WINDOW + 50_000))
        sent = connection.data_to_send()
        assert len(sent) <= CONNECTION_WINDOW
        connection.receive_data(Credit(0, 2**20).encode())
        last = frames(connection.data_to_send())[-1]
        assert isinstance(last, Data)
        assert not last.more

    def test_stream_waits_for_its_window_beside_a_busy_connection(self) -> None:
        connection = server()
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT) + request(3, flags=FLAG_STREAM_OUT))
        for _ in range(20):
            connection.push_message(1, bytes(4_000))
        connection.push_message(3, b"still moves")
        sent = frames(connection.data_to_send(), by_server=True)
        assert len([frame for frame in sent if frame.id == 1]) == 65_536 // 4_016
        assert [frame.payload for frame in sent if isinstance(frame, Data) and frame.id == 3] == [
            b"still moves"
        ]
        connection.receive_data(Credit(1, 32_768).encode())
        assert len(frames(connection.data_to_send(), by_server=True)) == 4

    def test_message_that_does_not_fit_its_window_is_cut(self) -> None:
        connection = server()
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        connection.push_message(1, bytes(100_000))
        (first,) = frames(connection.data_to_send(), by_server=True)
        assert isinstance(first, Data)
        assert first.total == 100_000
        connection.receive_data(Credit(1, 100_000 - len(first.payload)).encode())
        (last,) = frames(connection.data_to_send(), by_server=True)
        assert isinstance(last, Data)
        assert last.cont
        assert not last.more

    def test_hundred_thousand_small_messages_leave_in_order_with_one_credit(self) -> None:
        connection = server({Setting.STREAM_WINDOW: 16_384})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        for number in range(100_000):
            connection.push_message(1, number.to_bytes(4, "little"))
        connection.respond(1, b"done")
        sent = frames(connection.data_to_send(), by_server=True)
        connection.receive_data(Credit(1, 2**30).encode())
        sent += frames(connection.data_to_send(), by_server=True)
        numbers = [int.from_bytes(frame.payload, "little") for frame in sent if isinstance(frame, Data)]
        assert numbers == list(range(100_000))
        assert isinstance(sent[-1], Response)

    def test_hundred_thousand_waiting_messages_can_be_dropped(self) -> None:
        connection = server({Setting.STREAM_WINDOW: 16_384})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        for _ in range(100_000):
            connection.push_message(1, b"1234")
        del connection

    def test_answer_that_waits_keeps_its_call_in_the_table(self) -> None:
        connection = RecordingConnection(
            is_client=False, settings=engine_settings(True, {Setting.MAX_CALLS: 3})
        )
        # A client that gives no credit beyond the first window.
        connection.receive_data(Preface().encode() + settings(False) + SettingsFrame(ack=True).encode())
        for call in (1, 3, 5):
            connection.receive_data(request(call))
            connection.respond(call, bytes(60_000))
        assert connection.calls == [3, 5]
        assert connection.receive_data(Cancel(3).encode()) == [("cancel", 3, 0)]
        connection.receive_data(Credit(0, 200_000).encode())
        assert connection.calls == []

    def test_refusals_that_wait_for_credit_are_bounded(self) -> None:
        connection = RecordingConnection(
            is_client=False, settings=engine_settings(True, {Setting.MAX_CALLS: 5})
        )
        connection.receive_data(Preface().encode() + settings(False) + SettingsFrame(ack=True).encode())
        names: list[str] = []
        for call in range(1, 8_000, 2):
            names += [event[0] for event in connection.receive_data(request(call, metadata=b"\0"))]
        assert names[-1] == "error"
        assert 1_005 < len(names) < 2_500


class TestPieces:
    def test_no_frame_is_longer_than_the_peer_takes(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384})
        connection.open_call(METHOD, bytes(100_000), metadata=b"\x01\x00\xe8\x03k" + b"v" * 1_000)
        sent = connection.data_to_send()
        sizes = [len(frame.encode()) - 16 for frame in frames(sent)]
        assert max(sizes) == 16_384
        assert len(sizes) == 7

    def test_cut_messages_stay_below_open_messages(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384, Setting.OPEN_MESSAGES: 2})
        for _ in range(4):
            connection.open_call(METHOD, bytes(100_000))
        unfinished: set[int] = set()
        for frame in frames(connection.data_to_send()):
            if isinstance(frame, Request):
                unfinished.add(frame.id)
            elif isinstance(frame, Data) and not frame.more:
                unfinished.remove(frame.id)
            assert len(unfinished) <= 2
        assert connection.calls == [1, 3, 5, 7]

    def test_streams_do_not_count_as_open_messages(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384, Setting.OPEN_MESSAGES: 1})
        streams = [connection.open_call(METHOD, flags=FLAG_STREAM_IN) for _ in range(2)]
        for call in streams:
            connection.push_message(call, bytes(30_000))
        connection.open_call(METHOD, bytes(30_000))
        begun = [frame.id for frame in frames(connection.data_to_send()) if getattr(frame, "total", None)]
        assert sorted(begun) == [1, 3, 5]

    def test_place_of_a_cut_message_is_free_when_its_call_is_given_up(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384, Setting.OPEN_MESSAGES: 1})
        first = connection.open_call(METHOD, bytes(100_000))
        connection.open_call(METHOD, bytes(30_000))
        connection.data_to_send(1)
        connection.cancel(first)
        sent = frames(connection.data_to_send())
        assert [type(frame) for frame in sent] == [Cancel, Request, Data]
        assert [frame.id for frame in sent] == [1, 3, 3]

    def test_only_a_share_lies_in_the_transport(self) -> None:
        connection = client()
        connection.open_call(METHOD, bytes(8_000_000))
        assert len(connection.data_to_send(262_144)) < 2 * 262_144 + 100

    def test_cut_answer_is_replaced_by_a_whole_error(self) -> None:
        connection = server({Setting.MAX_FRAME: 16_384})
        connection.receive_data(request(1))
        connection.respond(1, bytes(100_000))
        connection.data_to_send(1)
        connection.respond_error(1, 13, b"failed", details=bytes(50_000))
        (final,) = frames(connection.data_to_send(), by_server=True)
        assert final == Response(1, 13, message=b"failed")
        assert connection.calls == []

    def test_error_with_large_details_is_cut_where_nothing_was_sent(self) -> None:
        connection = server({Setting.MAX_FRAME: 16_384})
        connection.receive_data(request(1))
        connection.respond_error(1, 13, b"failed", details=bytes(50_000))
        sent = frames(connection.data_to_send(), by_server=True)
        assert sum(len(frame.payload) for frame in sent if isinstance(frame, Response | Data)) == 50_000

    def test_answer_behind_messages_that_wait_is_sent_when_the_call_is_cancelled(self) -> None:
        connection = server({Setting.STREAM_WINDOW: 16_384})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        connection.push_message(1, bytes(100_000))
        connection.push_message(1, b"more")
        connection.respond(1, b"answer")
        connection.data_to_send()
        connection.receive_data(Cancel(1).encode())
        assert frames(connection.data_to_send(), by_server=True) == [Response(1, 0, b"answer")]
        assert connection.calls == []
        assert connection.queued_bytes == 0


class TestLimits:
    def test_request_above_the_peers_limit_is_refused_here(self) -> None:
        connection = client({Setting.MAX_MESSAGE: 4_096})
        with pytest.raises(EncodeError, match="4097 bytes, the peer takes at most 4096"):
            connection.open_call(METHOD, bytes(4_097))
        assert connection.data_to_send() == b""

    def test_stream_message_above_the_peers_limit_is_refused_here(self) -> None:
        connection = server({Setting.MAX_MESSAGE: 4_096})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        with pytest.raises(EncodeError, match="4097 bytes"):
            connection.push_message(1, bytes(4_097))

    def test_answer_above_the_peers_limit_is_refused_here(self) -> None:
        connection = server({Setting.MAX_MESSAGE: 4_096})
        connection.receive_data(request(1))
        with pytest.raises(EncodeError, match="4097 bytes"):
            connection.respond(1, bytes(4_097))

    def test_head_above_the_peers_limit_is_refused_here(self) -> None:
        connection = server({Setting.MAX_METADATA: 1_024})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        with pytest.raises(EncodeError, match="1025 bytes, the peer takes at most 1024"):
            connection.push_head(1, bytes(1_025))

    def test_metadata_that_leaves_no_room_in_a_frame_is_refused_here(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384, Setting.MAX_METADATA: 65_535})
        connection.open_call(METHOD, b"x", metadata=bytes(20_000))
        connection.open_call(METHOD, b"y")
        sent = frames(connection.data_to_send())
        assert [frame.payload for frame in sent if isinstance(frame, Request)] == [b"y"]
        assert connection.events[0][0] == "unsendable"

    def test_answer_whose_metadata_fits_no_frame_becomes_an_error(self) -> None:
        connection = server({Setting.MAX_FRAME: 16_384, Setting.MAX_METADATA: 65_535})
        connection.receive_data(request(1))
        connection.respond(1, b"x", metadata=bytes(20_000))
        (final,) = frames(connection.data_to_send(), by_server=True)
        assert isinstance(final, Response)
        assert (final.status, final.outcome, final.metadata) == (8, 0, b"")

    def test_deadline_travels_as_what_is_left(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        connection.open_call(METHOD, timeout_us=1_000_000)
        connection.data_to_send()
        connection.now += 400_000_000
        connection.receive_data(answer(1))
        (sent,) = frames(connection.data_to_send())
        assert isinstance(sent, Request)
        assert sent.timeout_us == 600_000

    def test_call_without_time_left_is_not_sent(self) -> None:
        connection = client({Setting.MAX_CALLS: 1})
        connection.open_call(METHOD)
        late = connection.open_call(METHOD, timeout_us=1_000)
        after = connection.open_call(METHOD)
        connection.data_to_send()
        connection.now += 400_000_000
        connection.receive_data(answer(1))
        assert [frame.id for frame in frames(connection.data_to_send())] == [3]
        assert (late.id, after.id) == (0, 3)

    def test_later_settings_do_not_repeat_the_stream_window(self) -> None:
        connection = server()
        connection.announce(engine_settings(True, {Setting.MAX_CALLS: 7}))
        (sent,) = frames(connection.data_to_send(), by_server=True)
        assert isinstance(sent, SettingsFrame)
        peer = RecordingConnection(is_client=True)
        peer.receive_data(opening(True))
        (event,) = peer.receive_data(sent.encode())
        assert dict(event[1])[Setting.MAX_CALLS] == 7

    def test_stream_window_cannot_change(self) -> None:
        connection = server()
        with pytest.raises(LocalProtocolError, match="stream window"):
            connection.announce(engine_settings(True, {Setting.STREAM_WINDOW: 16_384}))

    def test_head_is_sent_before_the_messages(self) -> None:
        connection = server()
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        connection.push_head(1, b"\x01\x00\x01\x00kv")
        connection.push_message(1, b"x")
        sent = frames(connection.data_to_send(), by_server=True)
        assert sent == [Head(1, b"\x01\x00\x01\x00kv"), Data(1, b"x")]
