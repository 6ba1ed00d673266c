"""The name in a ClientHello (RFC 8446 4.1.2, RFC 6066 3), read from the bytes of a caller as they arrive.

::

    records of type 22, fragments of one message ──► ClientHello ──► extension 0 ──► the one host name

The relay checks nothing else: the server of that name does the handshake.
"""

import re
from typing import Final

from fastrpc.relay.refusals import RefusalReason, RelayRefusedError

__all__ = ["MOST_HELLO_BYTES", "HelloReader"]

#: The most bytes of a ClientHello with its records. Browsers send 2 KiB, including keys of post-quantum exchanges.
MOST_HELLO_BYTES: Final = 16_384

# RFC 8446, sections 5.1 and 4: the type of records of a handshake (_HANDSHAKE), the bytes of their header
# (_RECORD_HEADER), the type of a ClientHello (_CLIENT_HELLO), the bytes of its header (_MESSAGE_HEADER).
_HANDSHAKE: Final = 22
_RECORD_HEADER: Final = 5
_CLIENT_HELLO: Final = 1
_MESSAGE_HEADER: Final = 4

#: Bytes of the version and the random number at the start of a ClientHello.
_FIXED_BYTES: Final = 34
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0

_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class HelloReader:
    """Reads one ClientHello. Each byte is parsed once, however the bytes are divided."""

    def __init__(self) -> None:
        #: All bytes so far.
        self.received = bytearray()
        self._message = bytearray()
        # The end of the last complete record.
        self._place = 0

    def feed(self, data: bytes | bytearray | memoryview) -> str | None:
        """Return the host name, in lower case; None while more bytes are needed.

        Raises:
            RelayRefusedError: the bytes are not a ClientHello with one name.
        """
        self.received += data
        received = self.received
        while self._place < len(received):
            start = self._place
            if received[start] != _HANDSHAKE:
                raise RelayRefusedError(RefusalReason.NOT_TLS)
            content = start + _RECORD_HEADER
            if len(received) < content:
                break
            if received[start + 1] != 3:
                raise RelayRefusedError(RefusalReason.NOT_TLS)
            end = content + int.from_bytes(received[content - 2 : content])
            if end == content:
                raise RelayRefusedError(RefusalReason.MALFORMED)
            if end > MOST_HELLO_BYTES:
                raise RelayRefusedError(RefusalReason.OVERSIZED)
            if len(received) < end:
                break
            self._message += received[content:end]
            self._place = end
            if (name := self._name()) is not None:
                return name
        if len(received) >= MOST_HELLO_BYTES:
            raise RelayRefusedError(RefusalReason.OVERSIZED)
        return None

    def _name(self) -> str | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise RelayRefusedError(RefusalReason.MALFORMED)
        if len(message) < _MESSAGE_HEADER:
            return None
        end = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER])
        if end > MOST_HELLO_BYTES:
            raise RelayRefusedError(RefusalReason.OVERSIZED)
        return None if len(message) < end else _host_of(bytes(message[_MESSAGE_HEADER:end]))


class _Fields:
    """Bytes from which fields are read one by one."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    @property
    def is_over(self) -> bool:
        """Whether no bytes are left."""
        return self._place == len(self._content)

    def take(self, size: int) -> bytes:
        """Return the next bytes. RelayRefusedError: too few are left."""
        end = self._place + size
        if end > len(self._content):
            raise RelayRefusedError(RefusalReason.MALFORMED)
        taken = self._content[self._place : end]
        self._place = end
        return taken

    def number(self, size: int) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(size))

    def vector(self, width: int) -> bytes:
        """Return the bytes of the next vector, which begins with its length in `width` bytes."""
        return self.take(self.number(width))


def _host_of(hello: bytes) -> str:
    fields = _Fields(hello)
    fields.take(_FIXED_BYTES)
    # Skip the session id, the cipher suites and the compression methods.
    for width in (1, 2, 1):
        fields.vector(width)
    extensions = _Fields(b"" if fields.is_over else fields.vector(2))
    if not fields.is_over:
        raise RelayRefusedError(RefusalReason.MALFORMED)
    names: list[bytes] = []
    while not extensions.is_over:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names += _names_in(content)
    if len(names) > 1:
        raise RelayRefusedError(RefusalReason.TWO_NAMES)
    if not names:
        raise RelayRefusedError(RefusalReason.NO_NAME)
    name = names[0].decode("ascii", "replace").lower()
    if not _HOST.fullmatch(name):
        raise RelayRefusedError(RefusalReason.MALFORMED)
    return name


def _names_in(content: bytes) -> list[bytes]:
    """Return the host names in an extension `server_name`."""
    fields = _Fields(content)
    entries = _Fields(fields.vector(2))
    if not fields.is_over:
        raise RelayRefusedError(RefusalReason.MALFORMED)
    names = []
    while not entries.is_over:
        kind, name = entries.number(1), entries.vector(2)
        if kind == _HOST_NAME:
            names.append(name)
    return names
