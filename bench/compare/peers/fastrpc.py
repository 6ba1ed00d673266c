"""fastrpc through its public API, with default settings except transport and spinning."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

import fastrpc
from bench.compare.certificates import AUTHORITY, CERTIFICATE, KEY, make_certificates
from bench.compare.fastrpc_streams import FastRPCBlockingStreams, FastRPCStreams, Streams
from bench.compare.load import AsyncOperation, BlockingOperation
from bench.compare.peers.base import AsyncClient, AsyncServer, BlockingClient, Loop, Peer
from bench.compare.stream_load import AsyncStreams, BlockingStreams
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, Operation, Workload, plain_record

#: How long the spinning peers poll after the last activity.
SPIN_MICROSECONDS = 1000


#: Connections that are opened at once where a workload wants many.
OPENING = 64

#: The metadata entry of the workload that has one.
METADATA = {"tenant": "a-customer"}


class Record(msgspec.Struct):
    """The typed record of the workloads."""

    id: int
    name: str
    score: float
    tags: list[str]


@fastrpc.service("bench")
class Bench:
    """The methods that the benchmark calls."""

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method(codec="raw")
    def echo_def(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def record(self, record: Record) -> Record:
        return record


def build_record() -> Record:
    """Build the workloads' record, from nothing."""
    return Record(
        id=RECORD_ID,
        name=RECORD_NAME,
        score=RECORD_SCORE,
        tags=["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"],
    )


class Args(msgspec.Struct):
    """The arguments of `Arith.Mul`, named as in Go."""

    A: int
    B: int


class Reply(msgspec.Struct):
    """The result of `Arith.Mul`."""

    C: int


@fastrpc.service("Arith")
class Arith:
    """The service for the workload of rpcx."""

    @fastrpc.method
    async def Mul(self, args: Args) -> Reply:  # noqa: N802 - as a Go service has it
        return Reply(args.A * args.B)


def service_with(methods: int) -> type[Any]:
    """Make the service `methods`, which has the given number of methods."""
    members: dict[str, Any] = {}
    for index in range(methods):

        async def echo(self: object, payload: bytes) -> bytes:
            return payload

        members[f"echo_{index}"] = fastrpc.method(f"echo_{index}", codec="raw")(echo)
    return fastrpc.service("methods")(type("Methods", (), members))


async def pass_on(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    """Intercept a call and change nothing."""
    return await proceed(call)


class _Serving(AsyncServer):
    operations: ClassVar[Collection[Operation]] = ("echo", "mul", "record", "echo_batch")

    def __init__(
        self,
        name: str,
        title: str,
        *,
        loop: Loop = "uvloop",
        scheme: Literal["tcp", "tls", "unix"] = "tcp",
        spin_microseconds: int = 0,
        by_default: bool = False,
    ) -> None:
        super().__init__(name, title, family="fastrpc", by_default=by_default)
        self.loop = loop
        self._scheme = scheme
        self._spin_microseconds = spin_microseconds

    def prepare(self) -> None:
        super().prepare()
        if self._scheme == "tls":
            make_certificates()

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        tls = fastrpc.TLS(cert_file=CERTIFICATE, key_file=KEY) if self._scheme == "tls" else None
        config = fastrpc.ServerConfig(spin_microseconds=self._spin_microseconds, tls=tls)
        interceptors = [pass_on] if workload.operation == "echo_metadata" else []
        async with fastrpc.Server(_service(workload)(), config=config, interceptors=interceptors) as server:
            is_local = self._scheme == "unix"
            target = f"unix://{directory}/socket" if is_local else f"{self._scheme}://127.0.0.1:0"
            yield str(await server.listen(target))

    def _client_config(self) -> fastrpc.ClientConfig:
        tls = fastrpc.TLS(ca_file=AUTHORITY) if self._scheme == "tls" else None
        return fastrpc.ClientConfig(spin_microseconds=self._spin_microseconds, tls=tls)


def _service(workload: Workload) -> type[Any]:
    if workload.is_stream:
        return Streams
    if workload.operation == "rpcx_mul":
        return Arith
    return service_with(workload.methods) if workload.operation == "echo_methods" else Bench


class FastRPCAsync(_Serving, AsyncClient):
    """Client on an event loop."""

    operations = (
        *_Serving.operations,
        "echo_metadata",
        "echo_def",
        "echo_connections",
        "echo_methods",
        "rpcx_mul",
        "server_stream",
        "server_stream_many",
        "server_stream_def",
        "client_stream",
        "both_ways",
    )

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        interceptors = [pass_on] if workload.operation == "echo_metadata" else []
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    fastrpc.Client(address, config=self._client_config(), interceptors=interceptors)
                )
                for _ in range(workload.connections)
            ]
            for first in range(0, len(clients), OPENING):
                await asyncio.gather(
                    *(client.ready(timeout=5) for client in clients[first : first + OPENING])
                )
            operation = _async_operation(clients, workload)
            # First calls prepare objects that later ones reuse; the warm-up might be too short to reach every turn.
            for _ in range(max(workload.connections, workload.methods) - 1):
                await operation.run()
            yield operation

    @asynccontextmanager
    async def streaming(self, address: str, workload: Workload) -> AsyncIterator[AsyncStreams]:
        async with fastrpc.Client(address, config=self._client_config()) as client:
            await client.ready(timeout=5)
            yield FastRPCStreams(client, workload)


def _async_operation(clients: list[fastrpc.Client], workload: Workload) -> AsyncOperation:
    payload, client = workload.payload, clients[0]
    call = client.call
    match workload.operation:
        case "echo":
            return AsyncOperation(lambda: call(Bench.echo, payload))
        case "mul":
            return AsyncOperation(lambda: call(Bench.mul, 6, 7))
        case "record":
            return AsyncOperation(lambda: call(Bench.record, build_record()), plain_record)
        case "rpcx_mul":
            return AsyncOperation(lambda: call(Arith.Mul, Args(6, 7)), lambda reply: reply.C)
        case "echo_batch":
            batch = [(payload,)] * workload.batch
            return AsyncOperation(lambda: client.call_many(Bench.echo, batch))
        case "echo_metadata":
            annotated = client.with_options(metadata=METADATA).call
            return AsyncOperation(lambda: annotated(Bench.echo, payload))
        case "echo_def":
            return AsyncOperation(lambda: call(Bench.echo_def, payload))
        case "echo_connections":
            calls = itertools.cycle([client.call for client in clients])
            return AsyncOperation(lambda: next(calls)(Bench.echo, payload))
        case "echo_methods":
            contract = service_with(workload.methods)
            methods = itertools.cycle([getattr(contract, f"echo_{i}") for i in range(workload.methods)])
            return AsyncOperation(lambda: call(next(methods), payload))
        case _:
            raise NotImplementedError(workload.operation)


class FastRPCBlocking(_Serving, BlockingClient):
    """Blocking client, shared by the calling threads; the server stays on an event loop."""

    operations = (
        *_Serving.operations,
        "server_stream",
        "client_stream",
        "client_stream_many",
        "client_stream_list",
        "both_ways",
        "both_ways_many",
        "both_ways_list",
    )

    @contextmanager
    def connected(self, address: str, workload: Workload) -> Iterator[Callable[[], BlockingOperation]]:
        with fastrpc.SyncClient(address, config=self._client_config()) as client:
            yield lambda: _blocking_operation(client, workload)

    @contextmanager
    def streaming(self, address: str, workload: Workload) -> Iterator[BlockingStreams]:
        with fastrpc.SyncClient(address, config=self._client_config()) as client:
            yield FastRPCBlockingStreams(client, workload)


def _blocking_operation(client: fastrpc.SyncClient, workload: Workload) -> BlockingOperation:
    payload, call = workload.payload, client.call
    match workload.operation:
        case "echo":
            return BlockingOperation(lambda: call(Bench.echo, payload))
        case "mul":
            return BlockingOperation(lambda: call(Bench.mul, 6, 7))
        case "record":
            return BlockingOperation(lambda: call(Bench.record, build_record()), plain_record)
        case "echo_batch":
            batch = [(payload,)] * workload.batch
            return BlockingOperation(lambda: client.call_many(Bench.echo, batch))
        case _:
            raise NotImplementedError(workload.operation)


PEERS: tuple[Peer, ...] = (
    FastRPCAsync("fastrpc", "fastrpc, uvloop", by_default=True),
    FastRPCAsync("fastrpc_asyncio", "fastrpc, asyncio", loop="asyncio", by_default=True),
    FastRPCAsync("fastrpc_unix", "fastrpc, unix socket", scheme="unix"),
    FastRPCAsync("fastrpc_tls", "fastrpc, TLS 1.3", scheme="tls"),
    FastRPCBlocking("fastrpc_blocking_tls", "fastrpc, blocking client, TLS 1.3", scheme="tls"),
    FastRPCAsync("fastrpc_spin", "fastrpc, spinning", spin_microseconds=SPIN_MICROSECONDS),
    FastRPCBlocking("fastrpc_blocking", "fastrpc, blocking client"),
    FastRPCBlocking(
        "fastrpc_blocking_spin",
        "fastrpc, blocking client, unix socket, spinning",
        scheme="unix",
        spin_microseconds=SPIN_MICROSECONDS,
    ),
)
