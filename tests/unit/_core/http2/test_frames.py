"""The frames of HTTP/2: any cut gives the same frames, each broken rule its error; `hyperframe` is the oracle."""

from collections.abc import Sequence
from random import Random

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe import frame as hyper

from fastrpc._core.http2.frames import Http2Parser, OwnSettings
from fastrpc_harness.http2_blocks import violation_rows
from fastrpc_harness.http2_frames import (
    data_frame,
    goaway_frame,
    headers_frames,
    held_bytes,
    ping_frame,
    preface,
    reset_frame,
    settings_ack,
    settings_frame,
    take_frame,
    window_update_frame,
)
from tests.conftest import Scale
from tests.support.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OPENING,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RECORDED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Event,
    events_of,
    raw,
)

BLOCK_LIMIT = 65_536


def text_of(rule: object) -> str:
    assert isinstance(rule, int)
    return violation_rows()[rule][2] if rule else ""


EXPECTED: list[Event] = [
    (SETTINGS, 0, bytes.fromhex("000100000064000300000007"), 0, 0, False, 0),
    (WINDOW_UPDATE, 0, b"\x00\x00\x03\xe8", 1_000, 0, False, 0),
    (HEADERS, 1, b"block-1", 0, 0, False, 0),
    (0x77, 5, b"", 0, 0, False, 0),
    (DATA, 1, b"abc" * 50 + b"padded" + b"end", 150 + 16 + 204, 0, True, 0),
    (HEADERS, 3, b"block-3" + b"-more" * 9 + b"-last", 0, 0, True, 0),
    (PRIORITY, 9, b"\x00\x00\x00\x01\x00", 0, 0, False, 0),
    (PING, 0, b"12345678", 0, 0, False, 0),
    (PING, 0, b"12345678", 0, 0, False, 0),
    (SETTINGS, 0, b"", 0, 0, False, 0),
    (HEADERS, 5, b"", 0, 0, True, 0),
    (DATA, 7, b"", 370 + 6 + 6, 0, True, 0),
    (DATA, 9, b"", 382, 0, True, 0),
    (0x20, 0, b"", 0, 0, False, 0),
    (RST_STREAM, 3, b"\x00\x00\x00\x08", 8, 0, False, 0),
    (WINDOW_UPDATE, 1, b"\x7f\xff\xff\xff", 2**31 - 1, 0, False, 0),
    (GOAWAY, 0, b"bye", 2, 9, False, 0),
]


def test_frames_of_every_kind_are_parsed() -> None:
    assert events_of(RECORDED) == EXPECTED
    assert events_of([b"".join(RECORDED)]) == EXPECTED


def test_every_cut_gives_the_same_frames() -> None:
    whole = b"".join(RECORDED)
    for at in range(len(whole) + 1):
        assert events_of([whole[:at], whole[at:]]) == EXPECTED, at


def test_single_bytes_give_the_same_frames() -> None:
    assert events_of(bytes([byte]) for byte in b"".join(RECORDED)) == EXPECTED


def test_random_cuts_give_the_same_frames(scale: Scale) -> None:
    whole = b"".join(RECORDED)
    for seed in scale.seeds(2_000):
        random = Random(seed)
        cuts = sorted(random.sample(range(len(whole)), random.randrange(1, 40)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert events_of(pieces) == EXPECTED


def test_data_counts_for_the_windows_before_it_comes() -> None:
    parser = Http2Parser(is_server=True)
    events_of([OPENING], parser)
    frame = raw(DATA, b"\x03" + b"content" + bytes(3), PADDED | END_STREAM, 1)
    sizes = []
    for end in (9, 10, 12):
        size, found = take_frame(parser, frame[:end])
        frame = frame[size:]
        sizes.append((size, None if found is None else found[5]))
        if size:
            break
    # The head and the size of its padding are enough.
    assert sizes == [(0, None), (10, 11)]


def test_a_block_in_pieces_is_freed_once_it_is_handed_out() -> None:
    parser = Http2Parser(is_server=True)
    frames = headers_frames(1, bytes(20_000), END_STREAM, 3_000)
    assert events_of([OPENING, frames[:-10]], parser)[1:] == []
    # All but the last frame.
    assert held_bytes(parser) == 18_000
    (found,) = events_of([frames[-(9 + 2_000) :]], parser)
    assert found == (HEADERS, 1, bytes(20_000), 0, 0, True, 0)
    events_of([raw(PING, bytes(8))], parser)
    assert held_bytes(parser) == 0


WRONG: dict[str, tuple[Sequence[bytes], str, str]] = {
    "no preface": ([b"GET / HTTP/1.1\r\n"], "PROTOCOL_ERROR", "preface"),
    "a wrong preface": ([preface()[:-1] + b"x"], "PROTOCOL_ERROR", "preface"),
    "no settings": ([preface(), raw(PING, bytes(8))], "PROTOCOL_ERROR", "must be SETTINGS"),
    "an acknowledgement first": ([preface(), raw(SETTINGS, flags=ACK)], "PROTOCOL_ERROR", "must be SETTINGS"),
    "an unknown kind first": ([preface(), raw(0x99)], "PROTOCOL_ERROR", "must be SETTINGS"),
    "a long frame": ([OPENING, raw(DATA, bytes(16_385), 0, 1)[:9]], "FRAME_SIZE_ERROR", "16385"),
    "a long unknown frame": ([OPENING, b"\xff\xff\xff\x99\0\0\0\0\0"], "FRAME_SIZE_ERROR", "16777215"),
    "DATA of no stream": ([OPENING, raw(DATA)], "PROTOCOL_ERROR", "kind 0 names no stream"),
    "DATA without its padding": ([OPENING, raw(DATA, b"", PADDED, 1)], "FRAME_SIZE_ERROR", "0 bytes"),
    "DATA that is all padding": (
        [OPENING, raw(DATA, b"\x03ab", PADDED, 1)],
        "PROTOCOL_ERROR",
        "3 bytes of padding",
    ),
    "DATA shorter than its padding": (
        [OPENING, raw(DATA, b"\xff", PADDED, 1)],
        "PROTOCOL_ERROR",
        "255 bytes",
    ),
    "HEADERS of no stream": ([OPENING, raw(HEADERS, b"", END_HEADERS)], "PROTOCOL_ERROR", "kind 1 names no"),
    "HEADERS without their padding": ([OPENING, raw(HEADERS, b"", PADDED, 1)], "FRAME_SIZE_ERROR", "0 bytes"),
    "HEADERS without their priority": (
        [OPENING, raw(HEADERS, bytes(5), PADDED | WITH_PRIORITY, 1)],
        "FRAME_SIZE_ERROR",
        "5 bytes, its kind needs 6",
    ),
    "HEADERS with too much padding": (
        [OPENING, raw(HEADERS, b"\x03ab", PADDED | END_HEADERS, 1)],
        "PROTOCOL_ERROR",
        "3 bytes of padding, there is room for 2",
    ),
    "PRIORITY of no stream": ([OPENING, raw(PRIORITY, bytes(5))], "PROTOCOL_ERROR", "kind 2"),
    "RST_STREAM of no stream": ([OPENING, raw(RST_STREAM, bytes(4))], "PROTOCOL_ERROR", "kind 3"),
    "a short RST_STREAM": ([OPENING, raw(RST_STREAM, bytes(3), 0, 1)], "FRAME_SIZE_ERROR", "needs 4"),
    "a long RST_STREAM": ([OPENING, raw(RST_STREAM, bytes(5), 0, 1)[:9]], "FRAME_SIZE_ERROR", "needs 4"),
    "SETTINGS of a stream": ([OPENING, raw(SETTINGS, b"", 0, 1)], "PROTOCOL_ERROR", "kind 4 names a stream"),
    "cut SETTINGS": ([OPENING, raw(SETTINGS, bytes(7))], "FRAME_SIZE_ERROR", "7 bytes, its kind needs 6"),
    "an acknowledgement with settings": (
        [OPENING, raw(SETTINGS, bytes(6), ACK)],
        "FRAME_SIZE_ERROR",
        "needs 0",
    ),
    "PUSH_PROMISE": ([OPENING, raw(PUSH_PROMISE, bytes(4), END_HEADERS, 1)], "PROTOCOL_ERROR", "push"),
    "PING of a stream": ([OPENING, raw(PING, bytes(8), 0, 1)], "PROTOCOL_ERROR", "kind 6 names a stream"),
    "a short PING": ([OPENING, raw(PING, bytes(7))], "FRAME_SIZE_ERROR", "needs 8"),
    "a long PING": ([OPENING, raw(PING, bytes(9))[:9]], "FRAME_SIZE_ERROR", "needs 8"),
    "GOAWAY of a stream": ([OPENING, raw(GOAWAY, bytes(8), 0, 1)], "PROTOCOL_ERROR", "kind 7"),
    "a short GOAWAY": ([OPENING, raw(GOAWAY, bytes(7))], "FRAME_SIZE_ERROR", "needs 8"),
    "a short WINDOW_UPDATE": ([OPENING, raw(WINDOW_UPDATE, bytes(3))], "FRAME_SIZE_ERROR", "needs 4"),
    "WINDOW_UPDATE by 0": ([OPENING, raw(WINDOW_UPDATE, bytes(4))], "PROTOCOL_ERROR", "adds 0"),
    "CONTINUATION of no stream": ([OPENING, raw(CONTINUATION)], "PROTOCOL_ERROR", "kind 9 names no"),
    "CONTINUATION alone": (
        [OPENING, raw(CONTINUATION, b"", 0, 1)],
        "PROTOCOL_ERROR",
        "without an unfinished",
    ),
    "CONTINUATION behind a whole block": (
        [OPENING, headers_frames(1, b""), raw(CONTINUATION, b"", END_HEADERS, 1)],
        "PROTOCOL_ERROR",
        "without an unfinished",
    ),
    "DATA within a block": (
        [OPENING, raw(HEADERS, b"", 0, 1), raw(DATA, b"", 0, 1)],
        "PROTOCOL_ERROR",
        "kind 0 comes within",
    ),
    "another stream within a block": (
        [OPENING, raw(HEADERS, b"", 0, 1), raw(CONTINUATION, b"", 0, 3)],
        "PROTOCOL_ERROR",
        "kind 9 comes within",
    ),
    "an unknown kind within a block": (
        [OPENING, raw(HEADERS, b"", 0, 1), raw(0x99, b"", 0, 1)],
        "PROTOCOL_ERROR",
        "kind 153 comes within",
    ),
    "a block within a block": (
        [OPENING, raw(HEADERS, b"", 0, 1), headers_frames(1, b"")],
        "PROTOCOL_ERROR",
        "kind 1 comes within",
    ),
    "too many frames of CONTINUATION": (
        [OPENING, raw(HEADERS, b"", 0, 1), *[raw(CONTINUATION, b"", 0, 1)] * 9],
        "ENHANCE_YOUR_CALM",
        "more than 8 frames",
    ),
    "too large a block": (
        [
            OPENING,
            raw(HEADERS, bytes(16_384), 0, 1),
            *[raw(CONTINUATION, bytes(16_384), 0, 1)] * 3,
            raw(CONTINUATION, b"1", 0, 1)[:9],
        ],
        "ENHANCE_YOUR_CALM",
        "65537 bytes or more",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_rules_of_the_connection_are_checked(name: str) -> None:
    frames, code, text = WRONG[name]
    found = events_of(frames)[-1]
    assert found[0] == code
    assert text in str(found[1])
    # The head of the last frame is enough, and each cut of the bytes gives the same.
    whole = b"".join(frames)
    assert events_of(bytes([byte]) for byte in whole)[-1] == found


@pytest.mark.parametrize("kind", [PRIORITY, SETTINGS, GOAWAY])
def test_long_frames_of_control_are_refused_by_their_head(kind: int) -> None:
    size = 16_386
    stream = 0 if kind != PRIORITY else 1
    head = size.to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big")
    (found,) = events_of([OPENING, head], Http2Parser(is_server=True, frame_limit=1 << 20))[1:]
    assert found == ("ENHANCE_YOUR_CALM", "a frame of control has 16386 bytes, the limit is 16384")


@pytest.mark.parametrize(
    ("frame", "kind", "text"),
    [
        (raw(PRIORITY, bytes(4), 0, 1), PRIORITY, "PRIORITY has"),
        (raw(PRIORITY, bytes(6), 0, 1), PRIORITY, "PRIORITY has"),
        (raw(PRIORITY, b"\x80\0\0\x01\0", 0, 1), PRIORITY, "depends on itself"),
        (raw(HEADERS, b"\0\0\0\x01\0block", WITH_PRIORITY | END_HEADERS, 1), HEADERS, "depends on itself"),
        (raw(WINDOW_UPDATE, bytes(4), 0, 1), WINDOW_UPDATE, "adds 0"),
        (raw(WINDOW_UPDATE, b"\x80\0\0\0", 0, 1), WINDOW_UPDATE, "adds 0"),
    ],
)
def test_rules_of_a_stream_end_it_alone(frame: bytes, kind: int, text: str) -> None:
    _, broken, following = events_of([OPENING, frame, raw(PING, bytes(8))])
    assert broken[0] == kind
    assert text in text_of(broken[-1])
    assert (following[0], following[-1]) == (PING, 0)


def test_a_broken_priority_does_not_lose_its_block() -> None:
    frames = raw(HEADERS, b"\0\0\0\x01\0begin", WITH_PRIORITY, 1) + raw(CONTINUATION, b"-end", END_HEADERS, 1)
    _, found = events_of([OPENING, frames])
    assert found[2] == b"begin-end"
    assert "depends on itself" in text_of(found[-1])


def test_the_reserved_bit_of_a_stream_is_ignored() -> None:
    _, found = events_of([OPENING, raw(RST_STREAM, bytes(4), 0, 2**31 + 5)])
    assert found[:2] == (RST_STREAM, 5)


def test_a_client_needs_no_preface() -> None:
    assert events_of([raw(SETTINGS)], Http2Parser(is_server=False)) == [(SETTINGS, 0, b"", 0, 0, False, 0)]


def test_a_raised_limit_takes_larger_frames() -> None:
    parser = Http2Parser(is_server=True, frame_limit=1 << 18)
    _, found = events_of([OPENING, raw(DATA, bytes(1 << 18), END_STREAM, 1)], parser)
    assert len(found[2]) == 1 << 18  # type: ignore[arg-type]


def test_a_block_at_the_limits_is_taken() -> None:
    frames = headers_frames(1, bytes(BLOCK_LIMIT), END_STREAM, BLOCK_LIMIT // 8)
    _, found = events_of([OPENING, frames])
    assert found == (HEADERS, 1, bytes(BLOCK_LIMIT), 0, 0, True, 0)


@pytest.mark.parametrize(
    ("written", "frame"),
    [
        (data_frame(5, b"abc"), hyper.DataFrame(5, data=b"abc")),
        (data_frame(5, b"", END_STREAM), hyper.DataFrame(5, flags=["END_STREAM"])),
        (reset_frame(7, 0xB), hyper.RstStreamFrame(7, error_code=0xB)),
        (
            goaway_frame(2**31 - 1, 11, b"too_many_pings"),
            hyper.GoAwayFrame(last_stream_id=2**31 - 1, error_code=11, additional_data=b"too_many_pings"),
        ),
        (goaway_frame(0, 0), hyper.GoAwayFrame()),
        (ping_frame(b"12345678"), hyper.PingFrame(opaque_data=b"12345678")),
        (ping_frame(b"12345678", is_ack=True), hyper.PingFrame(opaque_data=b"12345678", flags=["ACK"])),
        (window_update_frame(0, 2**31 - 1), hyper.WindowUpdateFrame(0, window_increment=2**31 - 1)),
        (window_update_frame(9, 1), hyper.WindowUpdateFrame(9, window_increment=1)),
        (settings_ack(), hyper.SettingsFrame(flags=["ACK"])),
        (
            settings_frame(OwnSettings(is_server=True), {3: 100, 4: 1 << 20}),
            hyper.SettingsFrame(settings={3: 100, 4: 1 << 20}),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_frames_are_written_as_by_the_reference(written: bytes, frame: hyper.Frame) -> None:
    assert written == frame.serialize()


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 201, 1_000])
def test_a_long_block_is_cut_at_the_limit_of_the_peer(size: int) -> None:
    block = Random(size).randbytes(size)
    pieces = [block[at : at + 100] for at in range(0, size, 100)] or [b""]
    flags = ["END_STREAM"] + ["END_HEADERS"] * (len(pieces) == 1)
    expected = hyper.HeadersFrame(3, data=pieces[0], flags=flags).serialize()
    for at, piece in enumerate(pieces[1:], 2):
        expected += hyper.ContinuationFrame(
            3, data=piece, flags=["END_HEADERS"] * (at == len(pieces))
        ).serialize()
    assert headers_frames(3, block, END_STREAM, 100) == expected


def test_a_connection_of_h2_is_understood_and_understands() -> None:
    client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
    client.send_data(1, b"hello", end_stream=True, pad_length=5)
    client.ping(b"12345678")
    client.receive_data(
        settings_frame(OwnSettings(is_server=True), {5: 1 << 18}) + ping_frame(b"12345678", is_ack=True)
    )
    kinds = [event[0] for event in events_of([client.data_to_send()])]
    assert kinds == [SETTINGS, HEADERS, DATA, PING, SETTINGS]
    (event,) = client.receive_data(window_update_frame(0, 5))
    assert type(event).__name__ == "WindowUpdated"
    (event,) = client.receive_data(goaway_frame(1, 11, b"calm"))
    assert type(event).__name__ == "ConnectionTerminated"
