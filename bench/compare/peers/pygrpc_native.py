"""pygrpc-native: a server with grpc.aio's names whose HTTP/2 runs in Rust. It has no client."""

from typing import Any

import pygrpc_native.aio

from bench.compare.one_side import server_alone
from bench.compare.peers.base import Peer
from bench.compare.peers.grpc_aio import GrpcAio


class PygrpcNative(GrpcAio):
    """The program of grpc.aio with this server; without grpc.aio it offers nothing."""

    operations = ()
    library: Any = pygrpc_native.aio


SERVER = PygrpcNative("pygrpc_native", "pygrpc-native, uvloop", "uvloop", family="pygrpc-native")

PEERS: tuple[Peer, ...] = (SERVER, *server_alone(SERVER, "pygrpc_native", "pygrpc-native"))
