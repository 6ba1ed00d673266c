"""thriftpy2 with its compiled protocol and transport: a thread and a connection per caller."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import thriftpy2
import thriftpy2.rpc
from thriftpy2.protocol import TCyBinaryProtocolFactory
from thriftpy2.server import TThreadedServer
from thriftpy2.thrift import TProcessor
from thriftpy2.transport import TCyBufferedTransportFactory, TServerSocket

from bench.compare.load import BlockingOperation
from bench.compare.paths import SOURCES
from bench.compare.peers.base import BACKLOG, BlockingClient, BlockingServer, Peer
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, Workload, plain_record


@cache
def _schema() -> Any:
    return thriftpy2.load(str(SOURCES / "bench.thrift"), module_name="bench_thrift")


class _Handlers:
    def echo(self, payload: bytes) -> bytes:
        return payload

    def mul(self, a: int, b: int) -> int:
        return a * b

    def record(self, record: Any) -> Any:
        return record


def build_record(schema: Any) -> Any:
    """Build the workloads' record, from nothing."""
    return schema.Record(
        id=RECORD_ID,
        name=RECORD_NAME,
        score=RECORD_SCORE,
        tags=["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"],
    )


class Thriftpy2(BlockingServer, BlockingClient):
    """thriftpy2's threaded server; its client carries one call at a time."""

    @contextmanager
    def serving(self, directory: Path, workload: Workload) -> Iterator[str]:
        listener = TServerSocket("127.0.0.1", 0, client_timeout=None, backlog=BACKLOG)
        listener.listen()
        port = listener.sock.getsockname()[1]
        # `serve` would listen once more, on a port that no client knows.
        listener.listen = lambda: None
        server = TThreadedServer(
            TProcessor(_schema().Bench, _Handlers()),
            listener,
            iprot_factory=TCyBinaryProtocolFactory(),
            itrans_factory=TCyBufferedTransportFactory(),
            daemon=True,
        )
        threading.Thread(target=server.serve, daemon=True).start()
        yield f"127.0.0.1:{port}"

    @contextmanager
    def connected(self, address: str, workload: Workload) -> Iterator[Callable[[], BlockingOperation]]:
        host, _, port = address.partition(":")

        def connect() -> BlockingOperation:
            client = thriftpy2.rpc.make_client(
                _schema().Bench,
                host,
                int(port),
                proto_factory=TCyBinaryProtocolFactory(),
                trans_factory=TCyBufferedTransportFactory(),
                timeout=None,
            )
            return _operation(client, workload)

        yield connect


def _operation(client: Any, workload: Workload) -> BlockingOperation:
    if workload.operation == "echo":
        payload = workload.payload
        return BlockingOperation(lambda: client.echo(payload))
    if workload.operation == "mul":
        return BlockingOperation(lambda: client.mul(6, 7))
    schema = _schema()
    return BlockingOperation(lambda: client.record(build_record(schema)), plain_record)


PEERS: tuple[Peer, ...] = (Thriftpy2("thriftpy2", "thriftpy2, threads", family="thriftpy2"),)
