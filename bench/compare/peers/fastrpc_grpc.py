"""fastrpc over the wire of gRPC: with itself, by grpc.aio's own names, and each side with the other side of theirs."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fastrpc
import fastrpc.grpc
from bench.compare.fastrpc_streams import FastRPCStreams, Streams
from bench.compare.load import AsyncOperation, BlockingOperation
from bench.compare.one_side import client_alone, server_alone
from bench.compare.peers.base import AsyncClient, AsyncServer, BlockingClient, Loop, Mixed, Peer
from bench.compare.peers.grpc_aio import AIO, GrpcAio
from bench.compare.peers.grpc_go import GRPC_GO
from bench.compare.protobuf import build_record, generate_modules, load_messages
from bench.compare.stream_load import AsyncStreams
from bench.compare.workloads import Operation, Workload, plain_record

#: Our server speaks its own protocol on the same port.
CONFIG = fastrpc.ServerConfig(protocols=("native", "grpc"))
CLIENT_CONFIG = fastrpc.ClientConfig(wire_protocol="grpc")


@fastrpc.service("bench.Raw")
class Raw:
    """The service of raw payloads."""

    @fastrpc.method("Echo", codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload


class Typed:
    """The servicer of `Typed` in bench.proto."""

    async def Mul(self, request: Any) -> Any:  # noqa: N802  (named by bench.proto)
        return load_messages().Product(value=request.a * request.b)

    async def Echo(self, request: Any) -> Any:  # noqa: N802  (named by bench.proto)
        return request


def _service_named(name: str) -> Any:
    return load_messages().DESCRIPTOR.services_by_name[name]


class _Serving(AsyncServer):
    """Our server on uvloop."""

    loop: Loop = "uvloop"
    operations: ClassVar[tuple[Operation, ...]] = ("echo", "record", "server_stream")

    def prepare(self) -> None:
        generate_modules()

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        generated = fastrpc.grpc.service(_service_named("Typed"), Typed())
        async with fastrpc.Server(Raw(), Streams(), generated, config=CONFIG) as server:
            yield str(await server.listen("tcp://127.0.0.1:0"))


class FastRPCGrpc(_Serving, AsyncClient):
    """Both sides on uvloop."""

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        async with fastrpc.Client(address, config=CLIENT_CONFIG) as client:
            await client.ready(timeout=5)
            yield _operation(client, workload)

    @asynccontextmanager
    async def streaming(self, address: str, workload: Workload) -> AsyncIterator[AsyncStreams]:
        async with fastrpc.Client(address, config=CLIENT_CONFIG) as client:
            await client.ready(timeout=5)
            yield FastRPCStreams(client, workload)


def _operation(client: fastrpc.Client, workload: Workload) -> AsyncOperation:
    if workload.operation == "echo":
        call, payload = client.call, workload.payload
        return AsyncOperation(lambda: call(Raw.echo, payload))
    echo, messages = fastrpc.grpc.stub(_service_named("Typed"), client).Echo, load_messages()
    return AsyncOperation(lambda: echo(build_record(messages)), plain_record)


class FastRPCGrpcBlocking(_Serving, BlockingClient):
    """A client without an event loop, and the same server."""

    operations = ("echo",)

    @contextmanager
    def connected(self, address: str, workload: Workload) -> Iterator[Callable[[], BlockingOperation]]:
        with fastrpc.SyncClient(address, config=CLIENT_CONFIG) as client:
            call, payload = client.call, workload.payload
            yield lambda: BlockingOperation(lambda: call(Raw.echo, payload))


class FastRPCGrpcStub(GrpcAio):
    """The program of grpc.aio with our server and channel in place of its own."""

    library = fastrpc.grpc.aio


OURS = FastRPCGrpc("fastrpc_grpc", "fastrpc over gRPC's wire", family="fastrpc, gRPC", by_default=False)
STUB = FastRPCGrpcStub(
    "fastrpc_grpc_stub", "fastrpc by grpc.aio's names", "uvloop", family="fastrpc, generated code"
)

PEERS: tuple[Peer, ...] = (
    OURS,
    STUB,
    FastRPCGrpcBlocking(
        "fastrpc_grpc_blocking",
        "fastrpc over gRPC's wire, blocking client",
        family="fastrpc, gRPC, blocking",
        by_default=False,
    ),
    Mixed(
        "fastrpc_grpc_client",
        "fastrpc's client, grpc-go's server",
        client=OURS,
        server=GRPC_GO,
        scheme="tcp://",
        operations=["echo"],
    ),
    Mixed(
        "fastrpc_grpc_server",
        "grpc-go's client, fastrpc's server",
        client=GRPC_GO,
        server=OURS,
        operations=["echo"],
    ),
    Mixed(
        "fastrpc_grpc_server_aio",
        "grpc.aio's client, fastrpc's server",
        client=AIO,
        server=OURS,
        operations=["echo"],
    ),
    *server_alone(STUB, "fastrpc_grpc_stub", "fastrpc.grpc.aio"),
    client_alone(STUB, "fastrpc_grpc_stub", "fastrpc.grpc.aio"),
)
