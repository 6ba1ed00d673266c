"""nats-py over JetStream, as its documentation advises: a stream in a file, a durable consumer that is pulled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import nats
from nats.js.api import ConsumerConfig, StorageType

from bench.beside import in_flight
from bench.messages.flow import Handle
from bench.messages.record import TOPIC, Order

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode


class NatsClient:
    """A connection with its stream."""

    def __init__(self, connection: nats.NATS) -> None:
        self._stream = connection.jetstream()

    async def prepare(self) -> None:
        """Make the stream."""
        await self._stream.add_stream(name="orders", subjects=["orders.>"], storage=StorageType.FILE)

    async def publish(self, order: Order) -> object:
        """Publish an order and wait for the ack."""
        return await self._stream.publish(TOPIC, _encode(order))

    @asynccontextmanager
    async def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AsyncIterator[None]:
        """Fetch, handle and ack."""
        config = ConsumerConfig(max_ack_pending=1_000)
        subscription = await self._stream.pull_subscribe(TOPIC, durable="billing", config=config)

        is_over = asyncio.Event()

        async def consume() -> None:
            # The client of NATS may swallow a cancellation.
            while not is_over.is_set():
                try:
                    messages = await subscription.fetch(in_flight.IN_FLIGHT, timeout=1)
                except TimeoutError:
                    continue
                for message in messages:
                    handle(_decode(message.data))
                    await message.ack()
                acked(len(messages))

        task = asyncio.ensure_future(consume())
        try:
            yield
        finally:
            is_over.set()
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[NatsClient]:
    """Connect, and make the stream."""
    connection = await nats.connect(url)
    try:
        client = NatsClient(connection)
        await client.prepare()
        yield client
    finally:
        await connection.close()
