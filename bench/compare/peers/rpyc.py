"""rpyc with pipelined asynchronous calls over one connection; its threaded server.

rpyc sends immutable values by value, so the record is a tuple.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

from bench.compare.load import AsyncOperation
from bench.compare.peers.base import BACKLOG, AsyncClient, BlockingServer, Peer
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, Workload


class Bench(rpyc.Service):  # type: ignore[misc]
    """The methods that the benchmark calls."""

    def exposed_echo(self, payload: bytes) -> bytes:
        return payload

    def exposed_mul(self, a: int, b: int) -> int:
        return a * b

    def exposed_record(self, record: tuple[Any, ...]) -> tuple[Any, ...]:
        return record


def build_record() -> tuple[Any, ...]:
    """Build the workloads' record, from nothing: a tuple of constants would be made only once."""
    tags = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]
    return (RECORD_ID, RECORD_NAME, RECORD_SCORE, tuple(tags))


class Rpyc(BlockingServer, AsyncClient):
    """The client reads its connection whenever the loop finds it readable."""

    loop = "uvloop"

    @contextmanager
    def serving(self, directory: Path, workload: Workload) -> Iterator[str]:
        server = ThreadedServer(Bench, hostname="127.0.0.1", port=0, backlog=BACKLOG)
        threading.Thread(target=server.start, daemon=True).start()
        yield f"127.0.0.1:{server.port}"

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        host, _, port = address.partition(":")
        loop = asyncio.get_running_loop()
        connection = rpyc.connect(host, int(port))
        loop.add_reader(connection.fileno(), _read_answers, connection)
        try:
            yield _operation(connection, workload)
        finally:
            loop.remove_reader(connection.fileno())
            connection.close()


def _read_answers(connection: Any) -> None:
    """Take every arrived answer: `poll_all` without a timeout would take one."""
    while connection.poll():
        pass


def _operation(connection: Any, workload: Workload) -> AsyncOperation:
    if workload.operation == "echo":
        echo, payload = _awaitable(connection.root.echo), workload.payload
        return AsyncOperation(lambda: echo(payload))
    if workload.operation == "mul":
        mul = _awaitable(connection.root.mul)
        return AsyncOperation(lambda: mul(6, 7))
    record = _awaitable(connection.root.record)
    return AsyncOperation(lambda: record(build_record()))


def _awaitable(method: Any) -> Callable[..., asyncio.Future[Any]]:
    """Turn a remote method into one whose calls are awaited."""
    start, loop = rpyc.async_(method), asyncio.get_running_loop()

    def call(*values: Any) -> asyncio.Future[Any]:
        future = loop.create_future()
        start(*values).add_callback(lambda result: _settle(future, result))
        return future

    return call


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.cancelled():
        return
    try:
        value = result.value
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)


PEERS: tuple[Peer, ...] = (Rpyc("rpyc", "rpyc, pipelined, uvloop", family="rpyc"),)
