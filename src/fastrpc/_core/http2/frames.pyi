from typing import TypeAlias, final

#: Kind, flags, stream, content, number, last stream, whether it ends the stream, the broken rule of the stream.
_Frame: TypeAlias = tuple[int, int, int, bytes, int, int, bool, int]

@final
class Http2Parser:
    """Cuts the bytes of a connection into frames.

    Args:
        is_server: whether the peer is a client, which begins with a preface.
        frame_limit: the most bytes of a frame, as our SETTINGS_MAX_FRAME_SIZE says.
    """

    frame_limit: int

    def __init__(self, is_server: bool, frame_limit: int = 16384) -> None: ...
    @property
    def held(self) -> int:
        """The bytes that are kept of a header block."""

    def take_frame(self, data: bytes) -> tuple[int, _Frame | None]:
        """Take the next frame, or part of one, of these bytes.

        Returns:
            Its size, and the frame: None if none is complete. With 0 more bytes are needed: the rest is presented again.

        Raises:
            Http2ViolationError: the peer broke a rule of the connection.
        """

def data_frame(stream: int, data: bytes, flags: int = 0) -> bytes:
    """Return a frame of DATA."""

def headers_frames(stream: int, block: bytes, flags: int = 0, frame_limit: int = 16384) -> bytes:
    """Return HEADERS with a block, and CONTINUATION where it is longer than the limit."""

def reset_frame(stream: int, code: int) -> bytes:
    """Return RST_STREAM with an error code."""

def goaway_frame(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """Return GOAWAY with an error code."""

def ping_frame(content: bytes, is_ack: bool = False) -> bytes:
    """Return PING.

    Raises:
        ValueError: its content does not have eight bytes.
    """

def window_update_frame(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE of a stream, of the connection with stream 0."""

def preface() -> bytes:
    """Return the preface of a client."""
