from typing import final

from fastrpc._core.http2.stream_table import FlowControl

@final
class FlowedStream:
    """One stream of HTTP/2 with its windows; each stream of a connection changes the connection's windows."""

    def __init__(self, connection: FlowControl) -> None: ...
    @property
    def connection(self) -> FlowControl: ...
    @property
    def sendable(self) -> int:
        """Bytes that may be sent now."""

    @property
    def sending(self) -> int:
        """The window for sending, which may be negative."""

    @property
    def receiving(self) -> int:
        """The window for receiving, which may be negative."""

    @property
    def size(self) -> int:
        """The size of the window for receiving, with all credit that it may have."""

    @property
    def connection_receiving(self) -> int:
        """The window of the connection for receiving."""

    def send(self, size: int) -> None: ...
    def raise_window(self, increment: int) -> None:
        """Apply WINDOW_UPDATE of the stream, or raise Http2ViolationError."""

    def raise_connection(self, increment: int) -> None:
        """Apply WINDOW_UPDATE of the connection, or raise Http2ViolationError."""

    def receive(self, size: int) -> None:
        """Count DATA of the stream, or raise Http2ViolationError."""

    def receive_late(self, size: int) -> None:
        """Count DATA of a stream that is over, or raise Http2ViolationError."""

    def place(self, size: int, may_lend: bool = True) -> tuple[int, int]:
        """Count bytes as placed; return the credit of the connection, and of the stream."""

    def wait(self, may_lend: bool = True) -> int:
        """Let the reader wait for a message; return the credit that its window grows by."""

    def end(self) -> None:
        """Give back what the window has grown."""

    def grant(self, size: int) -> int:
        """Return the credit to send for a message that goes on beyond the window."""

def change_first_sending(connection: FlowControl, first: int, streams: list[FlowedStream]) -> bool:
    """Apply INITIAL_WINDOW_SIZE of the peer, or raise Http2ViolationError; return whether it needed the streams."""

def change_first_receiving(connection: FlowControl, first: int) -> None:
    """Apply INITIAL_WINDOW_SIZE of ours."""

def widen(connection: FlowControl, size: int) -> int:
    """Raise the window of the connection; return the credit to send."""

def lend(connection: FlowControl, size: int, largest_message: int) -> None:
    """Let the streams of a connection borrow `size` bytes beyond their windows."""

def pool_of(connection: FlowControl) -> tuple[int, int]:
    """Return the bytes that streams may still borrow, and the part of them that windows may take."""
