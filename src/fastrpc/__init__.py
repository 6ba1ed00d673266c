"""An RPC engine for latency-sensitive Python services: a compiled core and a thin typed API."""

from fastrpc._core.call import Call, current_call
from fastrpc._core.metadata import Metadata
from fastrpc._version import __version__
from fastrpc.client.client import Client
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
from fastrpc.errors import *  # noqa: F403
from fastrpc.rpc import method, service
from fastrpc.rpc.interceptor import Interceptor, Proceed
from fastrpc.rpc.peer import Identity, Peer
from fastrpc.rpc.reply import Reply
from fastrpc.rpc.scope import detached, timeout
from fastrpc.server.server import Server
from fastrpc.status import Status

import logging as _logging

# Silent unless the program configures logging: without a handler Python itself prints warnings to stderr.
_logging.getLogger("fastrpc").addHandler(_logging.NullHandler())
