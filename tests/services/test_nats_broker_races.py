"""The broker over NATS where several members or publishers begin at the same instant."""

import asyncio
import logging
from itertools import count
from typing import Any

import pytest

from fastrpc.brokers import open_broker
from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.nats.groups import ConsumerGroup, Groups
from fastrpc.errors import ConfigError

pytestmark = pytest.mark.one_loop

LOG = TopicSettings("orders.new")

#: Each pair meets at another instant.
PAIRS = 20


@pytest.fixture
def broker(nats_broker: BrokerBackend) -> BrokerBackend:
    return nats_broker


async def outcomes(*joins: GroupSettings, brokers: list[BrokerBackend]) -> list[str]:
    """Return the names of the classes of what two members get that join at once."""
    works = [broker.join(join) for broker, join in zip(brokers, joins, strict=True)]
    found = await asyncio.gather(*works, return_exceptions=True)
    for one in found:
        if not isinstance(one, BaseException):
            await one.close()
    return sorted(type(one).__name__ for one in found)


async def test_a_member_that_finds_a_group_just_before_another_makes_it_reports_no_loss(
    broker: BrokerBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "fastrpc.broker")
    await broker.declare(LOG)
    looks, is_made, look = count(1), asyncio.Event(), Groups.info

    async def late(groups: Groups, group: ConsumerGroup) -> dict[str, Any] | None:
        number, told = next(looks), await look(groups, group)
        if number == 2:
            await is_made.wait()
        return told

    # The name is claimed, and the group is not made.
    await Groups(broker._link)._claimed("b", LOG, "orders.new")  # type: ignore[attr-defined]
    monkeypatch.setattr(Groups, "info", late)
    joins = [asyncio.create_task(broker.join(GroupSettings("b", "orders.new"))) for _ in range(2)]
    await joins[0]
    is_made.set()
    await joins[1]
    assert caplog.messages == []


async def test_one_name_for_groups_of_two_topics_is_refused_to_the_later_member(
    broker: BrokerBackend, nats_url: str
) -> None:
    await broker.declare(LOG)
    await broker.declare(TopicSettings("jobs"))
    async with open_backend(nats_url) as other:
        for number in range(PAIRS):
            joins = GroupSettings(f"group-{number}", "orders.new"), GroupSettings(f"group-{number}", "jobs")
            assert await outcomes(*joins, brokers=[broker, other]) == ["ConfigError", "NatsMembership"]


async def test_ordered_and_unordered_members_of_a_queue_do_not_share_its_group(
    broker: BrokerBackend, nats_url: str
) -> None:
    async with open_backend(nats_url) as other:
        for number in range(PAIRS):
            name = f"queue-{number}"
            await broker.declare(TopicSettings(name, None, (name,), max_bytes=1_000_000))
            joins = GroupSettings(name, name, is_ordered=True), GroupSettings(name, name)
            assert await outcomes(*joins, brokers=[broker, other]) == ["ConfigError", "NatsMembership"]


async def test_of_two_topics_that_overlap_one_is_refused(broker: BrokerBackend, nats_url: str) -> None:
    async with open_backend(nats_url) as other:
        for number in range(PAIRS):
            wide = TopicSettings(f"shop-{number}.**", max_bytes=1_000_000)
            narrow = TopicSettings(f"shop-{number}.new", max_bytes=1_000_000)
            works = broker.declare(wide), other.declare(narrow)
            found = await asyncio.gather(*works, return_exceptions=True)
            assert [isinstance(one, ConfigError) for one in found].count(True) == 1, found


async def test_more_batches_than_the_server_takes_at_once_are_kept(nats_url: str) -> None:
    async with open_broker(nats_url) as one, open_broker(nats_url) as other:
        works = [broker.publish_many("orders.new", [1, 2, 3]) for broker in (one, other) for _ in range(40)]
        kept = await asyncio.gather(*works)
        assert len({published.sequence for batch in kept for published in batch}) == 240


async def test_one_process_sends_no_more_batches_than_the_server_takes(broker: BrokerBackend) -> None:
    await broker.declare(LOG)
    messages = [OutgoingMessage("orders.new", b"1"), OutgoingMessage("orders.new", b"2")]
    kept = await asyncio.gather(*(broker.publish(messages) for _ in range(100)))
    assert len({published.sequence for batch in kept for published in batch}) == 200
