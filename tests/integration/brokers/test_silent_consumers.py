"""Consumers of `fastrpc.broker` that take messages and read or settle nothing: the broker holds little for each."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import Client, Server, Status
from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.remote import consumer
from fastrpc.brokers.remote.service import BrokerService, broker_config

pytestmark = pytest.mark.one_loop

TOPIC = TopicSettings("orders.new")
LARGE = bytes(900_000)

#: Most messages of the first batch.
FIRST = 8


@pytest.fixture
async def backend() -> AsyncIterator[tuple[BrokerBackend, Client]]:
    service = BrokerService()
    async with Server(service, config=broker_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address) as client:
            await service.backend.declare(TOPIC)
            yield service.backend, client


async def under_way(broker: BrokerBackend) -> int:
    return sum(group.under_way for group in await broker.groups())


async def test_a_consumer_that_reads_nothing_holds_one_batch_and_other_consumers_get_all_further_messages(
    backend: tuple[BrokerBackend, Client],
) -> None:
    broker, client = backend
    async with client.open("fastrpc.broker.consume", "orders.new", "g") as messages:
        await messages.receive()
        await broker.publish([OutgoingMessage("orders.new", LARGE) for _ in range(40)])
        for _ in range(10):
            await messages.send({"take": 40})
        while await under_way(broker) == 0:
            await asyncio.sleep(0.01)
        member = await broker.join(GroupSettings("g", "orders.new"))
        found = 0
        async with asyncio.timeout(20):
            while found < 40 - FIRST:
                found += len(await member.take(40))
        assert found == 40 - FIRST


async def test_messages_that_a_consumer_does_not_settle_have_a_bound(
    backend: tuple[BrokerBackend, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "MOST_UNDER_WAY", 5)
    broker, client = backend
    async with client.open("fastrpc.broker.consume", "orders.new", "g") as messages:
        await messages.receive()
        await broker.publish([OutgoingMessage("orders.new", b"1") for _ in range(20)])
        await messages.send({"take": 5})
        assert len((await messages.receive())["deliveries"]) == 5
        await messages.send({"take": 5})
        with pytest.raises(fastrpc.CallError, match="has 5 messages to settle, the limit is 5") as caught:
            await messages.receive()
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
    assert await under_way(broker) == 0
