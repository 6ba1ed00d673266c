"""FastStream over JetStream: a durable pull subscriber of a typed function."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel

from bench.beside import in_flight
from bench.messages.flow import Handle
from bench.messages.record import TOPIC, Order

STREAM = JStream(name="orders", declare=False)


class OrderModel(BaseModel):
    """The order as FastStream's documentation has its messages."""

    id: int
    customer: str
    items: list[str]
    note: str


class FastStreamClient:
    """A connected broker."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def publish(self, order: Order) -> object:
        """Publish an order and wait for the ack."""
        return await self._broker.publish(OrderModel(**msgspec.structs.asdict(order)), TOPIC, stream="orders")

    @asynccontextmanager
    async def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AsyncIterator[None]:
        """Start a subscriber. FastStream acks once the function has returned, and the return counts as the ack."""

        async def bill(order: OrderModel) -> None:
            handle(Order(order.id, order.customer, order.items, order.note))
            acked(1)

        pull = PullSub(batch_size=in_flight.IN_FLIGHT)
        subscriber = self._broker.subscriber(TOPIC, stream=STREAM, durable="billing", pull_sub=pull)
        subscriber(bill)
        await subscriber.start()
        try:
            yield
        finally:
            await subscriber.stop()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[FastStreamClient]:
    """Connect, and make the stream."""
    async with NatsBroker(url, logger=None) as broker:
        connection = await broker.connect()
        await connection.jetstream().add_stream(name="orders", subjects=["orders.>"])
        yield FastStreamClient(broker)
