"""An RPC engine for latency-sensitive Python services: a compiled core and a thin typed API.

::

    @fastrpc.service("arith")
    class Arith:
        @fastrpc.method
        async def mul(self, a: int, b: int) -> int:
            return a * b

    fastrpc.serve(Arith, address="tcp://127.0.0.1:8972")          # one program

    async with fastrpc.Client("tcp://127.0.0.1:8972") as client:   # another one
        print(await client.call(Arith.mul, 6, 7))
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from fastrpc._version import __version__
from fastrpc.escaping import UnheardErrors as _UnheardErrors
from fastrpc.escaping import escape_loggers as _escape_loggers
from fastrpc.first_use import register as _register

__all__ = [
    "HTTP",
    "TLS",
    "Address",
    "Admission",
    "App",
    "Backoff",
    "Batcher",
    "BrokerError",
    "Call",
    "CallError",
    "CircuitOpenError",
    "Client",
    "ClientConfig",
    "CodecError",
    "CompactedError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "DecodeError",
    "EncodeError",
    "Endpoint",
    "FastRPCError",
    "Field",
    "Float32",
    "HTTPLimits",
    "Identity",
    "Interceptor",
    "Keepalive",
    "Limits",
    "LocalProtocolError",
    "LockHeldError",
    "LockLostError",
    "Memory",
    "Message",
    "Metadata",
    "NoEndpointError",
    "OverloadedError",
    "Peer",
    "PeerClient",
    "Place",
    "Pool",
    "Proceed",
    "ProtocolError",
    "RemoteProtocolError",
    "Reply",
    "Server",
    "ServerConfig",
    "Services",
    "Status",
    "StoreConflictError",
    "StoreError",
    "Stream",
    "StreamEndedError",
    "SyncClient",
    "SyncServices",
    "SyncStream",
    "Timeouts",
    "Topic",
    "UnavailableError",
    "Upload",
    "__version__",
    "asgi",
    "current_call",
    "detached",
    "discover",
    "function",
    "method",
    "scheduled",
    "serve",
    "service",
    "subscriber",
    "timeout",
]

#: The public names by the module that defines them. A module is imported when a program first uses one of its names, so
#: command lines start quickly, and clients import no server code.
_NAMES = {
    "_core.calls.call": (
        "Call",
        "current_call",
    ),
    "_core.payload.metadata": ("Metadata",),
    "batcher": ("Batcher",),
    "brokers.message": ("Message",),
    "brokers.topic": ("Topic",),
    "peers.peer": ("Peer",),
    "peers.peer_client": ("PeerClient",),
    "peers.stream": ("Stream",),
    "client.blocking.client": ("SyncClient",),
    "client.blocking.stream": ("SyncStream",),
    "client.client": ("Client",),
    "client.services.blocking": ("SyncServices",),
    "client.services.services": ("Services",),
    "config": (
        "HTTP",
        "TLS",
        "Admission",
        "Backoff",
        "ClientConfig",
        "HTTPLimits",
        "Keepalive",
        "Limits",
        "Memory",
        "Pool",
        "ServerConfig",
        "Timeouts",
    ),
    "endpoint": (
        "Address",
        "Endpoint",
    ),
    "errors": (
        "BrokerError",
        "CallError",
        "CircuitOpenError",
        "CodecError",
        "CompactedError",
        "ConfigError",
        "ConnectError",
        "ConnectionLostError",
        "DeadlineExceededError",
        "DecodeError",
        "EncodeError",
        "FastRPCError",
        "LocalProtocolError",
        "LockHeldError",
        "LockLostError",
        "NoEndpointError",
        "OverloadedError",
        "ProtocolError",
        "RemoteProtocolError",
        "StoreConflictError",
        "StoreError",
        "StreamEndedError",
        "UnavailableError",
    ),
    "discovery.finding": ("discover",),
    "hosting.application": ("asgi",),
    "place": ("Place",),
    "rpc.identity": ("Identity",),
    "rpc.interceptor": (
        "Interceptor",
        "Proceed",
    ),
    "rpc.protobuf.field": ("Field",),
    "rpc.reply": ("Reply",),
    "rpc.background.scheduling": ("scheduled",),
    "rpc.background.subscribing": ("subscriber",),
    "rpc.scope": (
        "detached",
        "timeout",
    ),
    "rpc.functions": ("function",),
    "rpc.marking": ("method",),
    "rpc.service": ("service",),
    "rpc.upload": ("Upload",),
    "server.server": ("Server",),
    "status": ("Status",),
    "types.floats": ("Float32",),
    "workers.app": ("App",),
    "workers.serve": ("serve",),
}

_MODULES = frozenset(
    {
        "auth",
        "brokers",
        "codecs",
        "config",
        "coordination",
        "endpoint",
        "errors",
        "failmodes",
        "files",
        "grpc",
        "interceptors",
        "limits",
        "metrics",
        "registries",
        "selectors",
        "status",
        "testing",
        "types",
    }
)

# Objects that lower-ranked packages use without importing them, by the group in which they look them up.
_register(
    "registries",
    {
        "any": "fastrpc.discovery.any_registry:open_any",
        "registry": "fastrpc.coordination.registry.client:open_embedded",
    },
)
_register("client", {"decode_details": "fastrpc.rpc.protobuf.status_details:decode_details"})
_register("transports", {"relay": "fastrpc.relay.transport:TRANSPORT"})
_register(
    "server",
    {
        "Broker": "fastrpc.brokers.broker:Broker",
        "Mounts": "fastrpc.hosting.mounts:Mounts",
        "Schedules": "fastrpc.coordination.schedules:Schedules",
        "Subscribers": "fastrpc.brokers.subscribers.subscribers:Subscribers",
        "open_broker": "fastrpc.brokers.broker:open_broker",
        "open_store": "fastrpc.coordination.store:open_store",
        "overview_of": "fastrpc.coordination.overview:overview_of",
    },
)

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

if TYPE_CHECKING:
    from fastrpc import auth as auth
    from fastrpc import brokers as brokers
    from fastrpc import codecs as codecs
    from fastrpc import config as config
    from fastrpc import coordination as coordination
    from fastrpc import endpoint as endpoint
    from fastrpc import errors as errors
    from fastrpc import failmodes as failmodes
    from fastrpc import files as files
    from fastrpc import grpc as grpc
    from fastrpc import interceptors as interceptors
    from fastrpc import limits as limits
    from fastrpc import metrics as metrics
    from fastrpc import registries as registries
    from fastrpc import selectors as selectors
    from fastrpc import status as status
    from fastrpc import testing as testing
    from fastrpc import types as types
    from fastrpc._core.calls.call import Call, current_call
    from fastrpc._core.payload.metadata import Metadata
    from fastrpc.batcher import Batcher
    from fastrpc.brokers.message import Message
    from fastrpc.brokers.topic import Topic
    from fastrpc.client.blocking.client import SyncClient
    from fastrpc.client.blocking.stream import SyncStream
    from fastrpc.client.client import Client
    from fastrpc.client.services.blocking import SyncServices
    from fastrpc.client.services.services import Services
    from fastrpc.config import (
        HTTP,
        TLS,
        Admission,
        Backoff,
        ClientConfig,
        HTTPLimits,
        Keepalive,
        Limits,
        Memory,
        Pool,
        ServerConfig,
        Timeouts,
    )
    from fastrpc.discovery.finding import discover
    from fastrpc.endpoint import Address, Endpoint
    from fastrpc.errors import (
        BrokerError,
        CallError,
        CircuitOpenError,
        CodecError,
        CompactedError,
        ConfigError,
        ConnectError,
        ConnectionLostError,
        DeadlineExceededError,
        DecodeError,
        EncodeError,
        FastRPCError,
        LocalProtocolError,
        LockHeldError,
        LockLostError,
        NoEndpointError,
        OverloadedError,
        ProtocolError,
        RemoteProtocolError,
        StoreConflictError,
        StoreError,
        StreamEndedError,
        UnavailableError,
    )
    from fastrpc.hosting.application import asgi
    from fastrpc.peers.peer import Peer
    from fastrpc.peers.peer_client import PeerClient
    from fastrpc.peers.stream import Stream
    from fastrpc.place import Place
    from fastrpc.rpc.background.scheduling import scheduled
    from fastrpc.rpc.background.subscribing import subscriber
    from fastrpc.rpc.functions import function
    from fastrpc.rpc.identity import Identity
    from fastrpc.rpc.interceptor import Interceptor, Proceed
    from fastrpc.rpc.marking import method
    from fastrpc.rpc.protobuf.field import Field
    from fastrpc.rpc.reply import Reply
    from fastrpc.rpc.scope import detached, timeout
    from fastrpc.rpc.service import service
    from fastrpc.rpc.upload import Upload
    from fastrpc.server.server import Server
    from fastrpc.status import Status
    from fastrpc.types.floats import Float32
    from fastrpc.workers.app import App
    from fastrpc.workers.serve import serve
else:  # Type checkers would accept any attribute name.

    def __getattr__(name: str) -> Any:
        """Import a public name or module of the package on first access: `fastrpc.Client`, `fastrpc.testing`."""
        if name in _MODULES:
            return importlib.import_module(f"fastrpc.{name}")
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'fastrpc' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"fastrpc.{_MODULE_OF[name]}"), name)
        globals()[name] = value  # From now on it is a plain attribute.
        return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _MODULES | _MODULE_OF.keys())


# Only errors are shown unless the program configures logging: without a handler Python prints warnings as well.
logging.getLogger("fastrpc").addHandler(_UnheardErrors())
_escape_loggers()
