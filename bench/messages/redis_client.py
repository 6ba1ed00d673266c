"""redis-py over a stream, as Redis' documentation advises: XADD, a consumer group, XACK."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import redis.asyncio
from redis.exceptions import ResponseError

from bench.beside import in_flight
from bench.messages.flow import Handle
from bench.messages.record import TOPIC, Order

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode


class RedisClient:
    """A pool of connections, one for each command in flight."""

    def __init__(self, connections: "redis.asyncio.Redis") -> None:
        self._redis = connections

    async def publish(self, order: Order) -> object:
        """Add an order to the stream."""
        return await self._redis.xadd(TOPIC, {"body": _encode(order)})

    @asynccontextmanager
    async def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AsyncIterator[None]:
        """Read, handle and ack, one XACK for all messages of a read."""
        with contextlib.suppress(ResponseError):
            await self._redis.xgroup_create(TOPIC, "billing", "$", mkstream=True)

        is_over = asyncio.Event()

        async def consume() -> None:
            # The client of Redis may swallow a cancellation.
            while not is_over.is_set():
                found: list[
                    tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]
                ] = await self._redis.xreadgroup(
                    "billing", "one", {TOPIC: ">"}, count=in_flight.IN_FLIGHT, block=1_000
                )  # type: ignore[assignment]
                for _, entries in found:
                    for _, fields in entries:
                        handle(_decode(fields[b"body"]))
                    await self._redis.xack(TOPIC, "billing", *(id for id, _ in entries))
                    acked(len(entries))

        task = asyncio.ensure_future(consume())
        try:
            yield
        finally:
            is_over.set()
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisClient]:
    """Connect on first use."""
    async with redis.asyncio.from_url(url) as connections:
        yield RedisClient(connections)
