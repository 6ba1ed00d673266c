"""fastrpc's HTTP gateway with default settings, on one port with the native protocol."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import fastrpc
from bench.compare.http_load import HELLO, build_generator, load_command
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import AsyncServer, Peer
from bench.compare.peers.fastrpc import Record
from bench.compare.workloads import Operation, Workload


@fastrpc.service("bench")
class Bench:
    """The methods at `RECORD_PATH` and `HELLO_PATH`."""

    @fastrpc.method
    async def record(self, record: Record) -> Record:
        return record

    @fastrpc.method(safe=True)
    async def hello(self) -> str:
        return HELLO


class FastRPCHttp(AsyncServer):
    """A server on uvloop."""

    loop = "uvloop"
    operations: ClassVar[Collection[Operation]] = ("http_record", "http_hello")

    def prepare(self) -> None:
        build_generator()

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        config = fastrpc.ServerConfig(protocols=("native", "http"))
        async with fastrpc.Server(Bench(), config=config) as server:
            yield str(await server.listen("tcp://127.0.0.1:0"))

    def client_command(self, order: LoadOrder) -> list[str]:
        # Arguments are named in the body of a call.
        return load_command(order, parameter="record")


PEERS: tuple[Peer, ...] = (
    FastRPCHttp("fastrpc_http", "fastrpc, HTTP, uvloop", family="fastrpc, HTTP", by_default=False),
)
