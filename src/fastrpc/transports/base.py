"""What a transport is, and which one serves an address.

To add one: write a file beside this one with an object that fits `Transport`, and name it in `_TRANSPORTS`.
A package of its own registers the object as an entry point of the group `fastrpc.transports`, named after the
scheme.
"""

import asyncio
import socket
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol, TypedDict, TypeVar, Unpack, cast

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError

__all__ = [
    "BACKLOG",
    "SILENCE_SECONDS",
    "ListenOptions",
    "Listener",
    "SessionFactory",
    "Transport",
    "transport_for",
]

#: Connections that wait to be accepted; more are refused or delayed by the system.
#: Too low refuses bursts of new clients; the system caps it anyway (`net.core.somaxconn`).
BACKLOG = 1024

#: Seconds without a sign of life after which the system gives a connection up, for those who pass nothing else:
#: the defaults of `Keepalive.interval` and `Keepalive.timeout` together.
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

        There is no timeout here: surround the call with `asyncio.timeout`. A cancelled dial leaves nothing open.

        Raises:
            ConnectError: no connection could be made; the message names the address and the system's error.
        """

    async def listen(
        self, address: Address, session_factory: SessionFactory, **options: Unpack[ListenOptions]
    ) -> Listener:
        """Accept connections at an address; a session is made for each, on the running loop.

        Raises:
            OSError: the address cannot be had (of the class and number the system gave); the message names it.
        """


#: scheme -> where its transport is; loaded on first use.
_TRANSPORTS = {
    "tcp": "fastrpc.transports.tcp:TRANSPORT",
    "unix": "fastrpc.transports.unix:TRANSPORT",
    "memory": "fastrpc.transports.memory:TRANSPORT",
}

_loaded: dict[str, Transport] = {}


def transport_for(address: Address) -> Transport:
    """Return the transport that serves an address.

    Raises:
        ConfigError: nobody serves its scheme; the message names those that are known.
    """
    transport = _loaded.get(address.scheme)
    if transport is None:
        transport = _loaded[address.scheme] = _load(address)
    return transport


def _load(address: Address) -> Transport:
    place = _TRANSPORTS.get(address.scheme)
    if place is not None:
        module, _, attribute = place.partition(":")
        return cast(Transport, getattr(import_module(module), attribute))
    foreign = entry_points(group="fastrpc.transports")
    for entry in foreign:
        if entry.name == address.scheme:
            return cast(Transport, entry.load())
    known = ", ".join(sorted({*_TRANSPORTS, *foreign.names}))
    raise ConfigError(f"{str(address)!r}: no transport has the scheme {address.scheme!r}", hint=f"known are {known}")
