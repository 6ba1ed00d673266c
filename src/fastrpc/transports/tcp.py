"""TCP, `tcp://host:port`, and TCP with TLS, `tls://host:port`."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fastrpc._core.io.blocking_io import BlockingIO, SocketIO
from fastrpc.config import TLS
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError, ConnectError
from fastrpc.transports.base import SILENCE_SECONDS, DialOptions, Listener, ListenOptions, SessionFactory
from fastrpc.transports.lookups import look_up
from fastrpc.transports.race import Failure, Places, Race, next_delay
from fastrpc.transports.sockets import (
    Handover,
    close_all,
    connect_error,
    encrypted,
    encrypted_session,
    listen_error,
    open_listener,
)

if TYPE_CHECKING:
    from fastrpc.tls.ends import ClientEnd

__all__ = ["ENCRYPTED", "TRANSPORT", "TcpTransport", "bind", "set_options", "watch_peer"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)

#: The number of attempts to find a port that is free at all addresses of a host, if the port is 0.
_PORT_TRIES = 16

#: The longest idle time before the first probe that Linux accepts (MAX_TCP_KEEPIDLE).
_LONGEST_IDLE_SECONDS = 32_767

#: The machine lacks this address family or address; other addresses of the host may work.
_NOT_HERE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

_Place = tuple[str, int]
_Made = tuple[asyncio.Transport, Handover]


class TcpTransport:
    """Dial and listen over TCP, IPv4 and IPv6; with the scheme `tls`, encrypted."""

    def __init__(self, scheme: str = "tcp") -> None:
        self.scheme = scheme
        self._is_encrypted = scheme == "tls"

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect to the address of the host that answers first."""
        started = time.monotonic()
        failures: list[Failure] = []
        end = self._end_for(address, options)
        try:
            places = await _resolve(address)
        except (OSError, UnicodeError) as failure:
            raise _connect_error(address, failures, failure, started) from failure
        self._check_places(address, places, options)
        try:
            transport, handover = await _connect_any(places, failures)
        except OSError as failure:
            raise _connect_error(address, failures, failure, started) from failure
        try:
            handover.ensure_alive()
            set_options(transport.get_extra_info("socket"), options.silence_seconds)
        except OSError as failure:
            transport.abort()
            raise _connect_error(address, failures, failure, started) from failure
        if end is None:
            return transport, handover.to(session_factory)
        try:
            return await encrypted_session(handover, end, session_factory)
        except OSError as failure:
            raise _connect_error(address, failures, failure, started) from failure

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> Listener:
        """Accept connections at every address of the host, all with the same port."""
        sockets = [] if options.socket is None else [options.socket]
        try:
            if options.socket is None:
                places = await _resolve(address, passive=True)
                sockets = _bind_all(places, options.reuse_port)
            for bound in sockets:
                # Accepted connections inherit the options of the listening socket.
                set_options(bound, options.silence_seconds)
            host, port = sockets[0].getsockname()[:2]
            shown = Address(self.scheme, host=address.host or host, port=port, path=address.path)
            end = None
            if self._is_encrypted:
                from fastrpc.tls.ends import ServerEnd

                end = ServerEnd(options.tls or TLS(), agreed=options.agreed)
                session_factory = encrypted(session_factory, end)
            if options.wrap is not None:
                # Outermost, because a proxy sends its header in plain text, before TLS.
                session_factory = options.wrap(session_factory)
            return await open_listener(
                shown, sockets, session_factory, options.backlog, end=end, admits=options.admits
            )
        except BaseException as failure:
            close_all(sockets)
            if isinstance(failure, OSError):
                raise listen_error(address, failure) from None
            raise

    def _end_for(self, address: Address, options: DialOptions) -> "ClientEnd | None":
        """Return our end of an encrypted connection."""
        if not self._is_encrypted:
            return None
        # Imported on first use, because most connections within a machine or a cluster are plain text.
        from fastrpc.tls.ends import ClientEnd

        return ClientEnd(options.tls, address.host, options.agreed)

    def _check_places(self, address: Address, places: Sequence[_Place], options: DialOptions) -> None:
        """Refuse to send unencrypted bytes beyond this machine for a client that has certificates."""
        if self._is_encrypted or options.tls is None or all(map(_is_loopback, places)):
            return
        raise ConnectError(
            f"cannot connect to {address}: it is not encrypted, and ClientConfig.tls is set",
            hint=f"dial tls://{str(address).partition('://')[2]}, or leave tls out",
        )

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> BlockingIO:
        """Connect without an event loop. `timeout` does not limit the name look-up."""
        end = self._end_for(address, options)
        started = time.monotonic()
        failures: list[Failure] = []
        try:
            found = _looked_up(address)
        except (OSError, UnicodeError) as failure:
            raise _connect_error(address, failures, failure, started) from failure
        self._check_places(address, list(found), options)
        due = None if timeout is None else started + timeout
        race = Race(found, due, failures)
        while True:
            try:
                host, connected = race.run()
            except OSError as failure:
                raise _connect_error(address, failures, failure, started) from failure
            try:
                return _opened(connected, race.handshake_seconds(), end, options)
            except OSError as failure:
                failures.append((host, failure))


def _opened(
    connected: socket.socket, seconds: float | None, end: "ClientEnd | None", options: DialOptions
) -> BlockingIO:
    """Return the I/O object of a new connection, after the TLS handshake."""
    try:
        connected.setblocking(True)
        set_options(connected, options.silence_seconds)
        if end is None:
            return SocketIO(connected)
        from fastrpc._core.io.tls_blocking_io import TLSBlockingIO

        io = TLSBlockingIO(connected, end)
        io.open(seconds)
        return io
    except BaseException:
        connected.close()
        raise


def bind(address: Address, *, silence_seconds: float = SILENCE_SECONDS) -> list[socket.socket]:
    """Bind at every address of the host, all with the same port, without listening. This needs no event loop.

    Raises:
        OSError: the address is not available; the message names it.
    """
    bound: list[socket.socket] = []
    try:
        bound = _bind_all(list(_looked_up(address, socket.AI_PASSIVE)), reuse_port=False)
        for one in bound:
            set_options(one, silence_seconds)
    except (OSError, UnicodeError) as failure:
        close_all(bound)
        raise listen_error(address, failure) from None
    return bound


def _is_loopback(place: _Place) -> bool:
    # Imported here, because the import takes a millisecond and few clients need it.
    import ipaddress

    found = ipaddress.ip_address(place[0].partition("%")[0])
    inner = getattr(found, "ipv4_mapped", None)
    return (inner or found).is_loopback


class _HasOptions(Protocol):
    """A socket, or the socket-like object of an event loop's transport."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def set_options(opened: _HasOptions, silence_seconds: float) -> None:
    """Send small frames immediately (TCP_NODELAY), and let the system detect a peer that has disappeared."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seconds = max(2, round(silence_seconds))
    # The first half of the time passes without traffic; three probes share the other half.
    watch_peer(opened, max(1, seconds // 2), max(1, seconds // 6))
    # This option also bounds unacknowledged data, which keepalive ignores.
    _set_if_known(opened, ("TCP_USER_TIMEOUT",), max(1, round(silence_seconds * 1000)))


def watch_peer(opened: _HasOptions, idle_seconds: int, probe_seconds: int) -> None:
    """Make the system send three probes after an idle time, and close the connection if no probe is answered."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS has the option under the second name.
    _set_if_known(opened, ("TCP_KEEPIDLE", "TCP_KEEPALIVE"), min(idle_seconds, _LONGEST_IDLE_SECONDS))
    _set_if_known(opened, ("TCP_KEEPINTVL",), probe_seconds)
    _set_if_known(opened, ("TCP_KEEPCNT",), 3)


def _set_if_known(opened: _HasOptions, names: Sequence[str], value: int) -> None:
    """Set a TCP option under the first of these names that this system has, if it has one."""
    for name in names:
        option = getattr(socket, name, None)
        if option is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
            return


async def _resolve(address: Address, *, passive: bool = False) -> list[_Place]:
    """Return the numeric addresses of a host without duplicates, in the system's order of preference."""
    host = address.host or None
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found: Iterable[tuple[Any, ...]] = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=flags | socket.AI_NUMERICHOST
        )
    except (socket.gaierror, UnicodeError):
        # The host is a name, whose look-up may wait for the network.
        found = await look_up(host, address.port, flags)
    return list(_distinct(found))


def _looked_up(address: Address, flags: int = 0) -> Places:
    """Return the addresses of a host. This blocks."""
    return _distinct(
        socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=flags)
    )


def _distinct(found: Iterable[tuple[Any, ...]]) -> Places:
    """Return the addresses in an answer of `getaddrinfo`, in its order and without duplicates."""
    places: Places = {}
    for family, _, _, _, name in found:
        places.setdefault(_numeric(name), (family, name))
    if not places:
        # `getaddrinfo` never returns an empty list, but a replacement of it may.
        raise socket.gaierror(socket.EAI_NONAME, "the host has no address")
    return places


def _numeric(place: tuple[Any, ...]) -> _Place:
    host, port = place[:2]
    # A link-local IPv6 address is valid only together with its interface.
    scope = place[3] if len(place) == 4 else 0
    return (f"{host}%{scope}" if scope and "%" not in host else host), port


def _connect_error(
    address: Address, failures: Sequence[Failure], failure: Exception, started: float
) -> ConnectError:
    """Return the error of a failed dial. It names the numeric address of each attempt, unless the target is numeric."""
    attempts = list(failures)
    if not attempts or (len(attempts) == 1 and attempts[0][0] == address.host):
        attempts = [("", failure)]
    return connect_error(address, attempts, time.monotonic() - started)


async def _connect_one(place: _Place) -> _Made:
    # Dial by host and port, never with `sock=`: when a dial with `sock=` is cancelled, uvloop closes the descriptor
    # twice, and by then its number may belong to another file (MagicStack/uvloop#738).
    return await asyncio.get_running_loop().create_connection(Handover, *place)


async def _connect_any(places: Sequence[_Place], failures: list[Failure]) -> _Made:
    """Return the first connection that is made. If a place does not answer soon, try the next in parallel.

    Raises:
        OSError: every place failed; `failures` has the errors.
    """
    if len(places) == 1:
        try:
            return await _connect_one(places[0])
        except OSError as failure:
            failures.append((places[0][0], failure))
            raise
    attempts: dict[asyncio.Task[_Made], str] = {}
    winner = None
    try:
        for place in places:
            attempts[asyncio.create_task(_connect_one(place))] = place[0]
            is_last = len(attempts) == len(places)
            winner = await _first_made(attempts, failures, None if is_last else next_delay(len(places)))
            if winner is not None:
                return winner.result()
        raise failures[-1][1]
    finally:
        for attempt in attempts:
            if attempt is not winner:
                attempt.add_done_callback(_discard)
                attempt.cancel()


async def _first_made(
    attempts: dict[asyncio.Task[_Made], str],
    failures: list[Failure],
    seconds: float | None,
) -> asyncio.Task[_Made] | None:
    """Return the first attempt that succeeds, or None after all have failed or the time has passed."""
    deadline = None if seconds is None else time.monotonic() + seconds
    running = {attempt for attempt in attempts if not attempt.done()}
    while running:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        done, running = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            failure = attempt.exception()
            if failure is None:
                return attempt
            if not isinstance(failure, OSError):
                raise failure
            failures.append((attempts[attempt], failure))
        if not done:
            return None
    return None


def _discard(attempt: asyncio.Task[_Made]) -> None:
    """Close the connection of a superfluous attempt."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()


def _bind_all(places: Sequence[_Place], reuse_port: bool) -> list[socket.socket]:
    """Bind a socket for each place, all with the same port."""
    picks_port = len(places) > 1 and places[0][1] == 0
    for tries_left in reversed(range(_PORT_TRIES if picks_port else 1)):
        try:
            return _bind_each(places, reuse_port)
        except OSError as failure:
            # The port that was free at the first address is in use at another address.
            if failure.errno != errno.EADDRINUSE or not tries_left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _bind_each(places: Sequence[_Place], reuse_port: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for host, port in places:
            try:
                bound.append(_bind(host, port or (bound[0].getsockname()[1] if bound else 0), reuse_port))
            except OSError as failure:
                if failure.errno not in _NOT_HERE:
                    raise
                missing = failure
        if not bound:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        close_all(bound)
        raise
    return bound


def _bind(host: str, port: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    name, _, scope = host.partition("%")
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # Without this option a restart would fail while old connections of the port are in TIME_WAIT.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            _set_reuse_port(bound)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((name, port, 0, int(scope or 0)))
        else:
            bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _set_reuse_port(bound: socket.socket) -> None:
    option = getattr(socket, "SO_REUSEPORT", None)
    if option is None:
        raise ConfigError(
            "reuse_port is set, but this system has no SO_REUSEPORT", hint="run one process per port"
        )
    bound.setsockopt(socket.SOL_SOCKET, option, 1)


TRANSPORT = TcpTransport()
ENCRYPTED = TcpTransport("tls")
