"""The interface of a protocol: a name, a detector of its first bytes, and an engine for each side."""

import asyncio
import importlib
import typing
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc._core.io.engine import Engine
from fastrpc._core.io.session import Session
from fastrpc._core.loop.loop_state import LoopState, loop_state
from fastrpc._core.wire.settings import WireSettings
from fastrpc.config.validation import SERVER_PROTOCOLS, WIRE_PROTOCOLS
from fastrpc.errors import ConfigError
from fastrpc.value_class import named_value_class, value_class

if TYPE_CHECKING:
    from fastrpc._core.http.service import HttpService
    from fastrpc._core.io.client_life import ClientLife
    from fastrpc._core.link.contract import Wire
    from fastrpc._core.server.gate import Gate
    from fastrpc._core.server.link import Link
    from fastrpc._core.server.openings import Openings
    from fastrpc._core.server.served_connection import ServedConnection
    from fastrpc.config import ClientConfig, ServerConfig, Timeouts
    from fastrpc.endpoint import Endpoint

__all__ = [
    "ClientEngine",
    "ClientParts",
    "ClientTraits",
    "HealthCheck",
    "LastRequest",
    "Match",
    "PeerConnection",
    "Protocol",
    "ServerEngine",
    "ServerParts",
    "StreamSession",
    "client_engine",
    "client_protocol",
    "client_stream",
    "linked",
    "protocol_named",
    "register",
    "serves_pages_by_http2",
    "server_protocols",
    "server_stream",
]


class Match(Enum):
    """The result of detection: whether the first bytes match a protocol."""

    YES = auto()
    NO = auto()
    #: The bytes match, but any other protocol that matches takes precedence.
    OTHERWISE = auto()
    #: More bytes are needed.
    MORE = auto()


# The former name of `Match`.
Verdict = Match


@named_value_class
class ServerParts:
    """The parts that all connections of a server share."""

    loop: asyncio.AbstractEventLoop
    gate: "Gate"
    openings: "Openings"
    config: "ServerConfig"
    #: The settings that the native protocol announces.
    settings: WireSettings
    #: The microseconds for which the native protocol polls.
    spin_microseconds: int
    #: Whether callers may list the services.
    reveals_services: bool
    #: The parts that connections of the HTTP gateway share; None without a gateway.
    http: "HttpService | None" = None
    #: Determines the client behind a trusted proxy (`fastrpc.server.http.forwarded`); None: no proxy is trusted.
    proxies: Any = None


class StreamSession(Session, asyncio.BufferedProtocol):
    """A session that derives from BufferedProtocol, because asyncio's own loops check for it. uvloop does not."""

    __slots__ = ()


class PeerConnection(typing.Protocol):
    """A connection whose peer can be identified."""

    @property
    def peer_name(self) -> Any:
        """The peer's name as its transport reports it: host and port, or a path."""

    @property
    def transport(self) -> asyncio.BaseTransport | None: ...


class ServerEngine(PeerConnection, typing.Protocol):
    """The interface of a server's `Engine`, in addition to its input and output of bytes.

    `connected` calls `ConnectionLife.count_in`, and `lost` calls `count_out`. `Link` does this for a `Wire`. An engine
    whose peers also serve calls has `peer_takes`, and has their settings as `peer`.
    """

    @property
    def stream(self) -> Any:
        """The byte stream, or None."""

    @property
    def connection(self) -> "ServedConnection":
        """The calls of this connection. When memory is short, `held_bytes` and `return_credit` are used."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Accept no new calls, and call `ServedConnection.note_drain`. The reason is a GOAWAY code of PROTOCOL.md."""

    @property
    def has_drained(self) -> bool:
        """Whether no call runs and all output was sent, so that the connection may be closed."""

    def end_calls(self, text: str) -> object:
        """Answer every running call with UNAVAILABLE and this text, by `Gate.end_calls`."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Send the peer the reason, if the protocol supports it, and close the connection after all output was sent."""

    def abort(self) -> None:
        """Close immediately."""

    def stats(self) -> dict[str, Any]:
        """Return `calls`, `one_way` calls, `buffered` bytes of output, and `credit`: bytes that the peer may send."""


@typing.runtime_checkable
class LastRequest(typing.Protocol):
    """A server's `Engine` that may wait for a last request during a drain, because its protocol has no GOAWAY."""

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is idle: no call in progress, no output to send, no partly received request."""


class ClientEngine(PeerConnection, typing.Protocol):
    """The interface of a client's `Engine`, in addition to its bytes and `calling`. `CallingEngine` implements it.

    An engine calls these methods of its owner, if it has one: `connection_ready`, `connection_draining` and
    `connection_lost` (with the error), `connection_used` if `life.announces_calls`, `connection_aged`,
    `connection_crowded` after `await_crowd`, `connection_accepted` (with seconds) when an expiring credential is
    accepted, and `connection_refused` when the server refuses the credential. The first argument is the engine.
    """

    @property
    def life(self) -> "ClientLife":
        """The rules by which the connection opens, ages and becomes idle, and its flags `is_aged`, `is_dispensable`."""

    @property
    def endpoint(self) -> Any:
        """The endpoint of the connection."""

    @property
    def peer(self) -> WireSettings:
        """The limits of the server."""

    @property
    def is_usable(self) -> bool:
        """Whether the connection accepts new calls."""

    @property
    def is_ready(self) -> bool:
        """Whether the server has answered the opening."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed."""

    @property
    def closed_text(self) -> str | None:
        """The reason that the peer gave for closing the connection, or None."""

    @property
    def auth_status(self) -> int:
        """The status of the server's verdict about the credential; -1 before there is one."""

    @property
    def auth_text(self) -> str | None:
        """The text of the server's verdict about the credential."""

    @property
    def peer_replaces(self) -> bool:
        """Whether the server asks the client to replace this connection."""

    @property
    def calls_in_flight(self) -> int:
        """The number of outgoing calls in flight."""

    def await_crowd(self, calls: int) -> None:
        """Notify the owner once, when a call is sent while `calls` other calls are in flight; 0: never."""

    def begin_probe(self, call: Any) -> None:
        """Announce a call that only asks for health. An engine may use a ping of its protocol instead."""

    def end_probe(self, call: Any) -> None:
        """Record that a health call ended, or was not sent."""

    def present(self, token: bytes) -> None:
        """Send the server a new token, after it accepted a token that expires."""

    def retire(self) -> None:
        """Accept no new calls, and close the connection after the running calls have ended."""

    def close(self) -> None:
        """Fail the running calls, and close the connection after all output was sent."""

    def abort(self) -> None:
        """Close immediately."""

    def stats(self) -> dict[str, int]:
        """Return `calls`, `waiting`, `buffered` and `credit`."""


@named_value_class
class ClientParts:
    """The parts of one connection of a client, for its engine."""

    protocol: "Protocol"
    endpoint: "Endpoint"
    config: "ClientConfig"
    #: The timeouts of the configuration. `idle` is unset for connections that stay open.
    timeouts: "Timeouts"
    #: The settings that the native protocol announces.
    settings: WireSettings
    #: Notified of the connection's state; None for threads, which check it.
    owner: Any = None
    #: The loop of the connection; None for threads.
    loop: asyncio.AbstractEventLoop | None = None
    #: A token to present, or None.
    credential: bytes | None = None
    #: Whether the client may have another token later, to replace an expiring token.
    renews: bool = False
    #: Whether the client serves calls of its servers.
    serves: bool = False
    #: The factor by which the interval of pings exceeds the settings, after the server complained of too many pings.
    ping_factor: int = 1

    @property
    def loop_state(self) -> LoopState | None:
        """The state of the loop, which watches deadlines."""
        return None if self.loop is None else loop_state(self.loop)


@named_value_class
class HealthCheck:
    """The call that asks a server of a protocol for its health."""

    method: str
    codec: str
    #: Returns the argument of the call for a service's name.
    question: Callable[[str], Any]
    #: Returns "SERVING" for an answer, or the reason why the service is not serving.
    verdict: Callable[[Any], str]


@named_value_class
class ClientTraits:
    """The properties of a client protocol that are known without a connection."""

    #: Whether the payload of a call is one value, not an array of its arguments.
    takes_values: bool = False
    #: Whether the payload is a protobuf message that follows the schema of the method's types.
    takes_messages: bool = False
    has_streams: bool = False
    #: Whether a client can serve calls of its servers.
    serves: bool = False
    #: The names of its compressors; None: the compressors that both sides have.
    compressors: tuple[str, ...] | None = None
    #: The call that asks a server for its health; None: the health check of the native protocol.
    health: HealthCheck | None = None
    #: Returns a layer that translates between an engine's stream and its transport; None: no translation.
    stream_layer: Callable[[ClientParts, StreamSession], Any] | None = None
    io_layer: Callable[[ClientParts, BlockingIO], BlockingIO] | None = None


@value_class
class Protocol:
    """A protocol that servers or clients can speak, or both."""

    name: str
    #: Called with the bytes received so far, at most 256. The first YES in the order of `ServerConfig.protocols` is
    #: final, even if a protocol listed before asked for more bytes.
    detect: Callable[[bytes], Match] | None = None
    server_engine: Callable[[ServerParts], Engine] | None = None
    client_engine: Callable[[ClientParts], Engine] | None = None
    #: The ALPN names of the protocol. Clients offer the first; None stands for a peer without ALPN.
    agreed: tuple[str | None, ...] = (None,)
    traits: ClientTraits = ClientTraits()


_protocols: dict[str, Protocol] = {}

#: The modules of the built-in protocols, each of which registers its half. They are imported on first use.
_SERVERS = {
    "native": "fastrpc.protocols.native",
    "http": "fastrpc.protocols.http.gateway",
    "rpcx": "fastrpc.protocols.rpcx",
    "phobos": "fastrpc.protocols.rpcx",
    "grpc": "fastrpc.protocols.grpc",
}
_CLIENTS = {
    "native": "fastrpc.protocols.native_client",
    "grpc": "fastrpc.protocols.grpc_client",
    "rpcx": "fastrpc.protocols.rpcx_client",
    "phobos": "fastrpc.protocols.rpcx_client",
}


def register(
    name: str,
    detect: Callable[[bytes], Match] | None = None,
    server_engine: Callable[[ServerParts], Engine] | None = None,
    client_engine: Callable[[ClientParts], Engine] | None = None,
    *,
    agreed: tuple[str | None, ...] | None = None,
    traits: ClientTraits | None = None,
) -> None:
    """Register a protocol: `ServerConfig(protocols=("native", name))`, `ClientConfig(wire_protocol=name)`.

    The server half and the client half may be registered separately.

    Args:
        detect: decides by the first bytes of a server's connection whether the peer speaks the protocol.
        server_engine: returns the engine of a server's connection, a `ServerEngine`.
        client_engine: returns the engine of a client's connection, on a loop or for threads, a `ClientEngine`.
        agreed: the ALPN names. Clients offer the first name; None stands for a peer without ALPN. Default: the names of
            the other half, if it was registered.
        traits: the properties of the client half.

    Raises:
        ConfigError: another protocol has this name, or neither half is given.
    """
    if (detect is None) != (server_engine is None) or (server_engine is None and client_engine is None):
        raise ConfigError(
            f"protocol {name!r} has no engine", hint="give detect and server_engine, or client_engine, or all"
        )
    if agreed is None:
        agreed = _protocols[name].agreed if name in _protocols else (None,)
    elif not agreed:
        raise ConfigError(
            f"protocol {name!r} has an empty list of ALPN names", hint="give (None,) for no name"
        )
    given = Protocol(name, detect, server_engine, client_engine, agreed, traits or ClientTraits())
    known = _protocols.get(name, given)
    merged = Protocol(
        name,
        detect or known.detect,
        server_engine or known.server_engine,
        client_engine or known.client_engine,
        agreed,
        known.traits if client_engine is None else given.traits,
    )
    if not _extends(merged, known):
        raise ConfigError(f"protocol {name!r} is registered already", hint="choose another name")
    _protocols[name] = merged
    for engine, names in ((server_engine, SERVER_PROTOCOLS), (client_engine, WIRE_PROTOCOLS)):
        if engine is not None and name not in names:
            names.append(name)


def _extends(merged: Protocol, known: Protocol) -> bool:
    """Return whether a merged protocol keeps all that was registered before."""
    if known.client_engine is not None and merged.traits != known.traits:
        return False
    return merged.agreed == known.agreed and all(
        had is None or had == has
        for had, has in (
            (known.detect, merged.detect),
            (known.server_engine, merged.server_engine),
            (known.client_engine, merged.client_engine),
        )
    )


def protocol_named(name: str) -> Protocol:
    """Return a registered server protocol. `ServerConfig` has already refused unknown names."""
    known = _protocols.get(name)
    if (known is None or known.server_engine is None) and name in _SERVERS:
        importlib.import_module(_SERVERS[name])
    return _protocols[name]


def serves_pages_by_http2(config: "ServerConfig") -> bool:
    """Return whether a server's HTTP gateway accepts HTTP/2."""
    return "http" in config.protocols and config.http.http2


def server_protocols(config: "ServerConfig") -> list[Protocol]:
    """Return the protocols that a server detects: those in its settings, and HTTP/2 for the gateway.

    One engine serves both gRPC and the gateway over HTTP/2. If the settings name `grpc`, that protocol is this engine.
    """
    found = [protocol_named(name) for name in config.protocols]
    if serves_pages_by_http2(config) and "grpc" not in config.protocols:
        found.append(replace(protocol_named("grpc"), name="HTTP/2"))
    return found


def client_protocol(name: str) -> Protocol:
    """Return a registered client protocol. `ClientConfig` has already refused unknown names."""
    known = _protocols.get(name)
    if (known is None or known.client_engine is None) and name in _CLIENTS:
        importlib.import_module(_CLIENTS[name])
    return _protocols[name]


def linked(wire: "Wire", parts: ServerParts, *, timeouts: "Timeouts | None" = None) -> "Link":
    """Return the engine of a server's connection whose protocol is a `Wire`: a link around the wire.

    Args:
        timeouts: the timeouts to use instead of the server's settings.

    Raises:
        RuntimeError: another link holds the wire.
    """
    # Imported on first use, because clients have no links.
    from fastrpc._core.server.link import Link

    link = Link(
        wire,
        gate=parts.gate,
        openings=parts.openings,
        timeouts=timeouts or parts.config.timeouts,
        keepalive=parts.config.keepalive,
    )
    link.connection.reveals_services = parts.reveals_services
    return link


def server_stream(protocol: Protocol, parts: ServerParts) -> StreamSession:
    """Make the byte stream of a server's connection, with its engine."""
    assert protocol.server_engine is not None
    engine = protocol.server_engine(parts)
    return StreamSession(engine, loop=parts.loop, spin_microseconds=parts.spin_microseconds)


def client_engine(parts: ClientParts) -> Any:
    """Make the engine of a client's connection."""
    assert parts.protocol.client_engine is not None
    return parts.protocol.client_engine(parts)


def client_stream(parts: ClientParts, engine: Engine, spin_microseconds: int) -> Any:
    """Make the byte stream of a client's connection on a loop, with the layer of its protocol."""
    assert parts.loop is not None
    stream = StreamSession(engine, loop=parts.loop, spin_microseconds=spin_microseconds)
    layer = parts.protocol.traits.stream_layer
    return stream if layer is None else layer(parts, stream)
