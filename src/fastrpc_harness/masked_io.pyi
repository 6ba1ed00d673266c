import socket as sockets
from typing import final

from fastrpc._core.io.blocking_io import BlockingIO

@final
class MaskedIO(BlockingIO):
    """A socket whose bytes are the connection's bytes by exclusive or with 0x5A, and are read ahead.

    Args:
        socket: connected, blocking and without a timeout; owned from then on.
    """

    def __init__(self, socket: sockets.socket) -> None: ...
    def close(self) -> None:
        """Close the socket, without a word to the peer. Closing twice is fine."""
