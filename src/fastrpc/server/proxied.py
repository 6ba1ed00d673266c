"""Connections from trusted proxies: the PROXY protocol, versions 1 and 2.

::

    accepted ──► from a trusted network? ──► no: the connection is the peer's own
                        └─► yes: header ──► the address in it is the peer's ──► session
                                  └─► none, or malformed: closed

haproxy's doc/proxy-protocol.txt specifies the format. A header from any other peer is refused, because no protocol
begins with it.
"""

import asyncio
import re
import socket
import struct
from typing import Any, Protocol, TypeAlias, cast

from fastrpc.transports.base import SessionFactory
from fastrpc.transports.early_bytes import replay

__all__ = ["Proxied", "ProxiedConnection", "ProxyRegister", "parse_header", "pass_on"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_TEXT = b"PROXY "
#: The most bytes of a line, including the line end (section 2.1).
_LONGEST_TEXT = 107
#: The most bytes after the 16 fixed bytes. Headers have addresses and a few hundred bytes of further fields.
_LONGEST_BODY = 4_096
_FIRST_READ_BYTES = 4_096
#: A port without leading zeros, which might mean octal (section 2.1).
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")

_Place: TypeAlias = tuple[str, int]


def parse_header(received: bytes) -> tuple[int, _Place | None] | None:
    """Return the size of a header, and its address; None as address means that the connection keeps its address.

    Returns None if more bytes are needed.

    Raises:
        ValueError: the bytes are not a header.
    """
    if received[: len(_TEXT)] == _TEXT[: len(received)]:
        return _parse_text(received)
    if received[: len(_SIGNATURE)] == _SIGNATURE[: len(received)]:
        return _parse_binary(received)
    raise ValueError("its first bytes are not a PROXY header")


def _parse_text(received: bytes) -> tuple[int, _Place | None] | None:
    line, end, _ = received[:_LONGEST_TEXT].partition(b"\r\n")
    if not end:
        if len(received) >= _LONGEST_TEXT:
            raise ValueError(f"its PROXY line has no end within {_LONGEST_TEXT} bytes")
        return None
    size = len(line) + len(end)
    words = line.decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return size, None
    families = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}
    if words[1] not in families or len(words) != 6:
        raise ValueError(f"its PROXY line is malformed: {line[:40]!r}")
    family = families[words[1]]
    for host in words[2:4]:
        try:
            socket.inet_pton(family, host)
        except OSError:
            raise ValueError(f"its PROXY line names no {words[1]} address: {host[:40]!r}") from None
    for port in words[4:]:
        if not (_PORT.fullmatch(port) and int(port) <= 65_535):
            raise ValueError(f"its PROXY line names no port: {port[:40]!r}")
    return size, (words[2], int(words[4]))


def _parse_binary(received: bytes) -> tuple[int, _Place | None] | None:
    if len(received) < 16:
        return None
    version_command, family, length = struct.unpack(">BBH", received[12:16])
    if version_command not in (0x20, 0x21):
        raise ValueError(f"its PROXY header has version and command {version_command:#04x}")
    if length > _LONGEST_BODY:
        raise ValueError(f"its PROXY header has {length} bytes after its start, the limit is {_LONGEST_BODY}")
    if len(received) < 16 + length:
        return None
    size, body = 16 + length, received[16 : 16 + length]
    if version_command == 0x20 or family in (0x00, 0x31, 0x32):
        # The connection is from the proxy itself, or its peer has no network address.
        return size, None
    layouts = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}
    if family not in layouts:
        raise ValueError(f"its PROXY header is for family and transport {family:#04x}")
    kind, width = layouts[family]
    if length < 2 * width + 4:
        raise ValueError(f"its PROXY header has {length} bytes of addresses, {2 * width + 4} are needed")
    (port,) = struct.unpack(">H", body[2 * width : 2 * width + 2])
    return size, (socket.inet_ntop(kind, body[:width]), port)


class ProxyRegister(Protocol):
    """The interface of a server's proxies."""

    @property
    def seconds(self) -> float | None:
        """The most seconds until a header has to arrive; None for no limit."""

    def trusts(self, peer_name: Any) -> bool:
        """Return whether connections from this peer begin with a PROXY header."""

    def admits(self, peer_name: _Place) -> bool:
        """Return whether the peer in a header may connect."""

    def enter(self, connection: "ProxiedConnection") -> None:
        """Record that a connection waits for its header, or has received a part of the header."""

    def leave(self, connection: "ProxiedConnection") -> None:
        """Record that a connection no longer waits for its header."""

    def refuse(self, connection: "ProxiedConnection", reason: str) -> None:
        """Log why a connection is closed."""


class ProxiedConnection(asyncio.BufferedProtocol):
    """A connection until its header is complete."""

    def __init__(self, proxies: ProxyRegister, session_factory: SessionFactory) -> None:
        self._proxies = proxies
        self._session_factory = session_factory
        self._early = b""
        self._place = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport
        self.peer_name: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer_name = transport.get_extra_info("peername")
        if not self._proxies.trusts(self.peer_name):
            self._hand_over(self.transport, b"")
            return
        seconds = self._proxies.seconds
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._refuse, "its PROXY header did not arrive in time")
        self._proxies.enter(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        self._place = bytearray(_FIRST_READ_BYTES)
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self._early += self._place[:nbytes]
        try:
            header = parse_header(self._early)
        except ValueError as error:
            self._refuse(str(error))
            return
        if header is None:
            self._proxies.enter(self)
            return
        size, peer_name = header
        self._leave()
        if peer_name is not None and not self._proxies.admits(peer_name):
            self.transport.abort()
            return
        transport = self.transport if peer_name is None else Proxied(self.transport, peer_name)
        self._hand_over(transport, self._early[size:])

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def abort(self) -> None:
        """Close without a message, because the peer's protocol is unknown."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        self._proxies.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    def _refuse(self, reason: str) -> None:
        self._proxies.refuse(self, reason)
        self.abort()

    def _hand_over(self, transport: asyncio.Transport, early: bytes) -> None:
        pass_on(self.transport, transport, self._session_factory, early)


def pass_on(
    transport: asyncio.Transport, shown: asyncio.Transport, session_factory: SessionFactory, early: bytes
) -> None:
    """Pass a connection to a new session, together with the bytes that were already read.

    Args:
        shown: the transport for the session: `transport`, or a `Proxied` around it.
    """

    def current() -> asyncio.BufferedProtocol:
        return cast(asyncio.BufferedProtocol, transport.get_protocol())

    try:
        session = session_factory()
        # Pause and resume, because loops choose how to read from a transport when reading begins.
        transport.pause_reading()
        transport.set_protocol(session)
        transport.resume_reading()
        session.connection_made(shown)
        # `current` is called for each piece: a session that detects the protocol passes the connection to another
        # object.
        replay(early, transport, current)
    except BaseException:
        transport.abort()
        raise


class Proxied(asyncio.Transport):
    """The transport of the connection, with the peer's address from the PROXY header."""

    __slots__ = ("_peer_name", "_transport")

    def __init__(self, transport: asyncio.Transport, peer_name: _Place) -> None:
        self._transport = transport
        self._peer_name = peer_name

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer_name if name == "peername" else self._transport.get_extra_info(name, default)

    def abort(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()

    def write(self, data: Any) -> None:
        self._transport.write(data)

    def writelines(self, list_of_data: Any) -> None:
        self._transport.writelines(list_of_data)

    def write_eof(self) -> None:
        self._transport.write_eof()

    def can_write_eof(self) -> bool:
        return self._transport.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)
