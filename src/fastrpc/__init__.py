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

import logging

from fastrpc._core.call import Call, current_call
from fastrpc._core.metadata import Metadata
from fastrpc._version import __version__
from fastrpc.client.client import Client
from fastrpc.client.sync_client import SyncClient
from fastrpc.config import (
    TLS,
    Admission,
    Backoff,
    ClientConfig,
    Keepalive,
    Limits,
    Memory,
    Pool,
    ServerConfig,
    Timeouts,
)
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import (
    BrokerError,
    CallError,
    CircuitOpenError,
    CodecError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    EncodeError,
    FastRPCError,
    LocalProtocolError,
    NoEndpointError,
    OverloadedError,
    ProtocolError,
    RemoteProtocolError,
    StoreError,
    StreamEndedError,
    UnavailableError,
)
from fastrpc.rpc.interceptor import Interceptor, Proceed
from fastrpc.rpc.peer import Identity, Peer
from fastrpc.rpc.reply import Reply
from fastrpc.rpc.scope import detached, timeout
from fastrpc.rpc.service import method, service
from fastrpc.server.serve import serve
from fastrpc.server.server import Server
from fastrpc.status import Status

__all__ = [
    "TLS",
    "Address",
    "Admission",
    "Backoff",
    "BrokerError",
    "Call",
    "CallError",
    "CircuitOpenError",
    "Client",
    "ClientConfig",
    "CodecError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "DecodeError",
    "EncodeError",
    "Endpoint",
    "FastRPCError",
    "Identity",
    "Interceptor",
    "Keepalive",
    "Limits",
    "LocalProtocolError",
    "Memory",
    "Metadata",
    "NoEndpointError",
    "OverloadedError",
    "Peer",
    "Pool",
    "Proceed",
    "ProtocolError",
    "RemoteProtocolError",
    "Reply",
    "Server",
    "ServerConfig",
    "Status",
    "StoreError",
    "StreamEndedError",
    "SyncClient",
    "Timeouts",
    "UnavailableError",
    "__version__",
    "current_call",
    "detached",
    "method",
    "serve",
    "service",
    "timeout",
]

# Silent unless the program configures logging: without a handler Python itself prints warnings to stderr.
logging.getLogger("fastrpc").addHandler(logging.NullHandler())
