"""fastrpc over the wire of rpcx: with itself, and each side with the other side of Go's rpcx."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import fastrpc
from bench.compare.load import AsyncOperation
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import AsyncClient, AsyncServer, Peer
from bench.compare.peers.fastrpc import Args, Arith
from bench.compare.peers.rpcx import RPCX
from bench.compare.workloads import Operation, Workload


class FastRPCRpcx(AsyncServer, AsyncClient):
    """Both sides on uvloop; the server speaks its own protocol on the same port."""

    loop = "uvloop"
    operations: ClassVar[tuple[Operation, ...]] = ("rpcx_mul",)

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        config = fastrpc.ServerConfig(protocols=("native", "rpcx"))
        async with fastrpc.Server(Arith(), config=config) as server:
            yield str(await server.listen("tcp://127.0.0.1:0"))

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        config = fastrpc.ClientConfig(wire_protocol="rpcx")
        async with fastrpc.Client(address, config=config) as client:
            await client.ready(timeout=5)
            call = client.call
            yield AsyncOperation(lambda: call(Arith.Mul, Args(6, 7)), lambda reply: reply.C)


class Mixed:
    """The client of one peer with the server of another one."""

    by_default = False

    def __init__(self, name: str, title: str, *, client: Peer, server: Peer, scheme: str = "") -> None:
        self.name = name
        self.title = title
        self.family = title
        self._client = client
        self._server = server
        #: What the client has before a server's host and port.
        self._scheme = scheme

    def offers(self, workload: Workload) -> bool:
        return workload.operation == "rpcx_mul"

    def prepare(self) -> None:
        self._client.prepare()
        self._server.prepare()

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        return self._server.server_command(directory, workload)

    def client_command(self, order: LoadOrder) -> list[str]:
        address = self._scheme + order.address.rpartition("//")[2]
        return self._client.client_command(replace(order, address=address))


OURS = FastRPCRpcx("fastrpc_rpcx", "fastrpc over rpcx's wire", family="fastrpc, rpcx", by_default=False)

PEERS: tuple[Peer, ...] = (
    OURS,
    Mixed(
        "fastrpc_rpcx_client", "fastrpc's client, rpcx's server", client=OURS, server=RPCX, scheme="tcp://"
    ),
    Mixed("fastrpc_rpcx_server", "rpcx's client, fastrpc's server", client=RPCX, server=OURS),
)
