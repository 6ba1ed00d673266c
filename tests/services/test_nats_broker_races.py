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
from fastrpc.brokers.nats.jetstream import JetStream
from fastrpc.brokers.nats.topics import StreamTopics
from fastrpc.errors import BrokerError, ConfigError

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
    # Either may be the second to look: the answers of the server to them may come in any order.
    await asyncio.wait(joins, return_when=asyncio.FIRST_COMPLETED)
    is_made.set()
    await asyncio.gather(*joins)
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


@pytest.fixture
def short_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim without its group is soon free."""
    monkeypatch.setattr("fastrpc.brokers.nats.groups._BEGIN_SECONDS", 0.01)


WIDE = TopicSettings("orders.**")


@pytest.mark.usefixtures("short_claims")
@pytest.mark.parametrize("later", ["orders.old", "jobs"])
async def test_a_member_that_found_a_free_name_does_not_take_it_from_a_member_that_joined_meanwhile(
    broker: BrokerBackend, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    await broker.declare(WIDE)
    await broker.declare(TopicSettings("jobs"))
    await Groups(broker._link)._claimed("b", WIDE, "orders.ended")  # type: ignore[attr-defined]
    await asyncio.sleep(0.02)
    looks, has_looked, is_made, look = count(1), asyncio.Event(), asyncio.Event(), Groups.info

    async def late(groups: Groups, group: ConsumerGroup) -> dict[str, Any] | None:
        number, told = next(looks), await look(groups, group)
        if number == 1:
            has_looked.set()
            await is_made.wait()
        return told

    monkeypatch.setattr(Groups, "info", late)
    second = asyncio.create_task(broker.join(GroupSettings("b", later)))
    await has_looked.wait()
    await broker.join(GroupSettings("b", "orders.new"))
    is_made.set()
    with pytest.raises(ConfigError, match=f"has the pattern orders.new, not {later}"):
        await second


@pytest.mark.usefixtures("short_claims")
@pytest.mark.parametrize("slow", ["orders.old", "jobs"])
async def test_a_member_that_loses_its_claim_before_it_makes_the_group_is_refused(
    broker: BrokerBackend, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    await broker.declare(WIDE)
    await broker.declare(TopicSettings("jobs"))
    has_claimed, is_lost, begun = asyncio.Event(), asyncio.Event(), Groups._begun

    async def late(groups: Groups, group: ConsumerGroup, *rest: Any) -> dict[str, Any]:
        if group.pattern == slow:
            has_claimed.set()
            await is_lost.wait()
        return await begun(groups, group, *rest)

    monkeypatch.setattr(Groups, "_begun", late)
    first = asyncio.create_task(broker.join(GroupSettings("b", slow)))
    await has_claimed.wait()
    await broker.join(GroupSettings("b", "orders.new"))
    is_lost.set()
    with pytest.raises(ConfigError, match=f"has the pattern orders.new, not {slow}"):
        await first
    assert [(one.name, one.pattern) for one in await broker.groups()] == [("b", "orders.new")]
    link = broker._link  # type: ignore[attr-defined]
    assert await Groups(link).info(ConsumerGroup(link, "b", "jobs", "jobs")) is None


async def test_a_member_whose_group_is_removed_while_it_joins_may_join_again(
    broker: BrokerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare(LOG)
    begun = Groups._begun

    async def removed(groups: Groups, group: ConsumerGroup, *rest: Any) -> dict[str, Any]:
        told = await begun(groups, group, *rest)
        await broker.remove_group("b")
        return told

    with monkeypatch.context() as patch:
        patch.setattr(Groups, "_begun", removed)
        with pytest.raises(BrokerError, match="the group b was removed meanwhile") as raised:
            await broker.join(GroupSettings("b", "orders.new"))
    assert (raised.value.retryable, raised.value.processed) == (True, "no")
    await broker.join(GroupSettings("b", "orders.new"))


@pytest.mark.usefixtures("short_claims")
async def test_a_program_that_makes_no_streams_removes_no_claim(broker: BrokerBackend, nats_url: str) -> None:
    await broker.declare(WIDE)
    await Groups(broker._link)._claimed("b", WIDE, "orders.new")  # type: ignore[attr-defined]
    await asyncio.sleep(0.02)
    async with open_backend(f"{nats_url}&manage=false") as other:
        with pytest.raises(ConfigError, match="has the pattern orders.new, not orders.old"):
            await other.join(GroupSettings("b", "orders.old"))
    assert await Groups(broker._link).find("b") is not None  # type: ignore[attr-defined]


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


def overlap(monkeypatch: pytest.MonkeyPatch, created: str) -> None:
    """Show a second stream below `orders.**`: the server lets it begin only sometimes."""
    monkeypatch.setattr("fastrpc.brokers.nats.topics._LOOK_SECONDS", 0.0)
    touching = StreamTopics._touching

    async def both(topics: StreamTopics, topic: TopicSettings) -> list[dict[str, Any]]:
        return [*await touching(topics, topic), {"config": {"name": "another"}, "created": created}]

    monkeypatch.setattr(StreamTopics, "_touching", both)


@pytest.mark.parametrize("has_messages", [True, False])
async def test_a_new_topic_that_overlaps_stays_only_with_messages(
    broker: BrokerBackend, monkeypatch: pytest.MonkeyPatch, has_messages: bool
) -> None:
    stay_alone = StreamTopics._stay_alone

    async def used(topics: StreamTopics, topic: TopicSettings, info: Any, **options: Any) -> None:
        if has_messages:
            await broker.publish([OutgoingMessage("orders.old", b"1")])
        overlap(monkeypatch, "2020-01-01T00:00:00Z")
        await stay_alone(topics, topic, info, **options)

    with monkeypatch.context() as patch:
        patch.setattr(StreamTopics, "_stay_alone", used)
        with pytest.raises(ConfigError, match=r"the topic orders\.\*\* overlaps with the stream another"):
            await broker.declare(WIDE)
    assert [topic.name for topic in await broker.topics()] == ["orders.**"] * has_messages


async def test_an_existing_topic_is_refused_while_it_overlaps_and_is_not_removed(
    broker: BrokerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.declare(WIDE)
    overlap(monkeypatch, "2020-01-01T00:00:00Z")
    with pytest.raises(ConfigError, match=r"the topic orders\.\*\* overlaps with the stream another"):
        await broker.declare(WIDE)
    assert [topic.name for topic in await broker.topics()] == ["orders.**"]


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


async def test_batches_that_are_cancelled_leave_room_for_others(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, waiting = JetStream.ask, asyncio.Semaphore(0)

    async def without_commit(stream: JetStream, subject: str, body: bytes, headers: Any) -> Any:
        if "Nats-Batch-Commit" not in headers:
            return await ask(stream, subject, body, headers)
        waiting.release()
        return await asyncio.Event().wait()

    async with open_broker(nats_url) as broker:
        await broker.publish_many("orders.new", [1, 2])
        with monkeypatch.context() as patch:
            patch.setattr(JetStream, "ask", without_commit)
            for _ in range(50):
                work = asyncio.create_task(broker.publish_many("orders.new", [3, 4]))
                await waiting.acquire()
                work.cancel()
                await asyncio.wait([work])
        kept = await broker.publish_many("orders.new", [5, 6])
        assert [one.sequence for one in kept] == [3, 4]
