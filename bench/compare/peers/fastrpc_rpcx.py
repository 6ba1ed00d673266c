"""fastrpc over the wire of rpcx: with itself, and each side with the other side of Go's rpcx."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import fastrpc
from bench.compare.load import AsyncOperation
from bench.compare.peers.base import AsyncClient, AsyncServer, Mixed, Peer
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


OURS = FastRPCRpcx("fastrpc_rpcx", "fastrpc over rpcx's wire", family="fastrpc, rpcx", by_default=False)

PEERS: tuple[Peer, ...] = (
    OURS,
    Mixed(
        "fastrpc_rpcx_client",
        "fastrpc's client, rpcx's server",
        client=OURS,
        server=RPCX,
        scheme="tcp://",
        operations=["rpcx_mul"],
    ),
    Mixed(
        "fastrpc_rpcx_server",
        "rpcx's client, fastrpc's server",
        client=RPCX,
        server=OURS,
        operations=["rpcx_mul"],
    ),
)
