"""fastrpc's streams through its public API: the service, and the streams of both clients."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

import fastrpc
from bench.compare.stream_load import AsyncStreams, BlockingStreams
from bench.compare.workloads import Workload

__all__ = ["FastRPCBlockingStreams", "FastRPCStreams", "Streams"]


@fastrpc.service("streams")
class Streams:
    """What the benchmark streams."""

    @fastrpc.method
    async def receive(self, count: int, size: int) -> AsyncIterator[bytes]:
        payload = b"x" * size
        for _ in range(count):
            yield payload

    @fastrpc.method
    def receive_def(self, count: int, size: int) -> Iterator[bytes]:
        payload = b"x" * size
        for _ in range(count):
            yield payload

    @fastrpc.method
    async def send(self, messages: AsyncIterator[bytes]) -> int:
        size = 0
        async for message in messages:
            size += len(message)
        return size

    @fastrpc.method
    async def exchange(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message


class FastRPCStreams(AsyncStreams):
    """Streams of a Client."""

    def __init__(self, client: fastrpc.Client, workload: Workload) -> None:
        self._client = client
        self._size = workload.payload_bytes
        self._method = Streams.receive_def if workload.operation == "server_stream_def" else Streams.receive

    def receive(self, count: int) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        return self._client.stream(self._method, count, self._size)

    @asynccontextmanager
    async def receive_many(self, count: int) -> AsyncIterator[AsyncIterator[Sequence[Any]]]:
        async with self._client.stream(self._method, count, self._size) as stream:
            yield _batches(stream.receive_many)

    async def send(self, messages: AsyncIterator[Any]) -> int:
        return await self._client.call(Streams.send, messages)

    def exchange(self, messages: AsyncIterator[Any]) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        return self._client.stream(Streams.exchange, messages)


async def _batches(receive_many: Callable[[], Awaitable[list[Any]]]) -> AsyncIterator[Sequence[Any]]:
    try:
        while True:
            yield await receive_many()
    except fastrpc.StreamEndedError:
        return


class FastRPCBlockingStreams(BlockingStreams):
    """Streams of a SyncClient."""

    def __init__(self, client: fastrpc.SyncClient, workload: Workload) -> None:
        self._client = client
        self._size = workload.payload_bytes

    def receive(self, count: int) -> AbstractContextManager[Iterator[Any]]:
        return self._client.stream(Streams.receive, count, self._size)

    def send(self, messages: Iterator[Any]) -> int:
        return self._client.call(Streams.send, messages)

    def exchange(self, messages: Iterator[Any]) -> AbstractContextManager[Iterator[Any]]:
        return self._client.stream(Streams.exchange, messages)
