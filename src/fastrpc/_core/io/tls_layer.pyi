import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, Protocol

from fastrpc._core.io.layer import Layer

class _End(Protocol):
    """Makes an SSL object, checks the open connection, and describes failures."""

    reads_hello: bool
    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject: ...
    def answer(
        self, hello: bytes, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> ssl.SSLObject | None: ...
    def check(self, ssl_object: ssl.SSLObject) -> None: ...
    def explain(self, error: Exception, is_open: bool, ssl_object: ssl.SSLObject) -> OSError: ...

class TLSLayer(Layer):
    """TLS over one connection of a loop: a protocol to the transport below, a transport to the protocol above.

    Args: end: makes the SSL object, checks the open connection, describes failures.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, end: _End) -> None: ...
    @property
    def end(self) -> _End: ...
    @property
    def ssl_object(self) -> ssl.SSLObject: ...
    @property
    def descriptor(self) -> int:
        """The socket to which output goes directly; -1 where all of it goes through the transport."""

    @property
    def is_open(self) -> bool:
        """Whether the handshake is over, and the check after it."""

    @property
    def failure(self) -> OSError | None:
        """The error that ended the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect the protocol above, if there is one, and begin the handshake."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the transport is to receive."""

    def buffer_updated(self, nbytes: int) -> None:
        """Take encrypted bytes."""

    def eof_received(self) -> bool:
        """Take the end of the stream below."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the loss of the stream below."""

    async def opened(self) -> None:
        """Wait until the handshake is over.

        Raises:
            OSError: it failed; the text says why.
        """

    def connect(self, protocol: asyncio.BufferedProtocol) -> None:
        """Connect the protocol above after the handshake, and pass later bytes to it."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Take another protocol above; its `heard_below`, if it has one, is called for bytes of the handshake."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return "ssl_object", "peercert", "cipher", "alpn_protocol", or information of the transport below."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send data; before the handshake is over it is kept."""

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None: ...
    def can_write_eof(self) -> bool:
        """Return whether close_notify can be sent."""

    def write_eof(self) -> None:
        """Send close_notify and shut down writing, once the handshake is over; input of the peer can still be read."""

    def is_closing(self) -> bool: ...
    def close(self) -> None:
        """Send close_notify, and close once all is written; a server in the middle of a handshake ends it first."""

    def abort(self) -> None:
        """Close at once."""
