from collections.abc import Mapping
from typing import TypeAlias

from fastrpc._core.http2.frames import Http2Parser, Http2Settings, OwnSettings
from fastrpc._core.http2.stream_table import Http2Stream, StreamTable

#: Kind, stream, content, number, last stream, flow-controlled bytes, whether it ends the stream, the broken rule.
_Frame: TypeAlias = tuple[int, int, bytes, int, int, int, bool, int]

def take_frame(parser: Http2Parser, data: bytes) -> tuple[int, _Frame | None]:
    """Parse the next frame, or a part of a frame, in bytes.

    Returns:
        Its size, and the frame: None if none is complete. With 0 more bytes are needed: the rest is presented again.

    Raises:
        Http2ViolationError: the peer broke a rule of the connection.
    """

def held_bytes(parser: Http2Parser) -> int:
    """Return the number of bytes that the parser holds of an incomplete header block."""

def preface() -> bytes:
    """Return the preface of a client."""

def data_frame(stream: int, data: bytes, flags: int = 0) -> bytes:
    """Return a frame of DATA."""

def headers_frames(stream: int, block: bytes, flags: int = 0, frame_limit: int = 16384) -> bytes:
    """Return HEADERS with a header block, followed by CONTINUATION if the block is longer than the limit."""

def reset_frame(stream: int, code: int) -> bytes:
    """Return RST_STREAM with an error code."""

def goaway_frame(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """Return GOAWAY with an error code."""

def ping_frame(content: bytes, is_ack: bool = False) -> bytes:
    """Return PING with eight bytes."""

def window_update_frame(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE of a stream; stream 0 is the connection."""

def apply_settings(settings: Http2Settings, data: bytes, is_of_server: bool = False) -> None:
    """Apply the payload of SETTINGS, or raise Http2ViolationError."""

def settings_frame(own: OwnSettings, changes: Mapping[int, int]) -> bytes:
    """Return SETTINGS with the given numbers and values, which wait for the peer's acknowledgement."""

def settings_ack() -> bytes:
    """Return the acknowledgement of SETTINGS."""

def take_ack(own: OwnSettings) -> None:
    """Apply the oldest SETTINGS that were not acknowledged, or raise Http2ViolationError."""

def arrived(table: StreamTable, kind: int, id: int) -> Http2Stream | None:
    """Return the stream of a frame of the peer; None if the stream has ended. May raise Http2ViolationError."""

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
    """Open a stream of this side; return None if the limit is reached, no id is left, or the server drains."""

def ended(table: StreamTable, stream: Http2Stream) -> None:
    """End our side of a stream."""

def was_reset(table: StreamTable, stream: Http2Stream, is_by_us: bool = True) -> None:
    """Close a stream after RST_STREAM from this side or the peer."""

def leaving(table: StreamTable, last_taken: int) -> list[Http2Stream]:
    """Return the streams that a server's GOAWAY excludes, or raise Http2ViolationError."""

def raise_stream(stream: Http2Stream, increment: int) -> None:
    """Increase the send window of a stream."""

def highest_sending(table: StreamTable) -> int:
    """Return the largest send window of all streams, relative to their initial window."""
