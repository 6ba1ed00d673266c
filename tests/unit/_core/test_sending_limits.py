"""The frames that a connection sends within its limits: credit, pieces of large messages, local refusals."""

import pytest

from fastrpc.errors import EncodeError, LocalProtocolError
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import call_ids, client, engine_settings, frames, server
from tests.support.frame_factory import answer, opening, request, settings
from tests.support.wire_layout import CONNECTION_WINDOW, FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_reference import (
    Cancel,
    Credit,
    Data,
    Head,
    Preface,
    Request,
    Response,
    Setting,
    SettingsFrame,
)

METHOD = b"arith.mul"


class TestCredit:
    def test_message_without_connection_credit_waits(self) -> None:
        connection = client({Setting.MAX_MESSAGE: 2**30})
        # The credit of the opening is used up to a few bytes.
        connection.open_call(METHOD, bytes(CONNECTION_WINDOW - 200))
        connection.data_to_send()
        second = connection.open_call(METHOD, bytes(300))
        assert connection.data_to_send() == b""
        assert second.id == 0
        connection.receive_data(Credit(0, 1_000).encode())
        assert call_ids(frames(connection.data_to_send())) == [3]

    def test_rest_of_a_large_message_goes_with_the_next_credit(self) -> None:
        connection = client({Setting.MAX_MESSAGE: 2**30})
        connection.open_call(METHOD, bytes(CONNECTION_WINDOW + 50_000))
        sent = connection.data_to_send()
        assert len(sent) <= CONNECTION_WINDOW
        connection.receive_data(Credit(0, 2**20).encode())
        last = frames(connection.data_to_send())[-1]
        assert isinstance(last, Data)
        assert not last.more

    def test_stream_waits_for_its_window_on_a_busy_connection(self) -> None:
        connection = server()
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT) + request(3, flags=FLAG_STREAM_OUT))
        for _ in range(20):
            connection.push_message(1, bytes(4_000))
        connection.push_message(3, b"still moves")
        sent = frames(connection.data_to_send(), by_server=True)
        assert call_ids(sent).count(1) == 65_536 // 4_016
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
        sent = frames(connection.data_to_send())
        begun = call_ids(frame for frame in sent if getattr(frame, "total", None))
        assert sorted(begun) == [1, 3, 5]

    def test_place_of_a_cut_message_is_free_when_its_call_is_abandoned(self) -> None:
        connection = client({Setting.MAX_FRAME: 16_384, Setting.OPEN_MESSAGES: 1})
        first = connection.open_call(METHOD, bytes(100_000))
        connection.open_call(METHOD, bytes(30_000))
        connection.data_to_send(1)
        connection.cancel(first)
        sent = frames(connection.data_to_send())
        assert [type(frame) for frame in sent] == [Cancel, Request, Data]
        assert call_ids(sent) == [1, 3, 3]

    def test_only_a_share_is_buffered_in_the_transport(self) -> None:
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

    def test_answer_behind_messages_that_wait_ends_the_call_without_its_value_when_it_is_cancelled(
        self,
    ) -> None:
        connection = server({Setting.STREAM_WINDOW: 16_384})
        connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
        connection.push_message(1, bytes(100_000))
        connection.push_message(1, b"more")
        connection.respond(1, b"answer")
        connection.data_to_send()
        connection.receive_data(Cancel(1).encode())
        assert frames(connection.data_to_send(), by_server=True) == [Response(1, 1)]
        assert connection.calls == []
        assert connection.sender.queued_bytes == 0


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

    def test_deadline_travels_as_the_remaining_time(self) -> None:
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
        assert call_ids(frames(connection.data_to_send())) == [3]
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
