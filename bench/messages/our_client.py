"""Our client: `open_broker` publishes, and the subscriber of a service in the same process handles."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import fastrpc
from bench.beside import in_flight
from bench.beside.in_flight import Window
from bench.messages.flow import Handle
from bench.messages.record import TOPIC, Order, order
from fastrpc.brokers import Broker, Topic, open_broker

__all__ = ["BEHIND", "OurClient", "backlog", "connected"]

ORDERS = Topic(TOPIC, Order)

#: The default number of messages of a backlog, and how many are published at once to make it.
BEHIND = 200_000
_AT_ONCE = 500


class OurClient:
    """An open broker."""

    def __init__(self, url: str, broker: Broker) -> None:
        self._url = url
        self._broker = broker

    async def publish(self, order: Order) -> object:
        """Publish an order."""
        return await self._broker.publish(ORDERS, order)

    async def publish_many(self, orders: Sequence[Order]) -> object:
        """Publish several orders at once."""
        return await self._broker.publish_many(ORDERS, orders)

    @asynccontextmanager
    async def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AsyncIterator[None]:
        """Serve a subscriber. Its return counts as the ack, which is sent with the acks of the same turn."""

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(ORDERS, start="oldest", concurrency=in_flight.IN_FLIGHT)
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


async def backlog(url: str, seconds: float, behind: int = BEHIND) -> float:
    """Return the time of one message to its ack, for a group that begins behind many messages."""
    async with connected(url) as client:
        for first in range(0, behind, _AT_ONCE):
            await client.publish_many(
                [order(first + number) for number in range(min(_AT_ONCE, behind - first))]
            )
        window = Window()
        async with client.subscribed(lambda order: None, window.note):
            return await window.measure(seconds)
