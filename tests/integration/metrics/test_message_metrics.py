"""Metrics of messages: counts by topic and outcome, and the groups of a broker."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fastrpc
import fastrpc.gauges
import fastrpc.metrics
from fastrpc import CallError, Message, Server, Status, Topic
from fastrpc.brokers import open_broker
from fastrpc.brokers.base import OutgoingMessage, TopicSettings
from fastrpc.brokers.embedded import group_states
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.memory import MemoryBroker
from fastrpc.brokers.remote.server import BrokerServer
from fastrpc.gauges import COUNTS
from fastrpc.testing import broker, connected
from tests.support.scrapes import scraped

pytestmark = pytest.mark.one_loop

NONE = {"published": 0, "acked": 0, "retried": 0, "dead": 0, "expired": 0, "damaged": 0, "missed": 0}


def counted(topic: str) -> dict[str, float | None]:
    """Return the messages of a topic by outcome."""
    return {
        outcome: scraped("fastrpc_messages_total", topic=topic, outcome=outcome)
        for outcome in TopicCounts.__dataclass_fields__
    }


def gauged(topic: str, group: str) -> list[float | None]:
    """Return the lag, the age of the oldest message and the dead letters of a group."""
    return [
        scraped(f"fastrpc_messages_{name}", topic=topic, group=group)
        for name in ("lag", "oldest_seconds", "dead")
    ]


async def handle(broker: fastrpc.brokers.Broker, topic: str, *verbs: str) -> None:
    """Settle messages of the group `g`, each by a verb."""
    async with broker.subscribe(topic, group="g", start="oldest", in_flight=1) as messages:
        for verb in verbs:
            message = await anext(messages)
            await (message.reject("no") if verb == "reject" else getattr(message, verb)())


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_each_outcome_is_counted_where_the_broker_lives(scheme: str, tmp_path: Path) -> None:
    topic = f"counted.{scheme}"
    url = "memory://counted" if scheme == "memory" else f"sqlite://{tmp_path}/broker"
    async with open_broker(url) as opened:
        await opened.declare(Topic(topic, int))
        assert counted(topic) == NONE
        for number in range(5):
            await opened.publish(topic, number, id=f"id-{number}")
        assert (await opened.publish(topic, 0, id="id-0")).is_duplicate
        await handle(opened, topic, "nack", "ack", "reject", "ack")
        assert counted(topic) == NONE | {"published": 5, "acked": 2, "retried": 1, "dead": 1}
        lag, oldest, dead = gauged(topic, "g")
        assert (lag, dead) == (2, 1)
        assert oldest is not None
        assert 0 < oldest < 60
        has_file = scraped("fastrpc_messages_file_bytes") is not None
        assert has_file == (scheme == "sqlite")
        await opened.publish(topic, 7)
    # The end reports the last counts; its groups no longer exist.
    assert counted(topic)["published"] == 6
    assert gauged(topic, "g") == [None, None, None]


async def test_a_client_of_a_broker_counts_nothing() -> None:
    async with BrokerServer("tcp://127.0.0.1:0") as server, open_broker(server.url) as opened:
        await opened.publish("counted.client", 1)
        await handle(opened, "counted.client", "ack")
        # Both are in this process: a client that counted would count each message again.
        assert counted("counted.client") == NONE | {"published": 1, "acked": 1}
        assert gauged("counted.client", "g") == [0, 0, 0]


async def test_counts_continue_in_the_broker_that_follows() -> None:
    for number in range(1, 3):
        async with open_broker("memory://followed") as opened:
            await opened.publish("counted.followed", 1)
            assert counted("counted.followed")["published"] == number


async def test_the_age_of_the_oldest_message_follows_the_clock_of_the_broker() -> None:
    async with broker() as shop:
        async with shop.subscribe("counted.old", group="g"):
            await shop.publish("counted.old", 1)
        await shop.advance(90)
        assert gauged("counted.old", "g") == [1, pytest.approx(90), 0]


async def test_messages_that_a_log_drops_are_expired() -> None:
    topic = Topic("counted.expired", int, keep_seconds=60)
    async with broker() as shop:
        async with shop.subscribe(topic, group="g"):
            await shop.publish(topic, 1)
        await shop.advance(61)
        assert counted(topic.name) == NONE | {"published": 1, "expired": 1}


async def test_a_scrape_in_a_thread_finds_the_groups_of_the_loop() -> None:
    async with open_broker("memory://threads") as opened:
        async with opened.subscribe("counted.threads", group="g"):
            await opened.publish("counted.threads", 1)
        found: list[float | None] = [None]
        while found[0] is None:
            # Another thread is given the groups that the loop found last.
            found = await asyncio.to_thread(gauged, "counted.threads", "g")
        assert found[0] == 1
        assert (await asyncio.to_thread(counted, "counted.threads"))["published"] == 1


async def test_names_beyond_two_hundred_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNTS, "messages", {})
    monkeypatch.setattr("fastrpc.gauges._names", {"messages": fastrpc.gauges.BoundedNames()})
    monkeypatch.setattr("fastrpc.brokers.observed.figures._labels", fastrpc.gauges.BoundedNames())
    backend = MemoryBroker()
    async with backend:
        for number in range(250):
            name = f"many.n{number}"
            await backend.declare(TopicSettings(name, None, (f"group-{number:03}",)))
            await backend.publish([OutgoingMessage(name, b"1")])
        published = "published"
        assert scraped("fastrpc_messages_total", topic="many.n199", outcome=published) == 1
        assert scraped("fastrpc_messages_total", topic="many.n200", outcome=published) is None
        assert scraped("fastrpc_messages_total", topic="_other", outcome=published) == 50
        assert gauged("many.n199", "group-199")[0] == 1
        assert gauged("_other", "_other")[0] == 50
        assert len(COUNTS["messages"]) == 201 * len(NONE)


async def test_deliveries_are_calls_of_the_protocol_messages() -> None:
    numbers = Topic("counted.calls", int)

    @fastrpc.service("counted_calls")
    class Calls:
        @fastrpc.subscriber(numbers)
        async def handle(self, message: Message[int]) -> None:
            if message.value < 0 or (message.value and message.delivery == 1):
                raise CallError(Status.INVALID_ARGUMENT if message.value < 0 else Status.ABORTED, "no")

    labels = {"service": "counted_calls", "method": "handle", "protocol": "messages"}
    async with broker() as shop, connected(Calls(), broker=shop):
        for number in (0, 0, 1, -1):
            await shop.publish(numbers, number)
        await shop.settled()
        await shop.advance(2)
        await shop.settled()
        assert counted(numbers.name) == NONE | {"published": 4, "acked": 3, "retried": 1, "dead": 1}
    calls = fastrpc.metrics.collector()
    found: dict[str, float] = {
        sample.labels["status"]: sample.value
        for family in calls.collect()
        for sample in family.samples
        if sample.name == "fastrpc_server_calls_total" and labels.items() <= sample.labels.items()
    }
    assert found == {"OK": 3, "ABORTED": 1, "INVALID_ARGUMENT": 1}


async def test_a_server_tells_the_figures_of_its_broker() -> None:
    async with Server(broker="memory://of-a-server") as server:
        opened: Any = server._gate.dispatcher.broker  # type: ignore[union-attr]
        await opened.publish("counted.server", 1)
        assert counted("counted.server")["published"] == 1


async def test_long_looks_at_very_many_groups_come_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine a first look may be a long one.
    monkeypatch.setattr(group_states, "_LONG_LOOK_SECONDS", float("inf"))
    async with open_broker("memory://paused") as opened:
        await opened.declare(Topic("counted.paused", int, keep_seconds=None, groups=("g",)))
        await opened.publish("counted.paused", 1)
        assert gauged("counted.paused", "g")[0] == 1
        # Every look is a long one now: the next one comes after twenty times as long.
        monkeypatch.setattr(group_states, "_LONG_LOOK_SECONDS", 0.0)
        monkeypatch.setattr(group_states, "_PAUSE_IN_LOOKS", 1e9)
        await opened.publish("counted.paused", 2)
        assert gauged("counted.paused", "g")[0] == 2
        await opened.publish("counted.paused", 3)
        assert gauged("counted.paused", "g")[0] == 2
