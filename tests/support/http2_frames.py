"""The frames of HTTP/2 in tests: their bytes, a recorded connection, and the frames that a parser finds."""

from collections.abc import Iterable

from h2.errors import ErrorCodes
from hyperframe import frame as hyper

from fastrpc._core.http2.frames import Http2Parser
from fastrpc_harness.http2_blocks import Http2ViolationError
from fastrpc_harness.http2_frames import preface, take_frame

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEADERS",
    "OPENING",
    "PADDED",
    "PING",
    "PRIORITY",
    "PUSH_PROMISE",
    "RECORDED",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "WITH_PRIORITY",
    "Event",
    "events_of",
    "raw",
]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32

Event = tuple[object, ...]

OPENING = preface() + bytes.fromhex("000000040000000000")


def raw(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def events_of(chunks: Iterable[bytes], parser: Http2Parser | None = None) -> list[Event]:
    """Return the frames of bytes that come so; the parts of DATA as one."""
    parser = parser or Http2Parser(is_server=True)
    kept, found = b"", list[Event]()
    parts, flow = dict[int, bytes](), 0
    for chunk in chunks:
        kept += chunk
        size = -1
        while size:
            try:
                size, frame = take_frame(parser, kept)
            except Http2ViolationError as error:
                return [*found, (ErrorCodes(error.code).name, str(error))]
            kept = kept[size:]
            if frame is None:
                continue
            kind, stream, content, number, last_stream, flow_bytes, ends_stream, rule = frame
            flow += flow_bytes
            if kind == DATA:
                if not ends_stream:
                    parts[stream] = parts.get(stream, b"") + content
                    continue
                # In the place of a number, which DATA has not: the bytes of all frames so far for the windows.
                content, number = parts.pop(stream, b"") + content, flow
            found.append((kind, stream, content, number, last_stream, ends_stream, rule))
    return found + [(DATA, stream, content) for stream, content in parts.items()]


#: A connection with frames of every kind, whole and padded, blocks in pieces, unknown kinds.
RECORDED = [
    preface(),
    hyper.SettingsFrame(settings={1: 100, 3: 7}).serialize(),
    hyper.WindowUpdateFrame(0, window_increment=1_000).serialize(),
    hyper.HeadersFrame(1, data=b"block-1", flags=["END_HEADERS"]).serialize(),
    hyper.DataFrame(1, data=b"abc" * 50).serialize(),
    hyper.DataFrame(1, data=b"padded", pad_length=9, flags=["PADDED"]).serialize(),
    raw(0x77, b"unknown" * 9, 0xFF, 5),
    hyper.DataFrame(1, data=b"end", pad_length=200, flags=["PADDED", "END_STREAM"]).serialize(),
    hyper.HeadersFrame(
        3,
        data=b"block-3",
        flags=["PADDED", "PRIORITY", "END_STREAM"],
        pad_length=4,
        depends_on=1,
        stream_weight=3,
    ).serialize(),
    hyper.ContinuationFrame(3, data=b"").serialize(),
    hyper.ContinuationFrame(3, data=b"-more" * 9).serialize(),
    hyper.ContinuationFrame(3, data=b"-last", flags=["END_HEADERS"]).serialize(),
    hyper.PriorityFrame(9, depends_on=1).serialize(),
    hyper.PingFrame(opaque_data=b"12345678").serialize(),
    hyper.PingFrame(opaque_data=b"12345678", flags=["ACK"]).serialize(),
    hyper.SettingsFrame(flags=["ACK"]).serialize(),
    hyper.HeadersFrame(5, data=b"", flags=["END_HEADERS", "END_STREAM"]).serialize(),
    raw(DATA, b"", 0, 7),
    raw(DATA, b"\x05" + bytes(5), PADDED, 7),
    raw(DATA, b"\x05" + bytes(5), PADDED | END_STREAM, 7),
    raw(DATA, b"", END_STREAM, 9),
    raw(0x20),
    hyper.RstStreamFrame(3, error_code=8).serialize(),
    hyper.WindowUpdateFrame(1, window_increment=2**31 - 1).serialize(),
    hyper.GoAwayFrame(last_stream_id=9, error_code=2, additional_data=b"bye").serialize(),
]
