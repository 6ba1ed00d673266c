"""Shared code of socket transports: passing a connection to its session, listening, error texts."""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from fastrpc._core.io.tls_layer import TLSLayer
from fastrpc.config_errors import mark_shown_at_program
from fastrpc.endpoint import Address
from fastrpc.errors import ConnectError
from fastrpc.tls.failures import HandshakeError
from fastrpc.transports.base import BACKLOG, Listener, SessionFactory
from fastrpc.transports.early_bytes import replay
from fastrpc.transports.edge import JudgedServer, accept_judged

if TYPE_CHECKING:
    from fastrpc.tls.ends import ClientEnd, ServerEnd

__all__ = [
    "LONGEST_PATH",
    "Handover",
    "close_all",
    "connect_error",
    "encrypted",
    "encrypted_session",
    "listen_error",
    "open_listener",
]

S = TypeVar("S", bound=asyncio.BufferedProtocol)


class Handover(asyncio.BufferedProtocol):
    """Hold a new connection until its session takes over.

    A session is made only after its connection is established and if its dial was not cancelled. The reason: uvloop
    closes the connection of a cancelled dial without notice, but every session must get `connection_lost` after
    `connection_made`.
    """

    #: The size of the first read. The peer has received no bytes yet, so it sends few.
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
        """Check that the connection is still open.

        Raises:
            OSError: it is closed.
        """
        if self._is_lost or cast(asyncio.Transport, self._transport).is_closing():
            reset = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            raise self._loss if isinstance(self._loss, OSError) else reset

    def to(self, session_factory: Callable[[], S]) -> S:
        """Make the session, and pass the connection and the bytes received so far to it.

        Call `ensure_alive` first, in the same loop iteration.
        """
        transport = cast(asyncio.Transport, self._transport)
        try:
            session = session_factory()
            transport.set_protocol(session)
            if self._is_paused:
                transport.resume_reading()
            session.connection_made(transport)
            replay(self._early, transport, lambda: session)
            if self._is_ended and not transport.is_closing() and not session.eof_received():
                transport.close()
        except BaseException:
            transport.abort()
            raise
        return session


class _Layer(TLSLayer, asyncio.BufferedProtocol):
    """The layer as a BufferedProtocol, which asyncio's own loops check for."""

    __slots__ = ()


def encrypted(session_factory: SessionFactory, end: "ServerEnd") -> SessionFactory:
    """Return the session factory for accepted connections with TLS.

    The session gets its connection before the handshake, so that its limits and timeout apply to the handshake.
    """
    loop = asyncio.get_running_loop()

    def layer() -> asyncio.BufferedProtocol:
        made = _Layer(loop, end)
        made.set_protocol(session_factory())
        return made

    return layer


async def encrypted_session(
    handover: Handover, end: "ClientEnd", session_factory: Callable[[], S]
) -> tuple[asyncio.Transport, S]:
    """Start TLS on a new connection; return the transport above TLS and its session.

    Raises:
        OSError: the handshake failed; the text says why.
    """
    layer = handover.to(lambda: _Layer(asyncio.get_running_loop(), end))
    try:
        await layer.opened()
        session = session_factory()
        layer.connect(session)
    except BaseException:
        if layer.failure is None:
            layer.abort()
        raise
    # The layer has all methods of a transport.
    return cast(asyncio.Transport, layer), session


class _Listener:
    """The listener over an event loop's servers, or over servers that refuse some peers."""

    def __init__(
        self,
        address: Address,
        servers: Sequence[asyncio.AbstractServer | JudgedServer],
        sockets: Sequence[socket.socket],
        session_factory: SessionFactory,
        before_close: Callable[[], None] | None,
        end: "ServerEnd | None",
        admits: Callable[[Any], bool] | None,
    ) -> None:
        self.address = address
        self._servers = servers
        self._sockets = sockets
        self._session_factory = session_factory
        self._before_close = before_close
        self._end = end
        self._admits = admits
        # The tasks of accepted connections that have no session yet.
        self._beginning: set[asyncio.Task[Any]] = set()

    def reload(self) -> None:
        if self._end is not None:
            self._end.reload()

    def drain(self) -> None:
        """Stop accepting, but first accept the waiting connections: the system would reset them."""
        self._stop_accepting(takes_last=True)

    def close(self) -> None:
        # Connections that wait at a shared socket are left for its other listeners.
        self._stop_accepting(takes_last=False)

    def _stop_accepting(self, *, takes_last: bool) -> None:
        before_close, self._before_close = self._before_close, None
        if before_close is not None:
            before_close()
        servers, self._servers = self._servers, ()
        if servers and takes_last:
            self._take_last()
        for server in servers:
            _stop(server)

    def _take_last(self) -> None:
        for bound in self._sockets:
            for _ in range(BACKLOG):
                try:
                    connection = accept_judged(bound, self._admits)
                except OSError:
                    break
                if connection is not None:
                    self.begin(connection)

    def begin(self, connection: socket.socket) -> None:
        """Make the session of an accepted connection."""
        loop = asyncio.get_running_loop()
        made = loop.create_task(loop.connect_accepted_socket(self._session_factory, connection))
        self._beginning.add(made)
        made.add_done_callback(self._begun)

    def _begun(self, made: asyncio.Task[Any]) -> None:
        self._beginning.discard(made)
        error = None if made.cancelled() else made.exception()
        # A connection that its peer has closed meanwhile gets no session.
        if error is not None and not isinstance(error, OSError):
            context = {"message": "an accepted connection got no session", "exception": error, "task": made}
            made.get_loop().call_exception_handler(context)

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._beginning, return_exceptions=True)
        # `Server.wait_closed` cannot be used: since Python 3.12 it waits for the connections as well. A connection
        # accepted just before `close` gets its transport in the next loop iteration, and its session in the iteration
        # after that.
        for _ in range(3):
            await asyncio.sleep(0)


def _stop(server: asyncio.AbstractServer | JudgedServer) -> None:
    """Close a server without losing an accepted connection that has no transport yet.

    A closed server of asyncio refuses to attach a transport, by an assertion that its list of sockets is not None,
    and leaks the accepted socket.
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
    end: "ServerEnd | None" = None,
    admits: Callable[[Any], bool] | None = None,
) -> Listener:
    """Accept connections on bound sockets, which the listener then owns. A failure closes them.

    Args:
        end: the TLS settings of the connections, whose files the listener can read again.
        admits: called with a peer's socket address; returns whether its connection is served. None: all are served.
    """
    loop = asyncio.get_running_loop()
    servers: list[asyncio.AbstractServer | JudgedServer] = []
    listener = _Listener(address, servers, sockets, session_factory, before_close, end, admits)
    try:
        for bound in sockets:
            if admits is not None:
                judged = JudgedServer(bound, admits, listener.begin)
                servers.append(judged)
                judged.start(backlog)
                continue
            # Used for unix sockets as well: `create_unix_server` would remove the file of a shared socket.
            server = await loop.create_server(
                session_factory, sock=bound, backlog=backlog, start_serving=False
            )
            servers.append(server)
            await server.start_serving()
    except BaseException:
        listener.close()
        close_all(sockets)
        raise
    return listener


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close sockets; closing one twice is allowed."""
    for opened in sockets:
        opened.close()


def connect_error(
    address: Address, failures: Sequence[tuple[str, Exception]], seconds: float
) -> ConnectError:
    """Return the error of a failed dial: the address, the system's error of each attempt, the duration."""
    reasons = [f"{place}: {_reason(failure)}" if place else _reason(failure) for place, failure in failures]
    last = failures[-1][1]
    error = ConnectError(
        f"cannot connect to {address} ({seconds:.3f} s): {'; '.join(reasons)}", hint=_connect_hint(last)
    )
    if isinstance(last, OSError) and last.errno is not None:
        error.errno = last.errno
    error.is_lasting = isinstance(last, HandshakeError) and last.is_lasting
    error.__cause__ = last
    return error


def listen_error(address: Address, failure: Exception) -> OSError:
    """Return the error of a failed listen: it has the system's class and number, names the address, and has a note."""
    text = f"cannot listen at {address}: {_reason(failure)}"
    number = failure.errno if isinstance(failure, OSError) else errno.EINVAL
    if isinstance(failure, socket.gaierror):
        error: OSError = socket.gaierror(failure.errno, text)
    else:
        error = OSError(text) if number is None else OSError(number, text)
    if number in _LISTEN_HINTS:
        error.add_note(f"hint: {_LISTEN_HINTS[number]}")
    mark_shown_at_program(error)
    return error


#: The most bytes in the path of a unix socket, without the byte that ends the path in the system's structure.
LONGEST_PATH: Final = 107 if sys.platform == "linux" else 103

#: The remedy for a longer path.
_PATH_HINT: Final = (
    f"a unix socket has a path of at most {LONGEST_PATH} bytes: give a shorter one, or one relative to the working "
    "directory; for any:// FASTRPC_HOST_FOLDER names a shorter folder"
)

#: The remedy for an unavailable address, by the system's error number.
_LISTEN_HINTS: Final = {
    errno.EADDRINUSE: "another program listens there: stop it, or give another address",
    errno.EADDRNOTAVAIL: "this machine has no such address: 127.0.0.1 and 0.0.0.0 work anywhere",
    errno.EACCES: "this user may not listen there: ports below 1024 need privileges",
    errno.ENAMETOOLONG: _PATH_HINT,
}


def _reason(failure: Exception) -> str:
    # asyncio replaces the system's text by its own ("Connect call failed (...)"), so use the number.
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
    if isinstance(failure, HandshakeError):
        return failure.hint
    if isinstance(failure, socket.gaierror):
        return "check the host name"
    if isinstance(failure, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens there; is the server running?"
    if isinstance(failure, OSError) and failure.errno == errno.ENAMETOOLONG:
        return _PATH_HINT
    return None
