import socket as sockets
import ssl
from typing import Protocol, final

from fastrpc._core.io.blocking_io import LayeredIO

class _End(Protocol):
    """Makes an SSL object, checks the open connection, and describes failures."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject: ...
    def check(self, ssl_object: ssl.SSLObject) -> None: ...
    def explain(self, error: Exception, is_open: bool, ssl_object: ssl.SSLObject) -> OSError: ...

@final
class TLSBlockingIO(LayeredIO):
    """The bytes of a socket, decrypted and encrypted.

    Args: socket: connected, blocking and without a timeout; owned from then on. end: makes the SSL object, checks the
        open connection, describes failures.
    """

    def __init__(self, socket: sockets.socket, end: _End) -> None: ...
    @property
    def socket(self) -> sockets.socket: ...
    @property
    def ssl_object(self) -> ssl.SSLObject: ...
    def open(self, timeout: float | None) -> None:
        """Do the handshake within `timeout` seconds, or None.

        Raises:
            OSError: it failed; the text says why.
        """
