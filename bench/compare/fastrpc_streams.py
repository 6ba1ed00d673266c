"""fastrpc's streams through its public API: the service, and the streams of both clients."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import fastrpc
from bench.compare.stream_load import MANY_MESSAGES, AsyncStreams, BlockingStreams
from bench.compare.workloads import Workload

__all__ = ["FastRPCBlockingStreams", "FastRPCStreams", "Streams"]

#: A thread that alternates between `send_many` and receiving has this many messages under way. They take less than a
#: stream's first window of 64 KiB: 48 bytes each, 16 of them the header. With more, both sides could wait for each
#: other for ever.
MOST_AHEAD = 64 * 1024 // 48 - MANY_MESSAGES - 64


@fastrpc.service("streams")
class Streams:
    """The streams of the benchmark."""

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

    def send(self, messages: Iterable[Any]) -> int:
        return self._client.call(Streams.send, messages)

    def exchange(self, messages: Iterable[Any]) -> AbstractContextManager[Iterator[Any]]:
        return self._client.stream(Streams.exchange, messages)

    def send_many(self, batches: Iterator[Sequence[Any]]) -> int:
        with self._client.open(Streams.send) as stream:
            for batch in batches:
                stream.send_many(batch)
            stream.end()
            for _ in stream:
                pass  # The stream has no messages, but an end.
            return stream.reply.value

    @contextmanager
    def exchange_many(self, batches: Iterator[Sequence[Any]]) -> Iterator[Iterator[Any]]:
        with self._client.open(Streams.exchange) as stream:
            yield _echoes(stream, batches)


def _echoes(stream: fastrpc.SyncStream[bytes, bytes], batches: Iterator[Sequence[Any]]) -> Iterator[Any]:
    """Yield the echoes of batches in one thread, which sends a batch when few of its messages are under way."""
    ahead = 0
    for batch in batches:
        stream.send_many(batch)
        ahead += len(batch)
        while ahead > MOST_AHEAD:
            yield stream.receive()
            ahead -= 1
    stream.end()
    yield from stream
