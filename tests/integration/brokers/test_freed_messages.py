"""A message leaves the memory of its subscriber with its ack, without the collector of cycles."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import fastrpc
from fastrpc import Message, Topic
from fastrpc.brokers import open_broker
from fastrpc.brokers.remote.server import BrokerServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@dataclass
class Order:
    id: str


ORDERS = Topic("orders.new", Order)


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector_off")
async def test_messages_of_a_subscriber_are_freed_once_their_acks_are_kept() -> None:
    values: list[weakref.ref[Order]] = []

    @fastrpc.service("billing")
    class Billing:
        @fastrpc.subscriber(ORDERS, start="oldest")
        async def bill(self, message: Message[Order]) -> None:
            values.append(weakref.ref(message.value))

    async with BrokerServer("tcp://127.0.0.1:0") as server, open_broker(server.url) as broker:
        async with fastrpc.Server(Billing(), broker=server.url):
            await broker.publish_many(ORDERS, [Order(str(number)) for number in range(20)])
            await eventually(lambda: len(values) == 20 and not any(value() for value in values))


@pytest.mark.usefixtures("collector_off")
async def test_messages_settled_by_the_program_are_freed_once_their_acks_are_kept() -> None:
    values: list[weakref.ref[Order]] = []

    async def take(messages: fastrpc.brokers.Subscription[Order]) -> None:
        message = await anext(messages)
        values.append(weakref.ref(message.value))
        await message.ack()

    async with BrokerServer("tcp://127.0.0.1:0") as server, open_broker(server.url) as broker:
        await broker.declare(ORDERS)
        async with broker.subscribe(ORDERS, group="audit", start="oldest") as messages:
            await broker.publish_many(ORDERS, [Order(str(number)) for number in range(20)])
            await asyncio.gather(*(take(messages) for _ in range(20)))
            await eventually(lambda: not any(value() for value in values))
