"""The settings of HTTP/2: defaults, bounds, and when ours count."""

import struct

import pytest
from h2.errors import ErrorCodes

from fastrpc._core.http2.frames import Http2Settings, OwnSettings
from fastrpc_harness.http2_blocks import Http2ViolationError
from fastrpc_harness.http2_frames import apply_settings, settings_frame, take_ack

TABLE, PUSH, STREAMS, WINDOW, FRAME, LIST, CONNECT = 1, 2, 3, 4, 5, 6, 8


def payload(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">HI", *pair) for pair in pairs)


def values(settings: Http2Settings) -> tuple[object, ...]:
    numbers = (settings.header_table_bytes, settings.streams, settings.window_bytes, settings.frame_bytes)
    return (*numbers, settings.header_list_bytes, settings.allows_push, settings.allows_connect)


def test_the_first_values_match_the_rfc() -> None:
    assert values(Http2Settings()) == (4096, 2**32 - 1, 65_535, 16_384, 2**32 - 1, True, False)


def test_values_are_taken_in_their_order() -> None:
    settings = Http2Settings()
    apply_settings(
        settings, payload((STREAMS, 1), (TABLE, 0), (STREAMS, 2), (WINDOW, 2**31 - 1), (FRAME, 2**24 - 1))
    )
    apply_settings(settings, payload((LIST, 0), (PUSH, 0), (CONNECT, 1), (0x0F0F, 7), (9, 1)))
    assert values(settings) == (0, 2, 2**31 - 1, 2**24 - 1, 0, False, True)


@pytest.mark.parametrize(
    ("pairs", "is_of_server", "code", "text"),
    [
        ([(PUSH, 2)], False, "PROTOCOL_ERROR", "ENABLE_PUSH is 2"),
        ([(PUSH, 1)], True, "PROTOCOL_ERROR", "ENABLE_PUSH is 1, the most is 0"),
        ([(WINDOW, 2**31)], False, "FLOW_CONTROL_ERROR", "INITIAL_WINDOW_SIZE is 2147483648"),
        ([(WINDOW, 2**32 - 1)], True, "FLOW_CONTROL_ERROR", "INITIAL_WINDOW_SIZE is 4294967295"),
        ([(FRAME, 16_383)], False, "PROTOCOL_ERROR", "MAX_FRAME_SIZE is 16383"),
        ([(FRAME, 2**24)], False, "PROTOCOL_ERROR", "MAX_FRAME_SIZE is 16777216"),
        ([(CONNECT, 2)], True, "PROTOCOL_ERROR", "ENABLE_CONNECT_PROTOCOL is 2"),
        ([(CONNECT, 1), (CONNECT, 0)], True, "PROTOCOL_ERROR", "ENABLE_CONNECT_PROTOCOL is 0"),
        ([(TABLE, 0), (FRAME, 0)], False, "PROTOCOL_ERROR", "MAX_FRAME_SIZE is 0"),
    ],
)
def test_bounds_are_kept(pairs: list[tuple[int, int]], is_of_server: bool, code: str, text: str) -> None:
    with pytest.raises(Http2ViolationError, match=text) as caught:
        apply_settings(Http2Settings(), payload(*pairs), is_of_server)
    assert (ErrorCodes(caught.value.code).name, caught.value.is_of_connection) == (code, True)


@pytest.mark.parametrize(
    "pair", [(PUSH, 0), (CONNECT, 0), (WINDOW, 0), (FRAME, 16_384), (STREAMS, 0), (99, 2**32 - 1)]
)
@pytest.mark.parametrize("is_of_server", [True, False])
def test_values_at_the_bounds_are_taken(pair: tuple[int, int], is_of_server: bool) -> None:
    apply_settings(Http2Settings(), payload(pair), is_of_server)


@pytest.mark.parametrize("size", [1, 5, 7])
def test_a_cut_payload_is_refused(size: int) -> None:
    with pytest.raises(Http2ViolationError, match=f"a frame has {size} bytes"):
        apply_settings(Http2Settings(), bytes(size))


def test_ours_count_once_they_are_acknowledged() -> None:
    own = OwnSettings(is_server=True)
    assert settings_frame(own, {STREAMS: 10, WINDOW: 1 << 20}) == bytes.fromhex(
        "00000c040000000000"
    ) + payload((STREAMS, 10), (WINDOW, 1 << 20))
    settings_frame(own, {STREAMS: 20})
    settings_frame(own, {})
    assert (own.unacknowledged, own.acknowledged.streams) == (3, 2**32 - 1)
    take_ack(own)
    assert (own.unacknowledged, own.acknowledged.streams, own.acknowledged.window_bytes) == (2, 10, 1 << 20)
    take_ack(own)
    assert own.acknowledged.streams == 20
    take_ack(own)
    assert own.unacknowledged == 0


def test_an_acknowledgement_of_nothing_is_refused() -> None:
    own = OwnSettings(is_server=False)
    settings_frame(own, {PUSH: 0})
    take_ack(own)
    with pytest.raises(Http2ViolationError, match="not sent") as caught:
        take_ack(own)
    assert caught.value.code == ErrorCodes.PROTOCOL_ERROR
