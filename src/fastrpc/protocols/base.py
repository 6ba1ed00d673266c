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
    #: The bytes match, unless another protocol matches as well.
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
    #: The settings that the native protocol announces, and how long it polls.
    settings: WireSettings
    spin_microseconds: int
    #: Whether callers may list the services.
    reveals_services: bool
    #: The parts that connections of the HTTP gateway share; None if it is not served.
    http: "HttpService | None" = None
    #: Finds the clients of trusted proxies (`fastrpc.server.http.forwarded`); None: none are trusted.
    proxies: Any = None


class StreamSession(Session, asyncio.BufferedProtocol):
    """A session as a BufferedProtocol, which asyncio's own loops check for; uvloop needs no base class."""

    __slots__ = ()


class PeerConnection(typing.Protocol):
    """A connection, as far as its peer can be named."""

    @property
    def peer_name(self) -> Any:
        """The name of the peer in its transport: host and port, or a path."""

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
        """The calls of this connection; its `held_bytes` and `return_credit` are used when memory is short."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls, and call `ServedConnection.note_drain`; the reason is one of GOAWAY in PROTOCOL.md."""

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


@typing.runtime_checkable
class LastRequest(typing.Protocol):
    """A server's `Engine` that may wait for a last request in a drain, since its protocol has no goodbye."""

    @property
    def is_at_rest(self) -> bool:
        """Whether it carries nothing: no call, no output, no part of a request."""


class ClientEngine(PeerConnection, typing.Protocol):
    """The interface of a client's `Engine`, besides bytes and its `calling`; `CallingEngine` implements all of it.

    An engine calls these methods of its owner, if it has one: `connection_ready`, `connection_draining` and
    `connection_lost` (with the error), `connection_used` if `announces_calls`, `connection_aged`, `connection_crowded`
    after `await_crowd`, `connection_accepted` (with seconds) when an expiring credential is accepted, and
    `connection_refused` when the server refuses the credential. Each gets the engine first.
    """

    announces_calls: bool

    @property
    def endpoint(self) -> Any:
        """The endpoint to which the connection leads."""

    @property
    def peer(self) -> WireSettings:
        """The limits of the server."""

    @property
    def is_usable(self) -> bool:
        """Whether it takes new calls."""

    @property
    def is_ready(self) -> bool:
        """Whether the server has answered the opening."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over."""

    @property
    def is_aged(self) -> bool:
        """Whether it is older than `Keepalive.max_age`: it accepts calls until its successor does."""

    @property
    def is_dispensable(self) -> bool:
        """Whether it ended because no call needed it."""

    @property
    def closed_text(self) -> str | None:
        """Why the connection ended, as far as the peer gave a reason."""

    @property
    def auth_status(self) -> int:
        """The status of the server's verdict about the credential; -1 before there is one."""

    @property
    def auth_text(self) -> str | None:
        """The text of that verdict."""

    @property
    def peer_replaces(self) -> bool:
        """Whether the server asks for another connection in place of this one."""

    @property
    def calls_in_flight(self) -> int:
        """The calls of ours that are under way."""

    def await_crowd(self, calls: int) -> None:
        """Tell the owner once when a call is sent while `calls` others are in flight; 0: never."""

    def begin_probe(self, call: Any) -> None:
        """Note that a call only asks for health; an engine may answer it by a ping of its protocol."""

    def end_probe(self, call: Any) -> None:
        """Note that such a call ended, or was not sent."""

    def present(self, token: bytes) -> None:
        """Show the server another token, after it accepted an expiring one."""

    def retire(self) -> None:
        """Take no new calls, and close once the calls under way have ended."""

    def close(self) -> None:
        """Close once all output is sent; calls under way fail."""

    def abort(self) -> None:
        """Close at once."""

    def stats(self) -> dict[str, int]:
        """Return `calls`, `waiting`, `buffered` and `credit`."""


@named_value_class
class ClientParts:
    """The parts of one connection of a client, for its engine."""

    protocol: "Protocol"
    endpoint: "Endpoint"
    config: "ClientConfig"
    #: The timeouts of the configuration, without `idle` where the connection stays open.
    timeouts: "Timeouts"
    #: The settings that the native protocol announces.
    settings: WireSettings
    #: Notified of the connection's state; None for threads, which check it.
    owner: Any = None
    #: The loop of the connection; None for threads.
    loop: asyncio.AbstractEventLoop | None = None
    #: A token to present, or None; and whether there may be another token later.
    credential: bytes | None = None
    renews: bool = False
    #: Whether the client serves calls of its servers.
    serves: bool = False
    #: The factor by which its pings are rarer than the settings say, because the server found them too many.
    ping_factor: int = 1

    @property
    def loop_state(self) -> LoopState | None:
        """The state of the loop, which watches deadlines."""
        return None if self.loop is None else loop_state(self.loop)


@named_value_class
class HealthCheck:
    """The call by which a server of a protocol reports its health."""

    method: str
    codec: str
    #: Makes the argument of the call for the name of a service.
    question: Callable[[str], Any]
    #: Returns "SERVING" for an answer, or the reason why the service is not serving.
    verdict: Callable[[Any], str]


@named_value_class
class ClientTraits:
    """The properties of a protocol of clients that are known without a connection."""

    #: Whether the payload of a call is one value, not an array of its arguments.
    takes_values: bool = False
    #: Whether the payload is a protobuf message that follows the schema of the method's types.
    takes_messages: bool = False
    has_streams: bool = False
    #: Whether a client can serve calls of its servers.
    serves: bool = False
    #: The names of its compressors; None: the compressors that both sides have.
    compressors: tuple[str, ...] | None = None
    #: None: the health check of the native protocol.
    health: HealthCheck | None = None
    #: Makes the layer that translates between an engine's stream and its transport; None: no translation.
    stream_layer: Callable[[ClientParts, StreamSession], Any] | None = None
    io_layer: Callable[[ClientParts, BlockingIO], BlockingIO] | None = None


@value_class
class Protocol:
    """A protocol that servers or clients can speak, or both."""

    name: str
    #: Takes the bytes received so far, at most 256. The first YES in the order of `ServerConfig.protocols` is final,
    #: even if an earlier protocol asked for more bytes.
    detect: Callable[[bytes], Match] | None = None
    server_engine: Callable[[ServerParts], Engine] | None = None
    client_engine: Callable[[ClientParts], Engine] | None = None
    #: The names on which TLS may agree by ALPN, the client's first; None for no name.
    agreed: tuple[str | None, ...] = (None,)
    traits: ClientTraits = ClientTraits()


_protocols: dict[str, Protocol] = {}

#: The modules of our protocols, which register their halves. They are imported on first use.
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

    Its two halves may be registered one after the other.

    Args:
        detect: decides by the first bytes of a server's connection whether it speaks the protocol.
        server_engine: makes the engine of a server's connection; it fits `ServerEngine`.
        client_engine: makes the engine of a client's connection, of a loop or of threads; it fits `ClientEngine`.
        agreed: the names for ALPN: the name that clients offer first, and None for a peer without ALPN; left out, the
            names of the other half, else none.
        traits: the properties of the client half.

    Raises:
        ConfigError: another protocol has that name, or neither half is given.
    """
    if (detect is None) != (server_engine is None) or (server_engine is None and client_engine is None):
        raise ConfigError(
            f"protocol {name!r} has no engine", hint="give detect and server_engine, or client_engine, or all"
        )
    if agreed is None:
        agreed = _protocols[name].agreed if name in _protocols else (None,)
    elif not agreed:
        raise ConfigError(f"protocol {name!r} agrees to nothing by ALPN", hint="give (None,) for no name")
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
    """Return whether a protocol still has everything that was registered for it before."""
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
    """Return a registered protocol of servers; `ServerConfig` has already refused unknown names."""
    known = _protocols.get(name)
    if (known is None or known.server_engine is None) and name in _SERVERS:
        importlib.import_module(_SERVERS[name])
    return _protocols[name]


def serves_pages_by_http2(config: "ServerConfig") -> bool:
    """Return whether the HTTP gateway of a server takes HTTP/2."""
    return "http" in config.protocols and config.http.http2


def server_protocols(config: "ServerConfig") -> list[Protocol]:
    """Return the protocols that a server detects: the names in its settings, and HTTP/2 for the gateway.

    One engine serves gRPC and, by HTTP/2, the gateway: the name `grpc` stands for it if the settings have that name.
    """
    found = [protocol_named(name) for name in config.protocols]
    if serves_pages_by_http2(config) and "grpc" not in config.protocols:
        found.append(replace(protocol_named("grpc"), name="HTTP/2"))
    return found


def client_protocol(name: str) -> Protocol:
    """Return a registered protocol of clients; `ClientConfig` has already refused unknown names."""
    known = _protocols.get(name)
    if (known is None or known.client_engine is None) and name in _CLIENTS:
        importlib.import_module(_CLIENTS[name])
    return _protocols[name]


def linked(wire: "Wire", parts: ServerParts, *, timeouts: "Timeouts | None" = None) -> "Link":
    """Return the engine of a server's connection whose protocol is a `Wire`: the link that holds it.

    Args:
        timeouts: replace the timeouts of the server's settings.

    Raises:
        RuntimeError: another link holds the wire.
    """
    # Imported on first use: clients have no such connections.
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
