"""grpclib, the pure Python gRPC: one channel, generated base class and stub.

Raw payloads use a codec that passes bytes on, typed ones protobuf with the default codec.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpclib.client
import grpclib.server
from grpclib.const import Cardinality, Handler
from grpclib.encoding.proto import ProtoCodec

from bench.compare.load import AsyncOperation
from bench.compare.peers.base import AsyncClient, AsyncServer, Peer
from bench.compare.protobuf import build_record, generate_modules, load_grpclib_services, load_messages
from bench.compare.workloads import Workload, plain_record


class RawCodec(ProtoCodec):  # type: ignore[misc]
    """Bytes as they are, messages as protobuf."""

    def encode(self, message: Any, message_type: Any) -> bytes:
        encoded: bytes = message if message_type is bytes else super().encode(message, message_type)
        return encoded

    def decode(self, data: bytes, message_type: Any) -> Any:
        return bytes(data) if message_type is bytes else super().decode(data, message_type)


class _Raw:
    async def echo(self, stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    def __mapping__(self) -> dict[str, Handler]:
        return {"/bench.Raw/Echo": Handler(self.echo, Cardinality.UNARY_UNARY, bytes, bytes)}


def _typed_service() -> Any:
    messages, services = load_messages(), load_grpclib_services()

    class Typed(services.TypedBase):  # type: ignore[misc, name-defined]
        async def Mul(self, stream: Any) -> None:  # noqa: N802  (named by bench.proto)
            factors = await stream.recv_message()
            await stream.send_message(messages.Product(value=factors.a * factors.b))

        async def Echo(self, stream: Any) -> None:  # noqa: N802  (named by bench.proto)
            await stream.send_message(await stream.recv_message())

    return Typed()


class Grpclib(AsyncServer, AsyncClient):
    """grpclib on uvloop."""

    loop = "uvloop"

    def prepare(self) -> None:
        generate_modules("grpclib_python")

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        server = grpclib.server.Server([_Raw(), _typed_service()], codec=RawCodec())
        listener = socket.create_server(("127.0.0.1", 0))
        await server.start(sock=listener)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.close()
            await server.wait_closed()

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        host, _, port = address.partition(":")
        async with grpclib.client.Channel(host, int(port), codec=RawCodec()) as channel:
            yield _operation(channel, workload)


def _operation(channel: Any, workload: Workload) -> AsyncOperation:
    if workload.operation == "echo":
        echo = grpclib.client.UnaryUnaryMethod(channel, "/bench.Raw/Echo", bytes, bytes)
        payload = workload.payload
        return AsyncOperation(lambda: echo(payload))
    messages, stub = load_messages(), load_grpclib_services().TypedStub(channel)
    if workload.operation == "mul":
        return AsyncOperation(lambda: stub.Mul(messages.Factors(a=6, b=7)), lambda product: product.value)
    return AsyncOperation(lambda: stub.Echo(build_record(messages)), plain_record)


PEERS: tuple[Peer, ...] = (Grpclib("grpclib", "grpclib, uvloop", family="grpclib"),)
