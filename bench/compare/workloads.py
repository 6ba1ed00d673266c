"""The workloads of the peers and their values, the same for all.

`TABLE` holds the workloads of calls, `STREAMS` of streams, `TAILS` of fixed rates, `HTTP`, `HTTP2`, `RPCX` and `GRPC`
of other protocols, `CURVES` of growing quantities; `WORKLOADS` holds all workloads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bench.compare.workload import (
    RECORD_ID,
    RECORD_NAME,
    RECORD_SCORE,
    RECORD_TAGS,
    Curve,
    ForeignOperation,
    Operation,
    StreamOperation,
    Workload,
)

__all__ = [
    "CURVES",
    "GRPC",
    "HTTP",
    "HTTP2",
    "RECORD_ID",
    "RECORD_NAME",
    "RECORD_SCORE",
    "RECORD_TAGS",
    "RPCX",
    "STREAMS",
    "TABLE",
    "TAILS",
    "WORKLOADS",
    "Curve",
    "Operation",
    "StreamOperation",
    "Workload",
    "plain_record",
]

#: In these workloads both sides poll instead of sleeping, or have no event loop: they show the best possible W1.
LOW_LATENCY_PEERS = (
    "c_echo_spin",
    "c_echo_unix_spin",
    "fastrpc_blocking",
    "fastrpc_spin",
    "fastrpc_blocking_spin",
)

#: The peers of the streams: gRPC's stacks, the yardstick and fastrpc.
STREAM_PEERS = (
    "c_sink",
    "fastrpc",
    "fastrpc_asyncio",
    "fastrpc_blocking",
    "grpc_asyncio",
    "grpc_uvloop",
    "grpc_sync",
    "grpc_go",
    "tonic",
)


def _echo(name: str, title: str, in_flight: int, payload_bytes: int = 32, **changes: Any) -> Workload:
    workload = Workload(
        name=name, title=title, operation="echo", in_flight=in_flight, payload_bytes=payload_bytes
    )
    return replace(workload, **changes)


_TABLE = (
    _echo("W1", "32 B, one in flight", 1, sample_every=1, also_peers=LOW_LATENCY_PEERS),
    _echo("W2", "32 B, 64 in flight", 64),
    _echo("W2x512", "32 B, 512 in flight", 512),
    _echo(
        "W2meta",
        "32 B, 64 in flight, a metadata entry, an interceptor that does nothing on both sides",
        64,
        operation="echo_metadata",
        stand_in="W2",
    ),
    _echo(
        "W2def",
        "32 B, 64 in flight, plain functions as handlers in a pool of 32 threads",
        64,
        operation="echo_def",
        base_family="grpcio sync",
        also_peers=("grpc_sync",),
    ),
    Workload(name="mul", title="typed mul(int, int), 64 in flight", operation="mul", in_flight=64),
    Workload(name="W4", title="typed record built per call, 64 in flight", operation="record", in_flight=64),
    _echo("W5", "64 KiB, 16 in flight", 16, 64 * 1024),
    _echo("W6", "1 MiB, 4 in flight", 4, 1024 * 1024),
    _echo(
        "many",
        "32 B, batches of 512 calls",
        1,
        operation="echo_batch",
        batch=512,
        sample_every=1,
        stand_in="W2",
    ),
)

_KIB = 1024
_MIB = 1024 * _KIB


def _stream(operation: StreamOperation, title: str, **changes: Any) -> Workload:
    workload = Workload(
        name=operation,
        title=f"{title}, 32 B",
        operation=operation,
        in_flight=1,
        payload_bytes=32,
        limit_family="C, one way",
        only_peers=STREAM_PEERS,
    )
    return replace(workload, **changes)


def _large(stream: Workload) -> Workload:
    title = stream.title.replace("32 B", "64 KiB")
    return replace(stream, name=f"{stream.name}_64K", title=title, payload_bytes=64 * _KIB)


_SERVER_STREAM = _stream("server_stream", "server stream")
_CLIENT_STREAM = _stream("client_stream", "client stream")
_BOTH_WAYS = _stream("both_ways", "both ways, an echo of each message")


def _at_once(stream: Workload, suffix: str, way: str) -> Workload:
    """Return the variant of a stream whose messages exist before they are sent, by a blocking client.

    A generator's messages are each sent as soon as they are made.
    """
    return _stream(
        f"{stream.name}_{suffix}",  # type: ignore[arg-type]
        f"{stream.title.removesuffix(', 32 B')} {way}",
        stand_in=stream.name,
        only_peers=("fastrpc_blocking",),
    )


_STREAMS = (
    _SERVER_STREAM,
    _stream(
        "server_stream_many",
        "server stream through `receive_many()`",
        stand_in="server_stream",
        only_peers=("fastrpc", "fastrpc_asyncio"),
    ),
    _stream(
        "server_stream_def",
        "server stream of a `def` generator in a thread",
        stand_in="server_stream",
        only_peers=("fastrpc", "fastrpc_asyncio"),
    ),
    _large(_SERVER_STREAM),
    _CLIENT_STREAM,
    _large(_CLIENT_STREAM),
    _at_once(_CLIENT_STREAM, "many", "by `send_many()`"),
    _at_once(_CLIENT_STREAM, "list", "from a list"),
    _BOTH_WAYS,
    _large(_BOTH_WAYS),
    _at_once(_BOTH_WAYS, "many", "by `send_many()`"),
    _at_once(_BOTH_WAYS, "list", "from a list"),
)

#: Calls in a second, and the stacks that keep this rate up with one core on each side. The highest rate is half of
#: tarpc's rate at 64 in flight, on the machine of RESULTS.md.
_TAIL_PEERS = ("uvloop_echo", "fastrpc", "fastrpc_asyncio", "tarpc")
_RATES: Mapping[int, Sequence[str]] = {
    5_000: (*_TAIL_PEERS, "tonic", "grpc_go", "grpc_uvloop"),
    20_000: (*_TAIL_PEERS, "tonic", "grpc_go"),
    100_000: _TAIL_PEERS,
    175_000: _TAIL_PEERS,
}

_TAILS = tuple(
    _echo(f"tail@{rate}", f"32 B, {rate:,} calls/s in an open loop", 1, rate=rate, only_peers=peers)
    for rate, peers in _RATES.items()
)

#: `c_http.c` or `wrk` loads all of them, with a connection for each call in flight.
_HTTP_PEERS = (
    "c_http",
    "fastrpc_http",
    "net_http",
    "aiohttp",
    "fastapi",
    "granian",
    "django_bolt",
    "h2corn",
    "uvicorn_zttp",
    "connectrpc_http",
)


def _http(operation: ForeignOperation, title: str) -> Workload:
    return Workload(
        name=operation,
        title=title,
        operation=operation,
        in_flight=64,
        base_family="FastAPI",
        limit_family="net/http",
        only_peers=_HTTP_PEERS,
    )


_HTTP_RECORD = _http("http_record", "typed record as JSON by POST")
_HTTP = (
    _HTTP_RECORD,
    _http("http_hello", "hello by GET"),
    replace(
        _HTTP_RECORD, name="http_record_wrk", title="typed record as JSON by POST, under wrk", generator="wrk"
    ),
)

#: Servers of ASGI by both versions, and ours.
_HTTP2_PEERS = ("fastrpc_http", "h2corn", "hypercorn")


def _http2(name: str, shape: str, **changes: Any) -> Workload:
    workload = replace(
        _HTTP_RECORD,
        name=name,
        title=f"typed record as JSON by POST, {shape}",
        base_family="hypercorn",
        limit_family="h2corn",
        only_peers=_HTTP2_PEERS,
    )
    return replace(workload, **changes)


_HTTP2 = (
    _http2("http2_record", "HTTP/2, 64 streams of one connection", generator="h2load_http2"),
    _http2(
        "http2_record_spread",
        "HTTP/2, 64 connections of one stream each",
        generator="h2load_http2",
        connections=64,
    ),
    _http2(
        "http1_record_h2load",
        "HTTP/1.1, 64 connections",
        generator="h2load_http1",
        connections=64,
        # h2load does not read the answers of hypercorn by HTTP/1.1.
        only_peers=("fastrpc_http", "h2corn"),
    ),
)

#: Client and server of both, in all four pairs, and our own wire.
_RPCX_PEERS = ("fastrpc", "fastrpc_rpcx", "fastrpc_rpcx_client", "fastrpc_rpcx_server", "rpcx")

_RPCX = (
    Workload(
        name="rpcx_mul",
        title="typed Mul in msgpack, 64 in flight",
        operation="rpcx_mul",
        in_flight=64,
        base_family="rpcx",
        limit_family="fastrpc",
        only_peers=_RPCX_PEERS,
    ),
)

#: Both sides of gRPC's stacks and of ours, and each side of ours with the other side of gRPC's.
_GRPC_PAIRS = (
    "fastrpc_grpc",
    "fastrpc_grpc_stub",
    "grpc_asyncio",
    "grpc_uvloop",
    "grpc_go",
    "tonic",
    "kitex_grpc",
    "connectrpc_grpc",
)
_GRPC_MIXED = ("fastrpc_grpc_client", "fastrpc_grpc_server", "fastrpc_grpc_server_aio")
_GRPC_BLOCKING = ("fastrpc_grpc_blocking", "grpc_sync")
#: One side of each stack, with a partner that is the same for all.
_GRPC_SERVERS = ("fastrpc_grpc_stub", "pygrpc_native", "grpc_uvloop")
_GRPC_CLIENTS = ("fastrpc_grpc_stub", "grpc_uvloop")


def _grpc(name: str, title: str, operation: Operation, in_flight: int, **changes: Any) -> Workload:
    workload = Workload(
        name=name,
        title=title,
        operation=operation,
        in_flight=in_flight,
        payload_bytes=32,
        limit_family="fastrpc",
        only_peers=_GRPC_PAIRS,
    )
    return replace(workload, **changes)


_GRPC = (
    _grpc("grpc_echo", "32 B, 64 in flight", "echo", 64, only_peers=("fastrpc", *_GRPC_PAIRS, *_GRPC_MIXED)),
    _grpc("grpc_record", "protobuf record built per call, 64 in flight", "record", 64),
    _grpc(
        "grpc_64K",
        "64 KiB, 16 in flight",
        "echo",
        16,
        payload_bytes=64 * _KIB,
        only_peers=("fastrpc", "fastrpc_grpc", "grpc_go", "tonic"),
    ),
    _grpc(
        "grpc_stream",
        "server stream, 32 B",
        "server_stream",
        1,
        only_peers=("fastrpc_grpc", "grpc_go", "tonic"),
    ),
    _grpc(
        "grpc_one",
        "32 B, one in flight, blocking clients",
        "echo",
        1,
        sample_every=1,
        base_family="grpcio sync",
        only_peers=_GRPC_BLOCKING,
    ),
    _grpc(
        "grpc_under_go",
        "servers under grpc-go's client: 32 B, 64 in flight",
        "echo",
        64,
        only_peers=tuple(f"{server}_under_go" for server in _GRPC_SERVERS),
    ),
    _grpc(
        "grpc_under_h2load",
        "servers under h2load: 32 B, 64 in flight",
        "echo",
        64,
        generator="h2load",
        only_peers=tuple(f"{server}_under_h2load" for server in _GRPC_SERVERS),
    ),
    _grpc(
        "grpc_at_go",
        "clients at grpc-go's server: 32 B, 64 in flight",
        "echo",
        64,
        only_peers=tuple(f"{client}_at_go" for client in _GRPC_CLIENTS),
    ),
)

#: Each point costs a measurement for each peer and round, so there are only enough points to see a bend.
_IN_FLIGHT = (1, 4, 16, 64, 256, 1024, 4096)
_PAYLOAD_BYTES = (0, 64, _KIB, 16 * _KIB, 64 * _KIB, 256 * _KIB, _MIB, 4 * _MIB, 16 * _MIB)
_CONNECTIONS = (1, 10, 100, 1_000, 10_000)
_METHODS = (1, 10, 100, 1_000)

_GROWN_PEERS = ("c_echo", "fastrpc", "grpc_uvloop")

_GROWTH: Mapping[str, Mapping[int, Workload]] = {
    "in_flight": {
        count: _echo(f"in_flight@{count}", f"32 B, {count:,} in flight", count, only_peers=_GROWN_PEERS)
        for count in _IN_FLIGHT
    },
    "payload": {
        size: _echo(f"payload@{size}", f"{size:,} B, 4 in flight", 4, size, only_peers=_GROWN_PEERS)
        for size in _PAYLOAD_BYTES
    },
    "connections": {
        count: _echo(
            f"connections@{count}",
            f"32 B, 64 in flight, over {count:,} connections in turn",
            64,
            operation="echo_connections",
            connections=count,
            only_peers=_GROWN_PEERS,
        )
        for count in _CONNECTIONS
    },
    "methods": {
        count: _echo(
            f"methods@{count}",
            f"32 B, 64 in flight, to {count:,} methods in turn",
            64,
            operation="echo_methods",
            methods=count,
            only_peers=_GROWN_PEERS,
        )
        for count in _METHODS
    },
}

TABLE: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _TABLE})

STREAMS: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _STREAMS})

TAILS: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _TAILS})

HTTP: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _HTTP})

HTTP2: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _HTTP2})

RPCX: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _RPCX})

GRPC: Mapping[str, Workload] = MappingProxyType({workload.name: workload for workload in _GRPC})


def _curve(name: str, title: str, axis: str, *, in_bytes: bool = False) -> Curve:
    points = {quantity: workload.name for quantity, workload in _GROWTH[name].items()}
    return Curve(name=name, title=title, axis=axis, points=points, in_bytes=in_bytes)


CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        curve.name: curve
        for curve in (
            _curve("in_flight", "Calls in flight, 32 B", "calls in flight"),
            _curve("payload", "Payload, 4 in flight", "bytes each way", in_bytes=True),
            _curve("connections", "Connections in turn, 32 B, 64 in flight", "connections"),
            _curve("methods", "Methods in turn, 32 B, 64 in flight", "methods"),
        )
    }
)

WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        **TABLE,
        **STREAMS,
        **TAILS,
        **HTTP,
        **HTTP2,
        **RPCX,
        **GRPC,
        **{workload.name: workload for points in _GROWTH.values() for workload in points.values()},
    }
)


def plain_record(record: Any) -> tuple[int, str, float, Sequence[str]]:
    """Return the fields of any peer's record as `Workload.expected` has them."""
    return record.id, record.name, record.score, tuple(record.tags)
