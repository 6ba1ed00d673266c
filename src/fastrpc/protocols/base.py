"""The interface of a protocol: a name, a detector of its first bytes, and an engine."""

import asyncio
import importlib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from fastrpc._core.framing.settings import Settings
from fastrpc._core.io.engine import Engine
from fastrpc._core.io.session import Session
from fastrpc._core.serving.exchange import Exchange
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.openings import Openings
from fastrpc.config import ServerConfig
from fastrpc.config.validation import SERVER_PROTOCOLS
from fastrpc.errors import ConfigError

if TYPE_CHECKING:
    from fastrpc._core.gateway.service import HttpService

__all__ = [
    "Connection",
    "Protocol",
    "ServerEngine",
    "ServerParts",
    "StreamSession",
    "Verdict",
    "protocol_named",
    "register",
    "server_stream",
]


class Verdict(Enum):
    """The result of detection: whether the first bytes match a protocol."""

    YES = auto()
    NO = auto()
    #: They match, unless another protocol matches as well.
    OTHERWISE = auto()
    #: More bytes are needed.
    MORE = auto()


@dataclass(frozen=True, kw_only=True)
class ServerParts:
    """The parts that all connections of a server share."""

    loop: asyncio.AbstractEventLoop
    gate: Gate
    openings: Openings
    config: ServerConfig
    #: The settings that the native protocol announces, and how long it polls.
    settings: Settings
    spin_microseconds: int
    #: Whether callers may list the services.
    reveals_services: bool
    #: The parts that connections of the HTTP gateway share; None if it is not served.
    http: "HttpService | None" = None


class StreamSession(Session, asyncio.BufferedProtocol):
    """A session as a BufferedProtocol, which asyncio's own loops check for; uvloop needs no base class."""

    __slots__ = ()


class Connection(typing.Protocol):
    """A connection, as far as its peer can be named."""

    @property
    def peer_name(self) -> Any:
        """The peer's name for the transport: host and port, or a path."""

    @property
    def transport(self) -> asyncio.BaseTransport | None: ...


class ServerEngine(Connection, typing.Protocol):
    """The interface of a server's `Engine`, beside bytes.

    `connected` calls `Gate.connection_made`, and `lost` calls `Gate.session_lost`. `ServedEngine` does this for engines
    in Python.
    """

    @property
    def stream(self) -> Any:
        """The byte stream, or None."""

    @property
    def exchange(self) -> Exchange:
        """The calls of this connection; its `held_bytes` and `return_credit` are for memory that runs short."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls, and call `Exchange.note_drain`; the reason is one of GOAWAY in PROTOCOL.md."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is under way and all output is sent, so that the connection may be closed."""

    def end_calls(self, text: str) -> object:
        """Answer every call under way with UNAVAILABLE and this text: `Gate.end_calls`."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Send the peer the reason, as far as the protocol can, and close once all output is sent."""

    def abort(self) -> None:
        """Close at once."""

    def stats(self) -> dict[str, Any]:
        """Return `calls`, `one_way`, `buffered` and `credit`: counts, and bytes of output and of the peer's window."""


@dataclass(frozen=True)
class Protocol:
    """A protocol that servers can speak."""

    name: str
    #: Takes the bytes received so far, at most 256. The first YES in the order of `ServerConfig.protocols` is final,
    #: even if a protocol before it asked for more.
    detect: Callable[[bytes], Verdict]
    server_engine: Callable[[ServerParts], Engine]


_protocols: dict[str, Protocol] = {}

#: The modules of our protocols, which register them. They are imported on first use.
_BUILT_IN = {
    "native": "fastrpc.protocols.native",
    "http": "fastrpc.protocols.http.gateway",
    "rpcx": "fastrpc.protocols.rpcx",
    "phobos": "fastrpc.protocols.rpcx",
}


def register(
    name: str,
    detect: Callable[[bytes], Verdict],
    server_engine: Callable[[ServerParts], Engine],
) -> None:
    """Register a protocol for servers: `ServerConfig(protocols=("native", name))`.

    Args:
        detect: tells by the first bytes of a connection whether it speaks the protocol.
        server_engine: makes the engine of a server's connection; it fits `ServerEngine`.

    Raises:
        ConfigError: another protocol has that name.
    """
    protocol = Protocol(name, detect, server_engine)
    if _protocols.setdefault(name, protocol) != protocol:
        raise ConfigError(f"protocol {name!r} is registered already", hint="choose another name")
    if name not in SERVER_PROTOCOLS:
        SERVER_PROTOCOLS.append(name)


def protocol_named(name: str) -> Protocol:
    """Return a registered protocol; `ServerConfig` has already refused unknown names."""
    if name not in _protocols and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name])
    return _protocols[name]


def server_stream(protocol: Protocol, parts: ServerParts) -> StreamSession:
    """Make the byte stream of a server's connection, with its engine."""
    engine = protocol.server_engine(parts)
    return StreamSession(engine, loop=parts.loop, spin_microseconds=parts.spin_microseconds)
