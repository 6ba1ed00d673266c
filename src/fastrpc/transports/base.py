"""What a transport is, and which one serves an address.

To add one: write a file beside this one with an object that fits `Transport`, and name it in `_TRANSPORTS`.
A package of its own registers the object as an entry point of the group `fastrpc.transports`, named after the
scheme. Below the interface stand the parts that transports made of sockets share.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, TypedDict, TypeVar, Unpack, cast

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError, ConnectError

__all__ = [
    "BACKLOG",
    "SILENCE_SECONDS",
    "BlockingTransport",
    "Handover",
    "ListenOptions",
    "Listener",
    "SessionFactory",
    "Transport",
    "add_transport",
    "close_all",
    "connect_error",
    "listen_error",
    "names_transport",
    "open_listener",
    "remove_transport",
    "transport_for",
]

#: Connections that wait to be accepted; more are refused or delayed by the system.
#: Too low refuses bursts of new clients; the system caps it anyway (`net.core.somaxconn`).
BACKLOG = 1024

#: Seconds without a sign of life after which the system gives a connection up, for those who pass nothing
#: else: the defaults of `Keepalive.interval` and `Keepalive.timeout` together.
SILENCE_SECONDS = 20.0

S = TypeVar("S", bound=asyncio.BufferedProtocol)

SessionFactory = Callable[[], asyncio.BufferedProtocol]


class ListenOptions(TypedDict, total=False):
    """What `Transport.listen` takes by name; an option that means nothing to a transport is ignored."""

    backlog: int
    """Connections that may wait to be accepted; `BACKLOG` when left out."""

    reuse_port: bool
    """Several processes listen at one port and the system spreads connections over them (tcp)."""

    socket: socket.socket
    """A bound socket to listen on, in place of a new one; the listener owns it from then on (tcp, unix)."""

    silence_seconds: float
    """Seconds without a sign of life after which the system drops a connection (tcp); `SILENCE_SECONDS`."""


class Listener(Protocol):
    """An open door: makes a session for each connection that arrives."""

    @property
    def address(self) -> Address:
        """The address bound, with the real port; a target for a client."""

    def close(self) -> None:
        """Stop accepting, at once. Connections that exist go on; closing twice is fine."""

    async def wait_closed(self) -> None:
        """Return once no further session will be made. Does not wait for connections to end."""


class Transport(Protocol):
    """Dials and listens for one address scheme."""

    @property
    def scheme(self) -> str:
        """The part of an address before `://`."""

    async def dial(
        self, address: Address, session_factory: Callable[[], S], *, silence_seconds: float = SILENCE_SECONDS
    ) -> tuple[asyncio.Transport, S]:
        """Connect, and bind a new session to the connection.

        There is no timeout here: surround the call with `asyncio.timeout`. A cancelled dial leaves nothing
        open.

        Raises:
            ConnectError: no connection could be made; the message names the address and the system's error.
        """

    async def listen(
        self, address: Address, session_factory: SessionFactory, **options: Unpack[ListenOptions]
    ) -> Listener:
        """Accept connections at an address; a session is made for each, on the running loop.

        Raises:
            OSError: the address cannot be had; class and number are the system's, the message names it.
        """


class BlockingTransport(Protocol):
    """A transport that can also connect without an event loop, which `SyncClient` needs."""

    def connect(self, address: Address, timeout: float | None, *, silence_seconds: float) -> socket.socket:
        """Connect and return a blocking socket without a timeout, which the caller owns.

        Raises:
            ConnectError: no connection could be made in time.
        """


#: scheme -> where its transport is; loaded on first use.
_TRANSPORTS = {
    "tcp": "fastrpc.transports.tcp:TRANSPORT",
    "unix": "fastrpc.transports.unix:TRANSPORT",
    "memory": "fastrpc.transports.memory:TRANSPORT",
}

_loaded: dict[str, Transport] = {}


def names_transport(target: str) -> bool:
    """Whether a text is an address of a transport that is built in."""
    scheme, separator, _ = target.partition("://")
    return bool(separator) and scheme in _TRANSPORTS


def transport_for(address: Address) -> Transport:
    """Return the transport that serves an address.

    Raises:
        ConfigError: nobody serves its scheme; the message names those that are known.
    """
    transport = _loaded.get(address.scheme)
    if transport is None:
        transport = _loaded[address.scheme] = _load(address)
    return transport


def add_transport(transport: Transport) -> None:
    """Let a transport serve its scheme in this process, until it is removed."""
    _loaded[transport.scheme] = transport


def remove_transport(transport: Transport) -> None:
    """Take back what `add_transport` did; its connections go on."""
    if _loaded.get(transport.scheme) is transport:
        del _loaded[transport.scheme]


def _load(address: Address) -> Transport:
    place = _TRANSPORTS.get(address.scheme)
    if place is not None:
        module, _, attribute = place.partition(":")
        return cast(Transport, getattr(import_module(module), attribute))
    # It brings the parsers of package metadata along: too much for every import of fastrpc.
    from importlib.metadata import entry_points

    foreign = entry_points(group="fastrpc.transports")
    for entry in foreign:
        if entry.name == address.scheme:
            return cast(Transport, entry.load())
    known = ", ".join(sorted({*_TRANSPORTS, *foreign.names}))
    raise ConfigError(
        f"{str(address)!r}: no transport has the scheme {address.scheme!r}", hint=f"known are {known}"
    )


class Handover(asyncio.BufferedProtocol):
    """Keeps a new connection until its session takes it over.

    A session is made only once its connection stands and nobody gave it up: uvloop closes the connection of a
    cancelled dial without telling the protocol, and a session that was told `connection_made` must hear
    `connection_lost`.
    """

    #: A first read is small: the peer has not heard from us yet.
    _FIRST_READ_BYTES = 65_536

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._block = bytearray()
        self._early = b""
        self._is_paused = False
        self._is_ended = False
        self._is_lost = False
        self._loss: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        self._block = bytearray(self._FIRST_READ_BYTES)
        return self._block

    def buffer_updated(self, nbytes: int) -> None:
        self._early += self._block[:nbytes]
        self._is_paused = True
        cast(asyncio.Transport, self._transport).pause_reading()

    def eof_received(self) -> bool:
        self._is_ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._loss = exc

    def ensure_alive(self) -> None:
        """Check that the connection still stands.

        Raises:
            OSError: it does not.
        """
        if self._is_lost or cast(asyncio.Transport, self._transport).is_closing():
            reset = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            raise self._loss if isinstance(self._loss, OSError) else reset

    def to(self, session_factory: Callable[[], S]) -> S:
        """Make the session, and give it the connection and what has arrived on it.

        Call `ensure_alive` first, in the same turn of the loop.
        """
        transport = cast(asyncio.Transport, self._transport)
        try:
            session = session_factory()
            transport.set_protocol(session)
            if self._is_paused:
                transport.resume_reading()
            session.connection_made(transport)
            self._replay(transport, session)
        except BaseException:
            transport.abort()
            raise
        return session

    def _replay(self, transport: asyncio.Transport, session: asyncio.BufferedProtocol) -> None:
        early = memoryview(self._early)
        while early and not transport.is_closing():
            with memoryview(session.get_buffer(len(early))) as place:
                size = min(len(early), len(place))
                place[:size] = early[:size]
            session.buffer_updated(size)
            early = early[size:]
        if self._is_ended and not transport.is_closing() and not session.eof_received():
            transport.close()


class _Listener:
    """Listener over the servers of an event loop."""

    def __init__(
        self,
        address: Address,
        servers: Sequence[asyncio.AbstractServer],
        before_close: Callable[[], None] | None,
    ) -> None:
        self.address = address
        self._servers = servers
        self._before_close = before_close

    def close(self) -> None:
        before_close, self._before_close = self._before_close, None
        if before_close is not None:
            before_close()
        servers, self._servers = self._servers, ()
        for server in servers:
            _stop(server)

    async def wait_closed(self) -> None:
        # Not `Server.wait_closed`: since Python 3.12 it waits for the connections as well. A connection accepted
        # just before `close` gets its transport in the turn that is due, and its session one turn later.
        for _ in range(3):
            await asyncio.sleep(0)


def _stop(server: asyncio.AbstractServer) -> None:
    """Close a server without losing a connection that it has accepted and not given a transport yet.

    asyncio's own server refuses a transport once it is closed, by an assertion that its list of sockets is not None,
    and leaves the accepted socket open for ever.
    """
    server.close()
    if isinstance(server, asyncio.Server):
        vars(server)["_sockets"] = []


async def open_listener(
    address: Address,
    sockets: Sequence[socket.socket],
    session_factory: SessionFactory,
    backlog: int,
    before_close: Callable[[], None] | None = None,
) -> Listener:
    """Accept connections on bound sockets; the listener owns them from then on. A failure closes them."""
    loop = asyncio.get_running_loop()
    servers: list[asyncio.AbstractServer] = []
    listening_sockets = _Listener(address, servers, before_close)
    try:
        for bound in sockets:
            # For a unix socket too: `create_unix_server` would remove the file of a socket that others share.
            server = await loop.create_server(
                session_factory, sock=bound, backlog=backlog, start_serving=False
            )
            servers.append(server)
            await server.start_serving()
    except BaseException:
        listening_sockets.close()
        close_all(sockets)
        raise
    return listening_sockets


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close sockets; closing one twice is fine."""
    for opened in sockets:
        opened.close()


def connect_error(
    address: Address, failures: Sequence[tuple[str, Exception]], seconds: float
) -> ConnectError:
    """Make the error of a failed dial: where to, what the system said to each attempt, how long it took."""
    reasons = [f"{place}: {_reason(failure)}" if place else _reason(failure) for place, failure in failures]
    last = failures[-1][1]
    error = ConnectError(
        f"cannot connect to {address} ({seconds:.3f} s): {'; '.join(reasons)}", hint=_connect_hint(last)
    )
    if isinstance(last, OSError) and last.errno is not None:
        error.errno = last.errno
    error.__cause__ = last
    return error


def listen_error(address: Address, failure: Exception) -> OSError:
    """Make the error of a listen that failed, of the class and number the system gave, naming the address."""
    text = f"cannot listen at {address}: {_reason(failure)}"
    if isinstance(failure, socket.gaierror):
        return socket.gaierror(failure.errno, text)
    number = failure.errno if isinstance(failure, OSError) else errno.EINVAL
    return OSError(text) if number is None else OSError(number, text)


def _reason(failure: Exception) -> str:
    # asyncio replaces the system's text by its own ("Connect call failed (...)"), so ask the number.
    if (
        isinstance(failure, OSError)
        and not isinstance(failure, socket.gaierror)
        and failure.errno is not None
    ):
        return os.strerror(failure.errno)
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    return str(failure) or type(failure).__name__


def _connect_hint(failure: Exception) -> str | None:
    if isinstance(failure, socket.gaierror):
        return "check the host name"
    if isinstance(failure, ConnectionRefusedError | FileNotFoundError):
        return "nobody listens there; is the server running?"
    return None
