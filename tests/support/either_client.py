"""The streams of both clients with one interface, so that a test states once its rules for both.

An asynchronous client is used as it is. What a blocking one does waits in a separate thread for each step.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from fastrpc import (
    Client,
    Interceptor,
    Reply,
    ServerConfig,
    Services,
    StreamEndedError,
    SyncClient,
    SyncServices,
    SyncStream,
)
from fastrpc.limits import Limit
from tests.support.served import served

__all__ = ["CLIENTS", "Stepped", "SteppedStream", "connected", "either", "many_services", "nowhere", "taken"]

CLIENTS = ("async", "sync")


@asynccontextmanager
async def either(
    kind: str,
    *sources: Any,
    scheme: str = "tcp",
    server_config: ServerConfig | None = None,
    server_interceptors: Sequence[Interceptor] = (),
    limits: Sequence[Limit] = (),
    **options: Any,
) -> AsyncIterator[Any]:
    """Serve sources and yield a client of a kind that is connected."""
    async with served(
        *sources, scheme=scheme, config=server_config, interceptors=server_interceptors, limits=limits
    ) as target:
        async with connected(kind, target, **options) as client:
            yield client


@asynccontextmanager
async def connected(kind: str, target: str, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of a kind that is connected to a target."""
    if kind == "async":
        async with Client(target, **options) as client:
            await client.ready(timeout=10)
            yield client
        return
    blocking = SyncClient(target, **options)
    try:
        await in_own_thread(blocking.ready, 10)
        yield Stepped(blocking)
    finally:
        # Its goodbye is answered by the loop.
        await in_own_thread(blocking.close)


@asynccontextmanager
async def nowhere(kind: str, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of a kind whose address no server listens at."""
    async with Client("tcp://127.0.0.1:9", **options) as client:
        with SyncClient("tcp://127.0.0.1:9", **options) as blocking:
            yield client if kind == "async" else Stepped(blocking)


@asynccontextmanager
async def many_services(kind: str, registry: Any, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of many services, of a kind."""
    if kind == "async":
        async with Services(registry, **options) as services:
            yield services
        return
    blocking = SyncServices(registry, **options)
    try:
        yield Stepped(blocking)
    finally:
        await in_own_thread(blocking.close)


async def in_own_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a separate thread.

    The pool of `asyncio.to_thread` counts a thread as idle twice where one takes the next task just after it found none
    (CPython 3.13 to 3.15); a later task then waits for earlier ones, although another thread would be allowed.
    """
    context = contextvars.copy_context()
    thread = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(
            thread, lambda: context.run(function, *args, **kwargs)
        )
    finally:
        thread.shutdown(wait=False)


class Stepped:
    """A SyncClient, or a SyncServices, whose verbs are awaited."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(self, *args: Any, **kwargs: Any) -> Any:
        """Make a call."""
        return await in_own_thread(self.client.call, *args, **kwargs)

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        """Make a call."""
        return await in_own_thread(self.client.request, *args, **kwargs)

    async def call_many(self, *args: Any, **kwargs: Any) -> Any:
        """Make a batch of calls."""
        return await in_own_thread(self.client.call_many, *args, **kwargs)

    async def notify(self, *args: Any, **kwargs: Any) -> None:
        """Send a one-way call."""
        await in_own_thread(self.client.notify, *args, **kwargs)

    def stream(self, *args: Any, **kwargs: Any) -> "SteppedStream":
        """Make a stream."""
        return SteppedStream(self.client.stream(*args, **kwargs))

    def open(self, *args: Any, **kwargs: Any) -> "SteppedStream":
        """Make a stream by hand."""
        return SteppedStream(self.client.open(*args, **kwargs))

    def with_options(self, **options: Any) -> "Stepped":
        """Return a view."""
        return Stepped(self.client.with_options(**options))

    def __getitem__(self, service: str) -> "Stepped":
        return Stepped(self.client[service])

    async def broadcast(self, *args: Any, **kwargs: Any) -> Any:
        """Call all endpoints."""
        return await in_own_thread(self.client.broadcast, *args, **kwargs)

    async def close(self) -> None:
        """Close the client."""
        await in_own_thread(self.client.close)

    def stats(self) -> dict[str, Any]:
        """Return the counters of the client."""
        stats: dict[str, Any] = self.client.stats()
        return stats


class SteppedStream:
    """A SyncStream whose methods are awaited."""

    def __init__(self, stream: SyncStream[Any, Any]) -> None:
        self.stream = stream

    async def __aenter__(self) -> Self:
        await in_own_thread(self.stream.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await in_own_thread(self.stream.__exit__, kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        # StopIteration cannot be raised into a future.
        found = await in_own_thread(next, self.stream, self)
        if found is self:
            raise StopAsyncIteration
        return found

    async def begin(self) -> None:
        """Start the call."""
        await in_own_thread(self.stream.begin)

    async def send(self, message: Any) -> None:
        """Send a message."""
        await in_own_thread(self.stream.send, message)

    async def send_many(self, messages: Any) -> None:
        """Send messages that are ready."""
        await in_own_thread(self.stream.send_many, messages)

    async def end(self) -> None:
        """End sending."""
        await in_own_thread(self.stream.end)

    async def receive(self) -> Any:
        """Return the next message."""
        return await in_own_thread(self.stream.receive)

    async def receive_many(self, limit: int = 4096) -> list[Any]:
        """Return the messages that have arrived."""
        return await in_own_thread(self.stream.receive_many, limit)

    async def headers(self) -> Any:
        """Return the first metadata."""
        return await in_own_thread(self.stream.headers)

    def cancel(self) -> None:
        """End the stream."""
        self.stream.cancel()

    async def aclose(self) -> None:
        """End the stream as leaving its block does."""
        await in_own_thread(self.stream.close)

    @property
    def metadata(self) -> Any:
        """The first metadata."""
        return self.stream.metadata

    @property
    def reply(self) -> Reply[Any]:
        """The known facts at the end."""
        return self.stream.reply

    @property
    def waiting(self) -> int:
        """Messages received and not taken."""
        return self.stream.waiting


async def taken(stream: Any) -> list[Any]:
    """Return the messages up to the clean end of a stream."""
    found: list[Any] = []
    try:
        while True:
            found += await stream.receive_many()
    except StreamEndedError:
        return found
