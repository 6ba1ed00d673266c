"""What a transport is, and which one serves an address.

To add one: write a file beside this one with an object that fits `Transport`, and name it in `_TRANSPORTS`.
A package of its own registers the object as an entry point of the group `fastrpc.transports`, named after the
scheme. What transports made of sockets share is in `sockets.py`.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from fastrpc.config import TLS, ClientConfig
from fastrpc.config.delays import silence_seconds
from fastrpc.config.validation import check_later_parts
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError

if TYPE_CHECKING:
    from fastrpc._core.io.blocking_io import BlockingIO

__all__ = [
    "BACKLOG",
    "SILENCE_SECONDS",
    "BlockingTransport",
    "DialOptions",
    "ListenOptions",
    "Listener",
    "SessionFactory",
    "Transport",
    "add_transport",
    "dial_options",
    "names_transport",
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

# `ListenOptions` has a field called `socket`.
_Socket = socket.socket


@dataclass(frozen=True, slots=True, kw_only=True)
class DialOptions:
    """What `Transport.dial` and `BlockingTransport.connect` are to do beside connecting.

    A transport ignores an option that means nothing to it, but never `tls`.

    Raises:
        ConfigError: `tls` is set, which this version does not have yet.
    """

    #: Seconds without a sign of life after which the system drops a connection (tcp).
    silence_seconds: float = SILENCE_SECONDS

    #: Certificates of an encrypted connection; None does not encrypt.
    tls: TLS | None = None

    def __post_init__(self) -> None:
        check_later_parts(self, tls="nothing would be encrypted")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What `Transport.listen` is to do beside listening.

    A transport ignores an option that means nothing to it, but never `tls`.

    Raises:
        ConfigError: `tls` is set, which this version does not have yet.
    """

    #: Connections that may wait to be accepted.
    backlog: int = BACKLOG

    #: Several processes listen at one port, and the system spreads connections over them (tcp).
    reuse_port: bool = False

    #: A bound socket to listen on, in place of a new one; the listener owns it from then on (tcp, unix).
    socket: _Socket | None = None

    #: Seconds without a sign of life after which the system drops a connection (tcp).
    silence_seconds: float = SILENCE_SECONDS

    #: Certificates of encrypted connections; None does not encrypt.
    tls: TLS | None = None

    def __post_init__(self) -> None:
        check_later_parts(self, tls="nothing would be encrypted")


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
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect, and bind a new session to the connection.

        There is no timeout here: surround the call with `asyncio.timeout`. A cancelled dial leaves nothing
        open.

        Raises:
            ConnectError: no connection could be made; the message names the address and the system's error.
        """

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> Listener:
        """Accept connections at an address; a session is made for each, on the running loop.

        Raises:
            OSError: the address cannot be had; class and number are the system's, the message names it.
        """


class BlockingTransport(Protocol):
    """A transport that can also connect without an event loop, which `SyncClient` needs."""

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> "BlockingIO":
        """Connect and return what is read and written, for example `SocketIO` of a blocking socket; the caller owns it.

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


def dial_options(config: ClientConfig) -> DialOptions:
    """Return what the settings of a client ask of a connection."""
    return DialOptions(silence_seconds=silence_seconds(config.keepalive), tls=config.tls)


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
