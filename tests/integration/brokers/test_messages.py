"""Messages by hand over the brokers in memory and of a server: publish, subscribe, groups, retries, dead letters."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc import TLS, BrokerError, ConfigError, Status, Topic
from fastrpc.brokers import Broker, Message, Subscription, open_broker, sync
from fastrpc.brokers.base import OutgoingMessage
from fastrpc.brokers.remote.server import BrokerServer

pytestmark = pytest.mark.one_loop


@dataclass
class Order:
    id: str
    price: int = 0


ORDERS = Topic("orders.new", Order)


@pytest.fixture(params=["memory", "broker"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    if request.param == "memory":
        async with open_broker("memory://messages") as broker:
            yield broker
    else:
        async with BrokerServer("tcp://127.0.0.1:0") as server, open_broker(server.url) as broker:
            yield broker


async def taken(messages: Subscription[Any], count: int = 1) -> list[Message[Any]]:
    async with asyncio.timeout(20):
        return [await anext(messages) for _ in range(count)]


async def test_each_group_gets_each_message_and_its_members_share_the_messages(broker: Broker) -> None:
    async with (
        broker.subscribe(ORDERS, group="audit") as audit,
        broker.subscribe(ORDERS, group="billing", in_flight=2) as one,
        broker.subscribe(ORDERS, group="billing", in_flight=2) as other,
    ):
        published = await broker.publish_many(ORDERS, [Order(str(number)) for number in range(4)])
        assert [message.value.id for message in await taken(audit, 4)] == ["0", "1", "2", "3"]
        shared = await taken(one, 2) + await taken(other, 2)
        assert sorted(message.sequence for message in shared) == [one.sequence for one in published]


async def test_message_carries_the_published_fields(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        published = await broker.publish(ORDERS, Order("17", 40), key="k", id="order-17", headers={"a": "b"})
        (message,) = await taken(messages)
        assert (message.topic, message.value, message.key, message.id) == (
            "orders.new",
            Order("17", 40),
            "k",
            "order-17",
        )
        assert (message.sequence, message.delivery, message.publisher) == (published.sequence, 1, None)
        assert message.headers == {"a": "b", "content-type": "application/json"}
        assert message.published_at.utcoffset() is not None


async def test_message_of_an_id_is_kept_once(broker: Broker) -> None:
    first = await broker.publish(ORDERS, Order("17"), id="order-17")
    second = await broker.publish(ORDERS, Order("17"), id="order-17")
    assert (first.is_duplicate, second.is_duplicate) == (False, True)
    assert second.sequence == first.sequence
    async with broker.subscribe(ORDERS, group="audit", start="oldest") as messages:
        await taken(messages)
        (state,) = await broker.groups()
        assert state.lag == 1


async def test_group_begins_at_the_configured_place(broker: Broker) -> None:
    await broker.publish_many(ORDERS, [Order("0"), Order("1")])
    async with (
        broker.subscribe(ORDERS, group="oldest", start="oldest") as oldest,
        broker.subscribe(ORDERS, group="new") as new,
    ):
        await broker.publish(ORDERS, Order("2"))
        assert [message.value.id for message in await taken(oldest, 3)] == ["0", "1", "2"]
        assert [message.value.id for message in await taken(new)] == ["2"]


async def test_pattern_holds_all_names_below_it(broker: Broker) -> None:
    await broker.declare(Topic("orders.**"))
    async with broker.subscribe("orders.*", group="all") as messages:
        await broker.publish("orders.new", 1)
        await broker.publish("orders.new.late", 2)
        await broker.publish("orders.paid", 3)
        assert [(message.topic, message.value) for message in await taken(messages, 2)] == [
            ("orders.new", 1),
            ("orders.paid", 3),
        ]


async def test_broadcast_reaches_each_subscriber_from_now_on(broker: Broker) -> None:
    await broker.publish(ORDERS, Order("0"))
    async with broker.subscribe(ORDERS) as one, broker.subscribe(ORDERS) as other:
        await broker.publish(ORDERS, Order("1"))
        for messages in (one, other):
            assert [message.value.id for message in await taken(messages)] == ["1"]


async def test_message_that_was_given_back_comes_again_counted(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish(ORDERS, Order("17"))
        for delivery in (1, 2, 3):
            (message,) = await taken(messages)
            assert message.delivery == delivery
            assert await message.nack(0)


async def test_block_hands_back_uncounted_and_acknowledged_messages_stay_away(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish_many(ORDERS, [Order("0"), Order("1")])
        first, second = await taken(messages, 2)
        assert await first.ack()
    assert second.is_lost
    assert not await second.ack()
    async with broker.subscribe(ORDERS, group="audit") as messages:
        (again,) = await taken(messages)
        assert (again.value.id, again.delivery) == ("1", 1)


async def test_dead_letter_is_listed_replayed_and_discarded(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish(ORDERS, Order("17"), id="order-17", key="k")
        (message,) = await taken(messages)
        assert await message.reject("no such customer")
        (dead,) = await broker.dead_letters("audit")
        assert (dead.id, dead.key, dead.reason, dead.deliveries) == ("order-17", "k", "no such customer", 1)
        assert await broker.replay("audit", "order-17") == 1
        (message,) = await taken(messages)
        assert (message.id, message.delivery) == ("order-17", 1)
        assert await message.reject("still no such customer")
        assert await broker.discard("audit") == 1
        assert list(await broker.dead_letters("audit")) == []


async def test_one_undecodable_value_of_many_becomes_a_dead_letter_and_other_values_are_handled(
    broker: Broker,
) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish_many("orders.new", [{"id": str(number)} for number in range(500)])
        await broker.publish("orders.new", {"id": 17}, id="wrong")
        await broker.publish_many("orders.new", [{"id": str(number)} for number in range(499)])
        for _ in range(999):
            (message,) = await taken(messages)
            await message.ack()
        (dead,) = await broker.dead_letters("audit")
        assert (dead.id, dead.reason) == ("wrong", "the value does not decode")
        assert dead.body == b'{"id":17}'
        assert "is not of type Order" in dead.error


async def test_messages_of_a_key_are_under_way_one_at_a_time(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit", ordered=True) as messages:
        keys = ["a", "a", "b"]
        await broker.publish_many(ORDERS, [Order(str(number)) for number in range(3)], keys=keys)
        first, other = await taken(messages, 2)
        assert [first.value.id, other.value.id] == ["0", "2"]
        assert await first.nack(0)
        (again,) = await taken(messages)
        assert (again.value.id, again.delivery) == ("0", 2)
        assert await again.ack()
        (second,) = await taken(messages)
        assert second.value.id == "1"


async def test_group_that_was_sought_begins_again_and_held_messages_are_lost(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit", in_flight=1) as messages:
        await broker.publish_many(ORDERS, [Order("0"), Order("1")])
        (message,) = await taken(messages)
        await message.ack()
        (held,) = await taken(messages)
        await broker.seek("audit", "oldest")
        assert held.is_lost
        assert not await held.ack()
        (again,) = await taken(messages)
        assert again.value.id == "0"


async def test_messages_that_a_seek_took_away_do_not_come_out(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish_many(ORDERS, [Order("0"), Order("1")])
        (held,) = await taken(messages)
        await broker.seek("audit", "oldest")
        again = await taken(messages, 2)
        assert [(message.value.id, message.is_lost) for message in again] == [("0", False), ("1", False)]
        assert held.is_lost


async def test_unknown_group_is_reported(broker: Broker) -> None:
    for attempt in (
        broker.seek("nobody", "oldest"),
        broker.remove_group("nobody"),
        broker.dead_letters("nobody"),
        broker.replay("nobody"),
        broker.discard("nobody"),
    ):
        with pytest.raises(BrokerError) as caught:
            await attempt
        assert (caught.value.status, caught.value.processed) == (Status.NOT_FOUND, "no")


async def test_removed_group_ends_its_subscriptions(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        await broker.remove_group("audit")
        with pytest.raises(BrokerError):
            await taken(messages)
    assert list(await broker.groups()) == []


async def test_queue_keeps_a_message_until_its_groups_have_handled_it_and_refuses_when_full(
    broker: Broker,
) -> None:
    jobs = Topic("jobs", bytes, keep_seconds=None, groups=("mail",), max_bytes=40_000)
    await broker.publish(jobs, bytes(30_000))
    # The backend itself: the broker above it repeats the publication until its deadline.
    with pytest.raises(BrokerError) as caught:
        await broker.backend.publish([OutgoingMessage("jobs", bytes(30_000))])
    assert (caught.value.status, caught.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
    async with broker.subscribe(jobs, group="mail") as messages:
        (message,) = await taken(messages)
        await message.ack()
        await broker.publish(jobs, bytes(30_000))
        (message,) = await taken(messages)
        assert len(message.value) == 30_000


async def test_topic_that_differs_or_overlaps_is_refused(broker: Broker) -> None:
    await broker.publish(ORDERS, Order("1"))
    for topic in (Topic("orders.new", keep_seconds=60), Topic("orders.*")):
        with pytest.raises(ConfigError):
            await broker.declare(topic)


async def test_openings_of_a_name_share_the_broker() -> None:
    async with open_broker("memory://shared") as one, open_broker("memory://shared") as other:
        async with one.subscribe(ORDERS) as messages:
            await other.publish(ORDERS, Order("1"))
            assert [message.value.id for message in await taken(messages)] == ["1"]


def test_blocking_twin_has_the_same_messages() -> None:
    with sync.open_broker("memory://blocking") as broker, broker.subscribe(ORDERS, group="audit") as messages:
        publisher = threading.Thread(target=broker.publish, args=(ORDERS, Order("17")))
        publisher.start()
        message = next(messages)
        publisher.join()
        assert message.value == Order("17")
        assert message.nack(0)
        assert next(messages).delivery == 2


def test_credentials_and_certificates_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"memory://shop does not accept credentials \(leave credentials out, or"
    ):
        open_broker("memory://shop", credentials=lambda: "token")
    with pytest.raises(ConfigError, match="leave tls out"):
        open_broker("memory://shop", tls=TLS())
