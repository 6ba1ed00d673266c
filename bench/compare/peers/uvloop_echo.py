"""A bare echo over uvloop, without messages: the cost of generator, event loop and sockets at a fixed rate."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from bench.compare.load import AsyncOperation
from bench.compare.peers.base import AsyncClient, AsyncServer, Peer
from bench.compare.workloads import Operation, Workload


class Echo(asyncio.Protocol):
    """Echoes its input."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class Caller(asyncio.Protocol):
    """Takes the bytes that come back for the answers to its calls, in order."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._unanswered: deque[asyncio.Future[bytes]] = deque()
        self._rest = b""
        self._new_future = asyncio.get_running_loop().create_future

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def call(self) -> asyncio.Future[bytes]:
        answer = self._new_future()
        self._unanswered.append(answer)
        self._transport.write(self._payload)
        return answer

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        size = len(self._payload)
        end = len(data) // size * size
        for start in range(0, end, size):
            self._unanswered.popleft().set_result(data[start : start + size])
        self._rest = data[end:]

    def connection_lost(self, error: Exception | None) -> None:
        for answer in self._unanswered:
            answer.set_exception(error or ConnectionResetError("the server closed the connection"))


class UvloopEcho(AsyncServer, AsyncClient):
    """Both sides, for the tails only."""

    loop = "uvloop"
    operations: ClassVar[tuple[Operation, ...]] = ("echo",)

    def offers(self, workload: Workload) -> bool:
        return workload.rate > 0 and super().offers(workload)

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        async with await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0) as server:
            yield str(server.sockets[0].getsockname()[1])

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        transport, caller = await asyncio.get_running_loop().create_connection(
            lambda: Caller(workload.payload), "127.0.0.1", int(address)
        )
        try:
            yield AsyncOperation(caller.call)
        finally:
            transport.close()


PEERS: tuple[Peer, ...] = (
    UvloopEcho("uvloop_echo", "uvloop, a bare echo", family="uvloop, a bare echo", by_default=False),
)
