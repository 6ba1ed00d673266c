"""Incoming data on a connection of HTTP/2: credit, long messages in place, facts about incomplete frames."""

from h2.errors import ErrorCodes

from fastrpc_harness.http2_frames import data_frame, headers_frames, window_update_frame
from fastrpc_harness.recording_http2 import RecordingHttp2
from tests.support.http2_frames import DATA, END_STREAM, HEADERS, OPENING, PADDED, SETTINGS, raw
from tests.support.http2_talk import GET, pair, server, split, taken

MIB = 1_048_576


def opened(**options: int) -> RecordingHttp2:
    """Return a server with stream 1, whose peer knows its settings."""
    side = server(**options)
    side.now = 7
    side.feed(OPENING + raw(SETTINGS, b"", 1) + headers_frames(1, GET))
    side.take_all()
    taken(side)
    return side


# Credit


def test_the_connection_gets_its_credit_back_as_bytes_are_placed() -> None:
    side = opened()
    side.feed(data_frame(1, bytes(16_384)))
    assert side.take_all() == b""
    side.feed(data_frame(1, bytes(16_384)))
    assert side.take_all() == window_update_frame(0, 32_768)


def test_a_stream_gets_its_credit_back_as_messages_are_taken() -> None:
    side = opened()
    side.feed(data_frame(1, bytes(40_000)))
    side.take_all()
    side.take_bytes(1, 10_000)
    assert side.take_all() == b""
    side.take_bytes(1, 30_000)
    assert side.take_all() == window_update_frame(1, 40_000)


def test_a_stream_without_an_end_to_come_gets_none() -> None:
    side = opened()
    side.feed(data_frame(1, bytes(60_000), END_STREAM))
    side.take_all()
    side.take_bytes(1, 60_000)
    side.grant_bytes(1, 60_000)
    assert side.take_all() == b""


def test_padding_is_returned_by_itself() -> None:
    side = opened()
    side.widen_now()
    side.take_all()
    for _ in range(300):
        side.feed(raw(DATA, b"\xff" + bytes(255), PADDED, 1))
    # All but the last half of a window.
    credit = sum(int.from_bytes(frame[9:], "big") for frame in split(side.take_all()))
    assert 300 * 256 - 32_768 < credit <= 300 * 256


def test_dropped_bytes_return_to_the_connection() -> None:
    side = opened()
    side.reset_stream(1, ErrorCodes.CANCEL)
    side.take_all()
    for _ in range(4):
        side.feed(data_frame(1, bytes(16_384)))
    assert side.take_all() == window_update_frame(0, 32_768) * 2


def test_a_message_is_granted_beyond_its_window() -> None:
    side = opened()
    side.widen_now()
    side.grant_bytes(1, MIB)
    assert side.take_all() == window_update_frame(0, 16_777_216 - 65_535) + window_update_frame(1, MIB)
    for _ in range(4):
        side.feed(data_frame(1, bytes(262_144)))
    assert not side.is_closed


def test_a_window_of_the_connection_holds_until_it_is_enlarged() -> None:
    side = opened(window_bytes=200_000)
    side.feed(data_frame(1, bytes(65_536)))
    assert side.closed_code == ErrorCodes.FLOW_CONTROL_ERROR


def test_credit_of_nothing_is_not_sent() -> None:
    side = opened()
    side.widen_now()
    side.take_all()
    side.widen_now()
    side.grant_bytes(1, 0)
    side.take_bytes(1, 0)
    assert side.take_all() == b""


# In place


def test_a_long_frame_is_received_in_place() -> None:
    side = opened()
    side.widen_now()
    side.grant_bytes(1, MIB)
    side.takes_directly = True
    message = bytes(range(256)) * 1_000
    frame = data_frame(1, message, END_STREAM)
    side.expect_message(1, len(message))
    assert side.feed_body(frame) == 0
    side.feed(frame[:1_000])
    at = 1_000
    while at < len(frame):
        came = side.feed_body(frame[at : at + 50_000])
        if came == 0:
            # The last bytes are not worth a read of their own.
            side.feed(frame[at:])
            break
        at += came
    events = taken(side)
    assert events[-1] == ("message", 1, message)
    assert [event[0] for event in events].count("placed") >= 5
    assert side.partial == (0, 0)


def test_a_place_ends_with_its_message_and_a_frame_continues() -> None:
    side = opened()
    side.takes_directly = True
    side.expect_message(1, 20_000)
    frame = data_frame(1, b"a" * 20_000 + b"b" * 5_000)
    side.feed(frame[:9])
    assert side.feed_body(frame[9:]) == 20_000
    assert taken(side) == [("placed", 1, 20_000, False), ("message", 1, b"a" * 20_000)]
    assert side.feed_body(frame[20_009:]) == 0
    side.feed(frame[20_009:])
    assert taken(side) == [("data", 1, b"b" * 5_000, False)]


def test_bytes_in_place_end_the_stream() -> None:
    both = pair()
    id = both.client.open_one()
    both.client.head(id, [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")])
    both.client.data(id, bytes(30_000), ends=True)
    sent = both.client.take_all()
    both.server.feed(sent[:-25_000])
    both.server.takes_directly = True
    both.server.expect_message(id, 25_000)
    assert both.server.feed_body(sent[-25_000:]) == 25_000
    events = taken(both.server)
    assert events[-2] == ("placed", id, 25_000, True)
    both.server.head(id, [(b":status", b"200")], ends=True)
    assert taken(both.server) == [("over", id)]


def test_bytes_in_place_obey_the_content_length() -> None:
    side = server()
    block = GET + b"\x0f\x0d\x0510000"
    side.feed(OPENING + headers_frames(1, block) + data_frame(1, bytes(16_000))[:100])
    taken(side)
    side.takes_directly = True
    side.expect_message(1, 16_000)
    side.feed_body(bytes(15_909))
    assert [event[0] for event in taken(side)] == ["stream violation", "over"]
    assert side.feed_body(bytes(10)) == 0


def test_a_reset_stream_has_no_place() -> None:
    side = opened()
    side.takes_directly = True
    side.expect_message(1, 20_000)
    side.feed(data_frame(1, bytes(20_000))[:9])
    side.reset_stream(1, ErrorCodes.CANCEL)
    assert side.feed_body(bytes(20_000)) == 0
    side.feed(bytes(20_000))
    assert taken(side) == [("over", 1)]
    assert not side.is_closed


# Facts


def test_an_incomplete_frame_is_a_fact() -> None:
    side = opened()
    assert side.partial == (0, 0)
    frame = data_frame(1, bytes(1_000))
    side.feed(frame[:5])
    assert side.partial == (7, 5)
    side.now = 9
    side.feed(frame[5:500])
    assert side.partial == (7, 500)
    side.feed(frame[500:])
    assert side.partial == (0, 0)
    side.now = 11
    side.feed(raw(0x1, GET, 0, 3))
    assert side.partial == (11, 9 + len(GET))
    side.feed(raw(0x9, b"", 4, 3))
    assert side.partial == (0, 0)


def test_memory_of_tables_and_blocks_is_counted() -> None:
    side = opened()
    before = side.held
    # A field for the table, in a block that is not known again.
    side.feed(headers_frames(3, GET + b"\x40\x03key\x05value"))
    assert side.held == before + 3 + 5 + 32
    side.feed(raw(HEADERS, bytes(8_000), 0, 5))
    assert side.held == before + 40 + 8_000
