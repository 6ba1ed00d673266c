"""The interface of transports, and the look-up of an address's transport.

To add one: write a file in this folder with an object that fits `Transport`, and register it below. A separate package
registers the object as an entry point of the group `fastrpc.transports`, named after the scheme. Socket transports
share `sockets.py`.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from fastrpc.config import TLS, ClientConfig
from fastrpc.config.delays import silence_seconds
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.first_use import load, places, register
from fastrpc.tls import ALPN
from fastrpc.value_class import named_value_class

if TYPE_CHECKING:
    from fastrpc._core.io.blocking_io import BlockingIO

__all__ = [
    "BACKLOG",
    "SILENCE_SECONDS",
    "BlockingTransport",
    "DialOptions",
    "DrainingListener",
    "ListenOptions",
    "Listener",
    "Reloading",
    "SessionFactory",
    "Transport",
    "add_transport",
    "dial_options",
    "drain_listeners",
    "names_transport",
    "reload_listeners",
    "remove_transport",
    "transport_for",
]

#: The most connections that wait to be accepted. The system refuses or delays further connections. With a lower value
#: bursts of new clients are refused; a higher value has no effect, because the system caps it (`net.core.somaxconn`).
BACKLOG = 1024

#: The default of `DialOptions.silence_seconds`: the sum of the defaults of `Keepalive.interval` and
#: `Keepalive.timeout`.
SILENCE_SECONDS = 20.0

S = TypeVar("S", bound=asyncio.BufferedProtocol)

SessionFactory = Callable[[], asyncio.BufferedProtocol]

# An alias, because `ListenOptions` has a field called `socket`.
_Socket = socket.socket


@named_value_class
class DialOptions:
    """The options of `Transport.dial` and `BlockingTransport.connect`.

    A transport ignores options that do not apply to it.
    """

    #: Seconds without any packet from the peer after which the system drops a connection (tcp).
    silence_seconds: float = SILENCE_SECONDS

    #: Certificates of an encrypted connection (tls); None trusts the system's authorities. If it is set, only loopback
    #: addresses are dialled without encryption (tcp).
    tls: TLS | None = None

    #: The ALPN name to offer; None for a protocol without an ALPN name (tls).
    agreed: str | None = ALPN


@named_value_class
class ListenOptions:
    """The options of `Transport.listen`.

    A transport ignores options that do not apply to it.
    """

    #: The most connections that wait to be accepted.
    backlog: int = BACKLOG

    #: Whether several processes may listen at one port; the system then spreads connections over them (tcp).
    reuse_port: bool = False

    #: A bound socket to listen on instead of a new one. The listener owns it (tcp, unix).
    socket: _Socket | None = None

    #: Seconds without any packet from the peer after which the system drops a connection (tcp).
    silence_seconds: float = SILENCE_SECONDS

    #: Certificates of encrypted connections (tls).
    tls: TLS | None = None

    #: The accepted ALPN names; None accepts a peer without ALPN (tls).
    agreed: tuple[str | None, ...] = (ALPN,)

    #: Wraps the session factory in a factory of objects that handle the start of an accepted connection, before any
    #: byte is read (tcp, tls).
    wrap: Callable[[SessionFactory], SessionFactory] | None = None

    #: Called with a peer's socket address; returns whether its connection is served. None: all are served. Other
    #: connections are closed before any object is made for them (tcp, tls).
    admits: Callable[[Any], bool] | None = None


class Listener(Protocol):
    """A listening address, which makes a session for each accepted connection."""

    @property
    def address(self) -> Address:
        """The bound address with the real port; a target for a client."""

    def close(self) -> None:
        """Stop accepting immediately. Open connections stay. Closing twice is allowed."""

    async def wait_closed(self) -> None:
        """Wait until no further session will be made. This does not wait for connections to end."""


@runtime_checkable
class Reloading(Protocol):
    """A listener with files that may change, such as certificates."""

    def reload(self) -> None:
        """Read the files again now. Open connections stay."""


def reload_listeners(listeners: Iterable[Listener]) -> None:
    """Read the files of all `Reloading` listeners again now."""
    for listener in listeners:
        if isinstance(listener, Reloading):
            listener.reload()


@runtime_checkable
class DrainingListener(Protocol):
    """A listener with a queue of connections that were not accepted yet."""

    def drain(self) -> None:
        """Accept the connections that wait, then stop accepting like `close`."""


def drain_listeners(listeners: Iterable[Listener]) -> None:
    """Stop accepting, without losing connections that wait to be accepted."""
    for listener in listeners:
        if isinstance(listener, DrainingListener):
            listener.drain()
        else:
            listener.close()


class Transport(Protocol):
    """Dials and listens for one address scheme."""

    @property
    def scheme(self) -> str:
        """The part of an address before `://`."""

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect, and bind a new session to the connection.

        Callers set a timeout by `asyncio.timeout`. A cancelled dial leaves no connection open.

        Raises:
            ConnectError: no connection could be made; the message names the address and the system's error.
        """

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> Listener:
        """Accept connections at an address; a session is made for each, on the running loop.

        Raises:
            OSError: the address is unavailable; it has the system's class and number, and the message names the
                address.
        """


class BlockingTransport(Protocol):
    """A transport that can also connect without an event loop, which `SyncClient` needs."""

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> "BlockingIO":
        """Connect and return an I/O object that the caller owns, for example `SocketIO` over a blocking socket.

        Raises:
            ConnectError: no connection could be made in time.
        """


#: Transports of higher-ranked packages are registered in `fastrpc/__init__.py`.
register(
    "transports",
    {
        "tcp": "fastrpc.transports.tcp:TRANSPORT",
        "tls": "fastrpc.transports.tcp:ENCRYPTED",
        "unix": "fastrpc.transports.unix:TRANSPORT",
        "memory": "fastrpc.transports.memory:TRANSPORT",
    },
)

#: scheme -> module and name of its transport, loaded on first use.
_TRANSPORTS = places("transports")

#: Hints for schemes that are no transports: how to write an address to listen at.
_ADVICE = {
    "http": '; servers speak HTTP at tcp:// once their protocols name "http"',
    "https": '; servers speak HTTP at tls:// once their protocols name "http"',
    "registry": "; a registry listens at tcp:// or tls://, which its clients write as registry://",
}

_loaded: dict[str, Transport] = {}


def dial_options(config: ClientConfig, agreed: str | None, tls: TLS | None) -> DialOptions:
    """Return the dial options of a client's settings.

    Args:
        agreed: the ALPN name of the protocol; None: no name.
        tls: the certificates, which may come from the registry.
    """
    return DialOptions(silence_seconds=silence_seconds(config.keepalive), tls=tls, agreed=agreed)


def names_transport(target: str) -> bool:
    """Return whether a text is an address of a built-in transport."""
    scheme, separator, _ = target.partition("://")
    return bool(separator) and scheme in _TRANSPORTS


def transport_for(address: Address) -> Transport:
    """Return the transport of an address.

    Raises:
        ConfigError: no transport has the address's scheme; the message lists the known schemes.
    """
    transport = _loaded.get(address.scheme)
    if transport is None:
        transport = _loaded[address.scheme] = _load(address)
    return transport


def add_transport(transport: Transport) -> None:
    """Register a transport for its scheme in this process, until `remove_transport`."""
    _loaded[transport.scheme] = transport


def remove_transport(transport: Transport) -> None:
    """Undo `add_transport`; open connections stay."""
    if _loaded.get(transport.scheme) is transport:
        del _loaded[transport.scheme]


def _load(address: Address) -> Transport:
    place = _TRANSPORTS.get(address.scheme)
    if place is not None:
        return cast(Transport, load(place))
    # Imported on first use, because it loads parsers of package metadata, which would slow every import of fastrpc.
    from importlib.metadata import entry_points

    foreign = entry_points(group="fastrpc.transports")
    for entry in foreign:
        if entry.name == address.scheme:
            return cast(Transport, entry.load())
    known = ", ".join(sorted({*_TRANSPORTS, *foreign.names}))
    advice = _ADVICE.get(address.scheme, "")
    raise ConfigError(
        f"{str(address)!r}: no transport has the scheme {address.scheme!r}", hint=f"known are {known}{advice}"
    )
