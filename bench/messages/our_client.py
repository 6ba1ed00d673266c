"""Our client: `open_broker` publishes, and the subscriber of a service in the same process handles."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import fastrpc
from bench.beside import in_flight
from bench.messages.flow import Handle
from bench.messages.record import TOPIC, Order
from fastrpc.brokers import Broker, Topic, open_broker

ORDERS = Topic(TOPIC, Order)


class OurClient:
    """An open broker."""

    def __init__(self, url: str, broker: Broker) -> None:
        self._url = url
        self._broker = broker

    async def publish(self, order: Order) -> object:
        """Publish an order."""
        return await self._broker.publish(ORDERS, order)

    @asynccontextmanager
    async def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AsyncIterator[None]:
        """Serve a subscriber. Its return counts as the ack, which goes out with those of the same turn."""

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(ORDERS, concurrency=in_flight.IN_FLIGHT)
            async def bill(self, order: Order) -> None:
                handle(order)
                acked(1)

        async with fastrpc.Server(Billing(), broker=self._url):
            yield


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[OurClient]:
    """Open the broker, and make the topic."""
    async with open_broker(url) as broker:
        await broker.declare(ORDERS)
        yield OurClient(url, broker)
