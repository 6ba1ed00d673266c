"""pycapnp: Cap'n Proto RPC on asyncio with KJ's loop inside, one connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import capnp

from bench.compare.load import AsyncOperation
from bench.compare.paths import SOURCES
from bench.compare.peers.base import AsyncClient, AsyncServer, Peer
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, RECORD_TAGS, Workload, plain_record


@cache
def _schema() -> Any:
    return capnp.load(str(SOURCES / "bench.capnp"))


def _new_service() -> Any:
    class Bench(_schema().Bench.Server):  # type: ignore[misc]
        async def echo(self, payload: bytes, **context: Any) -> bytes:
            return payload

        async def mul(self, a: int, b: int, **context: Any) -> int:
            return a * b

        async def record(self, record: Any, **context: Any) -> Any:
            return record

    return Bench()


class Pycapnp(AsyncServer, AsyncClient):
    """Two-party RPC; a call's arguments are built in the message that contains them."""

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        async def serve(stream: Any) -> None:
            await capnp.TwoPartyServer(stream, bootstrap=_new_service()).on_disconnect()

        async with capnp.kj_loop():
            server = await capnp.AsyncIoStream.create_server(serve, "127.0.0.1", 0)
            async with server:
                yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        host, _, port = address.partition(":")
        async with capnp.kj_loop():
            stream = await capnp.AsyncIoStream.create_connection(host, int(port))
            client = capnp.TwoPartyClient(stream)
            yield _operation(client.bootstrap().cast_as(_schema().Bench), workload)


def _operation(bench: Any, workload: Workload) -> AsyncOperation:
    if workload.operation == "echo":
        payload = workload.payload
        return AsyncOperation(lambda: bench.echo(payload), lambda answer: answer.payload)
    if workload.operation == "mul":
        return AsyncOperation(lambda: bench.mul(6, 7), lambda answer: answer.value)
    return AsyncOperation(lambda: _call_record(bench), lambda answer: plain_record(answer.record))


def _call_record(bench: Any) -> Any:
    request = bench.record_request()
    record = request.init("record")
    record.id = RECORD_ID
    record.name = RECORD_NAME
    record.score = RECORD_SCORE
    record.tags = list(RECORD_TAGS)
    return request.send()


PEERS: tuple[Peer, ...] = (Pycapnp("pycapnp", "pycapnp, asyncio", family="pycapnp"),)
