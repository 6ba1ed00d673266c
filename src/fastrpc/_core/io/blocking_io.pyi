import socket as sockets
from typing import final

class BlockingIO:
    """The input and output of a blocking connection; by itself it is closed.

    Compiled subclasses do the work: their methods run without the GIL. Python only makes and closes them.
    """

    @property
    def descriptor(self) -> int:
        """The descriptor of the socket, for poll; -1 once it is closed."""

    @property
    def failure(self) -> OSError | None:
        """The error that broke the stream, in words; None if the system's error is enough."""

    def close(self) -> None:
        """Close the socket, without notice to the peer. Closing twice is fine."""

@final
class SocketIO(BlockingIO):
    """The bytes of a socket as they are.

    Args:
        socket: connected, blocking and without a timeout; owned from then on.
    """

    def __init__(self, socket: sockets.socket) -> None: ...
    @property
    def socket(self) -> sockets.socket: ...
    def close(self) -> None:
        """Close the socket, without notice to the peer. Closing twice is fine."""

class LayeredIO(BlockingIO):
    """A layer that processes bytes before they are sent and after they are received, in one thread at a time."""

    @property
    def below(self) -> BlockingIO:
        """The I/O that carries the bytes; owned."""

    def close(self) -> None:
        """Close the socket, without notice to the peer. Closing twice is fine."""
