"""gRPC's own blocking Python stack: a thread per caller on one channel, handlers in a thread pool."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental

from bench.compare.load import BlockingOperation
from bench.compare.peers.base import BlockingClient, BlockingServer, Peer
from bench.compare.protobuf import (
    build_order,
    build_record,
    generate_modules,
    grpc_options,
    load_messages,
    load_services,
)
from bench.compare.stream_load import BlockingStreams
from bench.compare.workloads import Workload, plain_record

#: As many as fastrpc gives its own pool by default.
HANDLER_THREADS = 32

#: Reads server streams in the iterating thread, as gRPC's page on performance offers; a fourth faster here.
NO_READING_THREAD = ((grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),)


def _echo(request: bytes, context: Any) -> bytes:
    return request


def _typed_servicer() -> Any:
    messages, services = load_messages(), load_services()

    class Typed(services.TypedServicer):  # type: ignore[misc, name-defined]
        def Mul(self, request: Any, context: Any) -> Any:  # noqa: N802  (named by bench.proto)
            return messages.Product(value=request.a * request.b)

        def Echo(self, request: Any, context: Any) -> Any:  # noqa: N802  (named by bench.proto)
            return request

    return Typed()


def _streams_servicer() -> Any:
    messages, services = load_messages(), load_services()

    class Streams(services.StreamsServicer):  # type: ignore[misc, name-defined]
        def Receive(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802  (named by bench.proto)
            payload = b"x" * request.size
            for _ in range(request.count):
                yield messages.Chunk(data=payload)

        def Send(self, requests: Iterator[Any], context: Any) -> Any:  # noqa: N802  (named by bench.proto)
            return messages.Total(size=sum(len(chunk.data) for chunk in requests))

        def Exchange(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
            yield from requests

    return Streams()


class GrpcStreams(BlockingStreams):
    """Streams through the generated stub."""

    def __init__(self, channel: Any, workload: Workload) -> None:
        self._messages = load_messages()
        self._stub = load_services().StreamsStub(channel)
        self._workload = workload

    def build(self, payload: bytes) -> Any:
        return self._messages.Chunk(data=payload)

    def plain(self, message: Any) -> Any:
        return message.data

    @contextmanager
    def receive(self, count: int) -> Iterator[Iterator[Any]]:
        call = self._stub.Receive(build_order(self._messages, self._workload, count))
        try:
            yield call
        finally:
            call.cancel()

    def send(self, messages: Iterable[Any]) -> int:
        return int(self._stub.Send(iter(messages)).size)

    @contextmanager
    def exchange(self, messages: Iterable[Any]) -> Iterator[Iterator[Any]]:
        yield self._stub.Exchange(iter(messages))


class GrpcSync(BlockingServer, BlockingClient):
    """grpcio without an event loop; every handler runs in the pool."""

    operations = (
        *BlockingServer.operations,
        "echo_def",
        "server_stream",
        "client_stream",
        "both_ways",
    )

    def prepare(self) -> None:
        generate_modules()

    @contextmanager
    def serving(self, directory: Path, workload: Workload) -> Iterator[str]:
        server = grpc.server(ThreadPoolExecutor(HANDLER_THREADS), options=grpc_options(workload))
        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Raw", handlers),))
        load_services().add_TypedServicer_to_server(_typed_servicer(), server)
        load_services().add_StreamsServicer_to_server(_streams_servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait(1)

    @contextmanager
    def connected(self, address: str, workload: Workload) -> Iterator[Callable[[], BlockingOperation]]:
        with grpc.insecure_channel(address, options=grpc_options(workload)) as channel:
            operation = _operation(channel, workload)
            yield lambda: operation

    @contextmanager
    def streaming(self, address: str, workload: Workload) -> Iterator[BlockingStreams]:
        options = (*grpc_options(workload), *NO_READING_THREAD)
        with grpc.insecure_channel(address, options=options) as channel:
            yield GrpcStreams(channel, workload)


def _operation(channel: Any, workload: Workload) -> BlockingOperation:
    if workload.operation in {"echo", "echo_def"}:
        echo, payload = channel.unary_unary("/bench.Raw/Echo"), workload.payload
        return BlockingOperation(lambda: echo(payload))
    messages, stub = load_messages(), load_services().TypedStub(channel)
    if workload.operation == "mul":
        return BlockingOperation(lambda: stub.Mul(messages.Factors(a=6, b=7)), lambda product: product.value)
    return BlockingOperation(lambda: stub.Echo(build_record(messages)), plain_record)


PEERS: tuple[Peer, ...] = (GrpcSync("grpc_sync", "grpcio, threads", family="grpcio sync"),)
