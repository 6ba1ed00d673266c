"""gRPC's own Python stack on asyncio, set up as its documentation advises: one channel, stubs reused.

Raw payloads use handlers without serializers, typed ones generated stubs and servicers.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.compare.load import AsyncOperation
from bench.compare.one_side import client_alone, server_alone
from bench.compare.peers.base import AsyncClient, AsyncServer, Loop, Peer
from bench.compare.protobuf import (
    build_order,
    build_record,
    generate_modules,
    grpc_options,
    load_messages,
    load_services,
)
from bench.compare.stream_load import AsyncStreams
from bench.compare.workloads import Workload, plain_record


async def _echo(request: bytes, context: Any) -> bytes:
    return request


def _add_raw_servicer_to_server(server: Any) -> None:
    """Register the method of raw bytes twice, as generated code does: some servers read only the second one."""
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Raw", handlers),))
    server.add_registered_method_handlers("bench.Raw", handlers)


def _typed_servicer() -> Any:
    messages, services = load_messages(), load_services()

    class Typed(services.TypedServicer):  # type: ignore[misc, name-defined]
        async def Mul(self, request: Any, context: Any) -> Any:  # noqa: N802  (named by bench.proto)
            return messages.Product(value=request.a * request.b)

        async def Echo(self, request: Any, context: Any) -> Any:  # noqa: N802  (named by bench.proto)
            return request

    return Typed()


def _streams_servicer() -> Any:
    messages, services = load_messages(), load_services()

    class Streams(services.StreamsServicer):  # type: ignore[misc, name-defined]
        async def Receive(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  (named by bench.proto)
            payload = b"x" * request.size
            for _ in range(request.count):
                yield messages.Chunk(data=payload)

        async def Send(self, requests: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802
            size = 0
            async for chunk in requests:
                size += len(chunk.data)
            return messages.Total(size=size)

        async def Exchange(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
            async for chunk in requests:
                yield chunk

    return Streams()


class GrpcStreams(AsyncStreams):
    """Streams through the generated stub."""

    def __init__(self, channel: Any, workload: Workload) -> None:
        self._messages = load_messages()
        self._stub = load_services().StreamsStub(channel)
        self._workload = workload

    def build(self, payload: bytes) -> Any:
        return self._messages.Chunk(data=payload)

    def plain(self, message: Any) -> Any:
        return message.data

    @asynccontextmanager
    async def receive(self, count: int) -> AsyncIterator[AsyncIterator[Any]]:
        call = self._stub.Receive(build_order(self._messages, self._workload, count))
        try:
            yield call
        finally:
            call.cancel()

    async def send(self, messages: AsyncIterator[Any]) -> int:
        total = await self._stub.Send(messages)
        return int(total.size)

    @asynccontextmanager
    async def exchange(self, messages: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
        yield self._stub.Exchange(messages)


class GrpcAio(AsyncServer, AsyncClient):
    """grpc.aio on one of the two loops."""

    operations = (*AsyncServer.operations, "server_stream", "client_stream", "both_ways")

    #: The library with grpc.aio's names.
    library: Any = grpc.aio

    def __init__(self, name: str, title: str, loop: Loop, *, family: str = "grpc.aio") -> None:
        super().__init__(name, title, family=family, by_default=family == "grpc.aio")
        self.loop = loop

    def prepare(self) -> None:
        generate_modules()

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        server = self.library.server(options=grpc_options(workload))
        _add_raw_servicer_to_server(server)
        load_services().add_TypedServicer_to_server(_typed_servicer(), server)
        load_services().add_StreamsServicer_to_server(_streams_servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        async with self.library.insecure_channel(address, options=grpc_options(workload)) as channel:
            await channel.channel_ready()
            yield _operation(channel, workload)

    @asynccontextmanager
    async def streaming(self, address: str, workload: Workload) -> AsyncIterator[AsyncStreams]:
        async with self.library.insecure_channel(address, options=grpc_options(workload)) as channel:
            await channel.channel_ready()
            yield GrpcStreams(channel, workload)


def _operation(channel: Any, workload: Workload) -> AsyncOperation:
    if workload.operation == "echo":
        echo, payload = channel.unary_unary("/bench.Raw/Echo"), workload.payload
        return AsyncOperation(lambda: echo(payload))
    messages, stub = load_messages(), load_services().TypedStub(channel)
    if workload.operation == "mul":
        return AsyncOperation(lambda: stub.Mul(messages.Factors(a=6, b=7)), lambda product: product.value)
    return AsyncOperation(lambda: stub.Echo(build_record(messages)), plain_record)


AIO = GrpcAio("grpc_uvloop", "grpc.aio, uvloop", "uvloop")

PEERS: tuple[Peer, ...] = (
    GrpcAio("grpc_asyncio", "grpc.aio, asyncio", "asyncio"),
    AIO,
    *server_alone(AIO, "grpc_uvloop", "grpc.aio"),
    client_alone(AIO, "grpc_uvloop", "grpc.aio"),
)
