"""The hot paths: small workloads, each of which can be run any number of times."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

import fastrpc
from bench.guard.tape import RecordedTransport
from fastrpc._core.base.histogram import MethodCounters
from fastrpc._core.base.timer_wheel import TimerWheel
from fastrpc._core.native.call_table import CallTable
from fastrpc._core.wire.native import NativeProtocol
from fastrpc.transports.base import add_transport, remove_transport
from fastrpc_harness import hot_loops
from fastrpc_harness.echo_connection import EchoConnection

__all__ = ["BATCH", "CALL_PATHS", "CORE_PATHS", "CallPath", "connected", "listening", "load"]

#: Calls in flight, or in one batch; counts are multiples of it.
BATCH = 64
#: Messages of one stream.
STREAMED = 16
#: Requests that one connection may make.
MOST_REQUESTS = 32
#: Call tables over which a count is the mean.
TABLES = 64

PAYLOAD = b"x" * 32
ADDRESS = "guard://recorded:1"
SECOND = 1_000_000_000


class Record(msgspec.Struct):
    """A small typed value with a bit of everything."""

    id: int
    name: str
    score: float
    tags: list[str]


@fastrpc.service("guard")
class Guard:
    """The called methods."""

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method(inline=True)
    def product(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def record(self, record: Record) -> Record:
        return record

    @fastrpc.method(codec="raw")
    async def follow(self, payload: bytes) -> AsyncIterator[bytes]:
        for _ in range(STREAMED):
            yield payload

    @fastrpc.method
    async def records(self, record: Record) -> AsyncIterator[Record]:
        for _ in range(STREAMED):
            yield record

    @fastrpc.method
    async def later(self, number: int) -> int:
        await asyncio.sleep(0)
        return number


async def follow(client: fastrpc.Client) -> list[bytes]:
    """Take the messages of a stream."""
    async with client.stream(Guard.follow, PAYLOAD) as messages:
        return [message async for message in messages]


def posted(method: str, arguments: dict[str, Any]) -> bytes:
    """Return the request of a call by HTTP."""
    body = msgspec.json.encode(arguments)
    head = f"POST /guard/{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def by_streams(method: str, arguments: dict[str, Any]) -> tuple[bytes, ...]:
    """Return the requests of a call on a connection of HTTP/2, which follow each other.

    The first request puts its fields into the table of the connection; later requests refer to them, as with real
    clients do.
    """
    body = msgspec.json.encode(arguments)
    literals = (
        (b"\x44", f"/guard/{method}".encode()),
        (b"\x41", b"localhost"),
        (b"\x5f", b"application/json"),
        (b"\x5c", b"%d" % len(body)),
    )
    first = b"\x83\x86" + b"".join(name + bytes((len(value),)) + value for name, value in literals)
    blocks = [first] + [b"\x83\x86\xc1\xc0\xbf\xbe"] * (MOST_REQUESTS - 1)
    return tuple(
        _frame(1, 4, 2 * number + 1, block) + _frame(0, 1, 2 * number + 1, body)
        for number, block in enumerate(blocks)
    )


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


async def pass_on(call: Any, proceed: Any) -> Any:
    """Do nothing, as an interceptor."""
    return await proceed(call)


Operation = Callable[[fastrpc.Client], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class CallPath:
    """One way to call, as run by one of `BATCH` callers or, if `is_batch`, for all of them at once."""

    #: None for a path by HTTP, for which there is no client here, so that only the server is counted.
    operation: Operation | None = None
    #: The result; by HTTP a part of the response.
    expected: Any
    is_batch: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    interceptors: tuple[Any, ...] = ()
    #: The protocol that both sides speak.
    wire: Literal["native", "grpc", "http"] = "native"
    #: Fed by each connection by turns if there is no operation; a single request is repeated.
    requests: tuple[bytes, ...] = ()
    #: The first bytes of each connection, by which a server of HTTP chooses the version.
    opening: bytes = b""
    #: Whether the server has admin pages, and so keeps the last failed and slow calls. Only the server is counted then.
    has_pages: bool = False


RECORD = Record(123456789, "the quick brown fox", 0.6180339887, ["alpha", "bravo", "charlie", "delta"])

CALL_PATHS: dict[str, CallPath] = {
    "raw echo": CallPath(operation=lambda client: client.call(Guard.echo, PAYLOAD), expected=PAYLOAD),
    "raw echo, admin pages": CallPath(
        operation=lambda client: client.call(Guard.echo, PAYLOAD), expected=PAYLOAD, has_pages=True
    ),
    "raw echo, a view each": CallPath(
        operation=lambda client: client.with_options(hash_key=7).call(Guard.echo, PAYLOAD), expected=PAYLOAD
    ),
    "typed mul": CallPath(operation=lambda client: client.call(Guard.mul, 6, 7), expected=42),
    "typed record": CallPath(operation=lambda client: client.call(Guard.record, RECORD), expected=RECORD),
    "with metadata": CallPath(
        operation=lambda client: client.call(Guard.mul, 6, 7),
        expected=42,
        options={"metadata": {"tenant": "blue"}},
    ),
    "with metadata and interceptors": CallPath(
        operation=lambda client: client.call(Guard.mul, 6, 7),
        expected=42,
        options={"metadata": {"tenant": "blue"}},
        interceptors=(pass_on,),
    ),
    "suspended handler": CallPath(operation=lambda client: client.call(Guard.later, 7), expected=7),
    "inline handler": CallPath(operation=lambda client: client.call(Guard.product, 6, 7), expected=42),
    "call_many": CallPath(
        operation=lambda client: client.call_many(Guard.mul, [(6, 7)] * BATCH),
        expected=[42] * BATCH,
        is_batch=True,
    ),
    "gRPC, raw echo": CallPath(
        operation=lambda client: client.call(Guard.echo, PAYLOAD), expected=PAYLOAD, wire="grpc"
    ),
    "gRPC, a stream of 16 messages": CallPath(operation=follow, expected=[PAYLOAD] * STREAMED, wire="grpc"),
    "HTTP, typed record": CallPath(
        wire="http", requests=(posted("record", {"record": RECORD}),), expected=msgspec.json.encode(RECORD)
    ),
    "HTTP, a stream of 16 lines": CallPath(
        wire="http",
        requests=(posted("records", {"record": RECORD}),),
        expected=b'{"end":{"metadata":{}}}\n',
    ),
    "HTTP/2, typed record": CallPath(
        wire="http",
        opening=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(4, 1, 0, b""),
        requests=by_streams("record", {"record": RECORD}),
        expected=msgspec.json.encode(RECORD),
    ),
}


@asynccontextmanager
async def listening(path: CallPath, transport: RecordedTransport) -> AsyncIterator[None]:
    """Serve over `transport`."""
    config = fastrpc.ServerConfig(
        keepalive=fastrpc.Keepalive(interval=None),
        protocols=(path.wire,),
        http=fastrpc.HTTP(http2=path.wire != "http" or bool(path.opening)),
        admin_address="tcp://127.0.0.1:0" if path.has_pages else None,
    )
    add_transport(transport)
    try:
        async with fastrpc.Server(Guard(), config=config, interceptors=path.interceptors) as server:
            await server.listen(ADDRESS)
            yield
    finally:
        remove_transport(transport)


@asynccontextmanager
async def connected(path: CallPath, transport: RecordedTransport) -> AsyncIterator[fastrpc.Client]:
    """Connect over `transport`, whose server is known already or on which nothing listens."""
    config = fastrpc.ClientConfig(keepalive=fastrpc.Keepalive(interval=None), wire_protocol=path.wire)
    add_transport(transport)
    try:
        async with fastrpc.Client(ADDRESS, interceptors=path.interceptors, config=config) as client:
            await client.ready()
            yield client.with_options(**path.options) if path.options else client
    finally:
        remove_transport(transport)


async def load(path: CallPath, client: fastrpc.Client, calls: int) -> None:
    """Make a number of calls, a multiple of `BATCH`."""
    operation, turns = path.operation, range(calls // BATCH)
    assert operation is not None

    async def call_repeatedly() -> None:
        for _ in turns:
            await operation(client)

    if path.is_batch:
        await call_repeatedly()
        return
    async with asyncio.TaskGroup() as callers:
        for _ in range(BATCH):
            callers.create_task(call_repeatedly())


def _native(fields: dict[str, Any], peer_parity: int) -> tuple[NativeProtocol, bytes]:
    protocol = NativeProtocol()
    protocol.peer_parity = peer_parity
    return protocol, protocol.encode({"id": 1, "codec": 1, **fields})


def _add_and_take(tables: list[CallTable], count: int) -> None:
    """Divide the calls among tables: each table spreads ids by a separate secret, and some secrets spread better."""
    for table in tables:
        hot_loops.add_and_take(table, count // len(tables), 1, BATCH, None)


def _core_paths() -> Iterator[tuple[str, Callable[[int], object]]]:
    server, request = _native(
        {"kind": 0x82, "timeout_us": 10**6, "method": b"arith.mul", "payload": b"\x92\x06\x07"}, 1
    )
    client, response = _native({"kind": 0x83, "elapsed_us": 250, "payload": b"\x2a"}, 0)
    yield "parse a request", lambda count: hot_loops.parse_frames(server, count, request)
    yield "parse a response", lambda count: hot_loops.parse_frames(client, count, response)
    yield "write a request", lambda count: hot_loops.write_frames(server, count, request)
    yield "write a response", lambda count: hot_loops.write_frames(client, count, response)
    wheel, counters = TimerWheel(), MethodCounters("guard.echo", "server")
    tables = [CallTable() for _ in range(TABLES)]
    yield "call table: add and take", lambda count: _add_and_take(tables, count)
    yield "timer wheel: add and cancel", lambda count: hot_loops.add_and_cancel(wheel, count, 5 * SECOND)
    yield "histogram: count a call", lambda count: hot_loops.count_calls(counters, count, 50_000)
    near, far = EchoConnection(is_client=True), EchoConnection(is_client=False)
    near.exchange(far)
    yield "both connections, no loop", lambda count: near.make_calls(far, count, BATCH, b"\x92\x06\x07")


#: Parts that run in a loop in C: (count) does it so many times.
CORE_PATHS: dict[str, Callable[[int], object]] = dict(_core_paths())
