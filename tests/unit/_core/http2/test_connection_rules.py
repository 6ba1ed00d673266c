"""Broken rules of a connection of HTTP/2: the connection ends, or only the stream is reset."""

import pytest
from h2.errors import ErrorCodes
from h2.events import StreamReset

from fastrpc_harness.http2_frames import headers_frames, reset_frame, window_update_frame
from tests.support.http2_frames import DATA, END_STREAM, GOAWAY, OPENING, PING, PRIORITY, SETTINGS, raw
from tests.support.http2_talk import GET, pair, server, split, taken, with_h2


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (raw(DATA, b"x", 0, 1), ErrorCodes.PROTOCOL_ERROR),
        (reset_frame(1, 8), ErrorCodes.PROTOCOL_ERROR),
        (window_update_frame(1, 5), ErrorCodes.PROTOCOL_ERROR),
        (window_update_frame(0, 0), ErrorCodes.PROTOCOL_ERROR),
        (window_update_frame(0, 2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),
        (raw(PING, b"short"), ErrorCodes.FRAME_SIZE_ERROR),
        (raw(SETTINGS, b"\0\4\xff\xff\xff\xff"), ErrorCodes.FLOW_CONTROL_ERROR),
        (raw(SETTINGS, b"", 1) * 2, ErrorCodes.PROTOCOL_ERROR),
        (headers_frames(1, b"\xff\xff\xff\xff\xff\xff"), ErrorCodes.COMPRESSION_ERROR),
        # An index beyond the tables, EOS in a Huffman code, a table size update above the limit.
        (headers_frames(1, b"\xbe"), ErrorCodes.COMPRESSION_ERROR),
        (headers_frames(1, b"\x00\x01a\x84\xff\xff\xff\xff"), ErrorCodes.COMPRESSION_ERROR),
        (headers_frames(1, b"\x3f\xe2\x1f"), ErrorCodes.COMPRESSION_ERROR),
        (headers_frames(2, b""), ErrorCodes.PROTOCOL_ERROR),
        (raw(PRIORITY, b"\0\0\0\1\0", 0, 1), ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_a_broken_rule_of_the_connection_ends_it(frames: bytes, code: ErrorCodes) -> None:
    side = server()
    side.feed(OPENING + frames + headers_frames(1, GET, END_STREAM))
    events = taken(side)
    assert [event[0] for event in events] == ["settings", "violation", "closed"]
    assert side.closed_code == code
    assert events[1][1:] == events[2][1:] == (code, side.closed_text)


@pytest.mark.parametrize("opening", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", OPENING[:24] + raw(PING, bytes(8))])
def test_a_wrong_opening_is_answered_with_a_code(opening: bytes) -> None:
    side = server()
    side.feed(opening)
    assert side.closed_code == ErrorCodes.PROTOCOL_ERROR
    goaway = split(side.take_all())[-1]
    assert goaway[3] == GOAWAY
    assert goaway[13:17] == ErrorCodes.PROTOCOL_ERROR.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (window_update_frame(1, 0), ErrorCodes.PROTOCOL_ERROR),
        (window_update_frame(1, 2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),
        (raw(PRIORITY, b"\0\0\0\1\0", 0, 1), ErrorCodes.PROTOCOL_ERROR),
        (raw(PRIORITY, b"\0", 0, 1), ErrorCodes.FRAME_SIZE_ERROR),
        (headers_frames(1, b"\x83"), ErrorCodes.PROTOCOL_ERROR),
        (headers_frames(1, b"\x83", END_STREAM), ErrorCodes.PROTOCOL_ERROR),
        (raw(DATA, bytes(16_384), 0, 1) * 5, ErrorCodes.FLOW_CONTROL_ERROR),
        (raw(DATA, b"", END_STREAM, 1) + raw(DATA, b"", END_STREAM, 1), ErrorCodes.STREAM_CLOSED),
    ],
)
def test_a_broken_rule_of_a_stream_resets_it(frames: bytes, code: ErrorCodes) -> None:
    side = server()
    side.feed(OPENING)
    side.widen_now()
    side.feed(headers_frames(1, GET))
    side.take_all()
    taken(side)
    side.feed(frames)
    events = taken(side)
    assert [event[0] for event in events][-2:] == ["stream violation", "over"]
    assert reset_frame(1, code) in side.take_all()
    assert (side.open_streams, side.is_closed) == (0, False)
    side.feed(headers_frames(3, GET, END_STREAM))
    assert [event[:2] for event in taken(side)] == [("head", 3)]


def test_a_malformed_request_is_reset_and_never_seen() -> None:
    both = with_h2(server(), validate_outbound_headers=False, normalize_outbound_headers=False)
    both.h2.send_headers(1, [(b":method", b"GET"), (b":path", b"/")], end_stream=True)
    (event,) = both.talk()
    assert isinstance(event, StreamReset)
    assert event.error_code == ErrorCodes.PROTOCOL_ERROR
    assert taken(both.side) == []
    assert both.side.open_streams == 0


def test_frames_for_a_stream_that_ended_are_judged_by_how_it_ended() -> None:
    both = pair()
    ended, reset = both.request(), both.request(ends=False)
    both.answer(ended)
    both.client.reset_stream(reset, ErrorCodes.CANCEL)
    both.talk()
    both.server.take_all()
    both.server.feed(raw(DATA, b"x", 0, reset))
    assert both.server.take_all() == reset_frame(reset, ErrorCodes.STREAM_CLOSED)
    both.server.feed(raw(DATA, b"x", 0, ended))
    assert both.server.closed_code == ErrorCodes.STREAM_CLOSED


def test_a_stream_that_both_sides_reset_takes_no_late_frames() -> None:
    side = server()
    side.feed(OPENING + headers_frames(1, GET))
    side.reset_stream(1, ErrorCodes.CANCEL)
    side.feed(raw(DATA, b"under way", 0, 1))
    side.take_all()
    side.feed(reset_frame(1, ErrorCodes.CANCEL) + raw(DATA, b"behind it", 0, 1))
    assert side.take_all() == reset_frame(1, ErrorCodes.STREAM_CLOSED)


def test_credit_of_nothing_is_answered_for_a_stream_that_is_over() -> None:
    side = server()
    side.feed(OPENING + headers_frames(1, GET))
    side.reset_stream(1, ErrorCodes.CANCEL)
    side.take_all()
    side.feed(window_update_frame(1, 0))
    assert side.take_all() == reset_frame(1, ErrorCodes.PROTOCOL_ERROR)
    assert not side.is_closed
