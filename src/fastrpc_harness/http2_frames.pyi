from collections.abc import Mapping
from typing import TypeAlias

from fastrpc._core.http2.frames import Http2Parser, Http2Settings, OwnSettings
from fastrpc._core.http2.stream_table import Http2Stream, StreamTable

#: Kind, stream, content, number, last stream, flow-controlled bytes, whether it ends the stream, the broken rule.
_Frame: TypeAlias = tuple[int, int, bytes, int, int, int, bool, int]

def take_frame(parser: Http2Parser, data: bytes) -> tuple[int, _Frame | None]:
    """Take the next frame, or part of one, of these bytes.

    Returns:
        Its size, and the frame: None if none is complete. With 0 more bytes are needed: the rest is presented again.

    Raises:
        Http2ViolationError: the peer broke a rule of the connection.
    """

def held_bytes(parser: Http2Parser) -> int:
    """Return the bytes that are kept of a header block."""

def preface() -> bytes:
    """Return the preface of a client."""

def data_frame(stream: int, data: bytes, flags: int = 0) -> bytes:
    """Return a frame of DATA."""

def headers_frames(stream: int, block: bytes, flags: int = 0, frame_limit: int = 16384) -> bytes:
    """Return HEADERS with a block, and CONTINUATION where it is longer than the limit."""

def reset_frame(stream: int, code: int) -> bytes:
    """Return RST_STREAM with an error code."""

def goaway_frame(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """Return GOAWAY with an error code."""

def ping_frame(content: bytes, is_ack: bool = False) -> bytes:
    """Return PING with eight bytes."""

def window_update_frame(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE of a stream, of the connection with stream 0."""

def apply_settings(settings: Http2Settings, data: bytes, is_of_server: bool = False) -> None:
    """Apply the payload of SETTINGS, or raise Http2ViolationError."""

def settings_frame(own: OwnSettings, changes: Mapping[int, int]) -> bytes:
    """Return SETTINGS with these numbers and values, which wait for their acknowledgement from now on."""

def settings_ack() -> bytes:
    """Return the acknowledgement of SETTINGS."""

def take_ack(own: OwnSettings) -> None:
    """Apply the oldest SETTINGS that wait, or raise Http2ViolationError."""

def arrived(table: StreamTable, kind: int, id: int) -> Http2Stream | None:
    """Return the stream that a frame of the peer names, None: it is over, or raise Http2ViolationError."""

def took_head(
    table: StreamTable,
    stream: Http2Stream,
    is_interim: bool = False,
    ends_stream: bool = False,
    content_length: int = -1,
) -> None:
    """Note the head of a message, or its trailers, or raise Http2ViolationError."""

def took_data(table: StreamTable, stream: Http2Stream, size: int, ends_stream: bool = False) -> None:
    """Note DATA of a stream, or raise Http2ViolationError."""

def opened(table: StreamTable) -> Http2Stream | None:
    """Open a stream of ours. None: the limit is reached, the ids are used up, or the server leaves."""

def ended(table: StreamTable, stream: Http2Stream) -> None:
    """End our side of a stream."""

def was_reset(table: StreamTable, stream: Http2Stream, is_by_us: bool = True) -> None:
    """Close a stream after RST_STREAM of a side."""

def leaving(table: StreamTable, last_taken: int) -> list[Http2Stream]:
    """Return the streams that a server's GOAWAY leaves out, or raise Http2ViolationError."""

def raise_stream(stream: Http2Stream, increment: int) -> None:
    """Raise the sending window of a stream."""

def highest_sending(table: StreamTable) -> int:
    """Return the highest sending window of all streams, relative to their first one."""
