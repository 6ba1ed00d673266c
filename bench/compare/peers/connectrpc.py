"""connectrpc in Rust: by its own protocol, by gRPC, and only its server by JSON (`bench/compare/rust/connectrpc`)."""

import json
from typing import Literal

import msgspec

from bench.compare.compiled import TYPED_CALLS, RustPeer, full_order
from bench.compare.generators import Request, command_of
from bench.compare.http_load import RECORD
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import Peer
from bench.compare.workloads import Workload

#: In protobuf's JSON an integer of 64 bits is a text.
RECORD_AS_JSON = msgspec.json.encode({**RECORD, "id": str(RECORD["id"])}).decode()

REQUEST = Request(path="/bench.Typed/Echo", body=RECORD_AS_JSON, expected=RECORD_AS_JSON)


class _ConnectRpc(RustPeer):
    """One program for all; its server has every protocol on one port."""

    @property
    def package(self) -> str:
        return "connectrpc_peer"


class BothSides(_ConnectRpc):
    """Client and server by one protocol, on one connection of HTTP/2."""

    def __init__(self, name: str, title: str, protocol: Literal["connect", "grpc"]) -> None:
        super().__init__(name, title, library="connectrpc", calls=TYPED_CALLS)
        self._protocol = protocol

    def client_command(self, order: LoadOrder) -> list[str]:
        return [str(self.program), "load", json.dumps({**full_order(order), "protocol": self._protocol})]


class ServerUnderWrk(_ConnectRpc):
    """Only the server, by HTTP/1.1; wrk reads its answers, which are chunked; `c_http` cannot read them."""

    def __init__(self, name: str, title: str) -> None:
        super().__init__(name, title, library="connectrpc", calls=("http_record",))
        self.by_default = False

    def offers(self, workload: Workload) -> bool:
        return super().offers(workload) and workload.generator == "wrk"

    def client_command(self, order: LoadOrder) -> list[str]:
        return command_of("wrk", order, REQUEST)


PEERS: tuple[Peer, ...] = (
    BothSides("connectrpc", "connectrpc, Connect", "connect"),
    BothSides("connectrpc_grpc", "connectrpc, gRPC", "grpc"),
    ServerUnderWrk("connectrpc_http", "connectrpc, JSON"),
)
