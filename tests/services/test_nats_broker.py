"""The broker over NATS: each cell of its column in the table of backends; test_brokers.py has the contract."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, PersistMode, StorageType

from fastrpc.brokers import Topic, open_broker
from fastrpc.brokers.base import (
    BrokerBackend,
    Delivery,
    GroupSettings,
    Membership,
    OutgoingMessage,
    TopicSettings,
)
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status
from tests.support.nats_streams import on_streams
from tests.support.ports import free_ports
from tests.support.registry_servers import NatsServer

pytestmark = pytest.mark.one_loop

LOG = TopicSettings("orders.new")
QUEUE = TopicSettings("jobs", None, ("one", "two"))


async def publish(broker: BrokerBackend, *bodies: bytes, topic: str = "orders.new") -> None:
    for body in bodies:
        await broker.publish([OutgoingMessage(topic, body)])


async def joined(
    broker: BrokerBackend, group: str = "a", topic: str = "orders.new", **more: Any
) -> Membership:
    return await broker.join(GroupSettings(group, topic, **more))


@pytest.fixture
def broker(nats_broker: BrokerBackend) -> BrokerBackend:
    return nats_broker


# Kept messages


async def test_messages_are_in_files(broker: BrokerBackend, nats: NatsServer, nats_base: str) -> None:
    await broker.declare(LOG)
    info = await on_streams(nats, lambda streams: streams.stream_info(f"{nats_base}+orders-new"))
    assert (info.config.storage, info.config.persist_mode) == ("file", None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"persist_mode": PersistMode.ASYNC}, "persist_mode=async"),
        ({"storage": StorageType.MEMORY}, "storage='memory'"),
        ({"max_bytes": 5}, "max_bytes=5"),
    ],
)
async def test_an_existing_stream_that_keeps_less_is_refused(
    broker: BrokerBackend, nats: NatsServer, nats_base: str, changes: dict[str, Any], told: str
) -> None:
    await broker.declare(LOG)

    async def make_anew(streams: JetStreamContext) -> None:
        name = f"{nats_base}+orders-new"
        config = (await streams.stream_info(name)).config
        await streams.delete_stream(name)
        # A batch needs messages that are written at once.
        await streams.add_stream(replace(config, allow_atomic=None, allow_msg_schedules=None, **changes))

    await on_streams(nats, make_anew)
    with pytest.raises(ConfigError, match=told):
        await broker.declare(LOG)


# sync=full


@pytest.fixture
def synced(nats_path: str, tmp_path: Path) -> Callable[[str], contextlib.AbstractContextManager[str]]:
    """Return the URL of a server with a monitoring port, by the configuration of its JetStream."""

    @contextlib.contextmanager
    def running(configuration: str) -> Iterator[str]:
        (port,) = free_ports(1)
        file = tmp_path / "nats.conf"
        file.write_text(f"jetstream {{ {configuration} }}\n")
        options = ["-c", str(file), "-m", str(port)]
        with NatsServer(nats_path, tmp_path, options=options).running() as server:
            yield f"{server.url}?sync=full&monitor=http://127.0.0.1:{port}"

    return running


async def test_sync_full_is_believed_where_the_monitor_shows_it(synced: Any) -> None:
    with synced("sync_interval: always") as synced_url:
        async with open_backend(synced_url) as broker:
            await broker.declare(LOG)
            await publish(broker, b"1")


async def test_sync_full_is_refused_where_the_server_syncs_later(synced: Any) -> None:
    with synced("sync_interval: 2m") as synced_url:
        with pytest.raises(ConfigError, match="sync=full of nats://.*sync_interval: always"):
            async with open_backend(synced_url):
                pass


# replicas


async def test_replicas_of_a_server_alone_are_refused_by_it(nats_url: str) -> None:
    async with open_backend(f"{nats_url}&replicas=3") as broker:
        with pytest.raises(BrokerError, match="replicas"):
            await broker.declare(LOG)


async def test_a_stream_with_fewer_replicas_is_refused(broker: BrokerBackend, nats_url: str) -> None:
    await broker.declare(LOG)
    async with open_backend(f"{nats_url}&replicas=3") as other:
        with pytest.raises(ConfigError, match=r"replicas=3, .* has 1.*--replicas=3"):
            await other.declare(LOG)


# ordered


async def test_an_ordered_group_has_one_message_under_way(broker: BrokerBackend) -> None:
    assert broker.limits.ordered_at_once == 1
    await broker.declare(LOG)
    first, second = [await joined(broker, is_ordered=True) for _ in range(2)]
    await publish(broker, b"1", b"2", b"3")
    (one,) = await first.take(5)
    waiting = asyncio.ensure_future(second.take(5))
    assert await first.nack(one.token, 0.5)
    # A retry holds the next one.
    (again,) = await waiting
    assert (again.body, again.delivery) == (b"1", 2)
    # A dead letter frees it.
    assert await second.reject(again.token, "no", "")
    assert [one.body for one in await first.take(5)] == [b"2"]


# id


async def test_an_id_is_found_by_the_header_of_jetstream(
    broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    await broker.declare(LOG)
    await broker.publish([OutgoingMessage("orders.new", b"", id="order-17")])
    kept = await on_streams(nats, lambda streams: streams.get_msg(f"{nats_base}+orders-new", 1))
    assert kept.headers == {"Nats-Msg-Id": "order-17"}


async def test_a_delayed_message_keeps_its_id(broker: BrokerBackend) -> None:
    await broker.declare(LOG)
    member = await joined(broker)
    for expected in (False, True):
        (kept,) = await broker.publish([OutgoingMessage("orders.new", b"", id="x", delay=0.5)])
        assert kept.is_duplicate is expected
    (one,) = await member.take(5)
    assert one.id == "x"


async def test_the_broker_tells_the_id_that_it_made(broker: BrokerBackend) -> None:
    await broker.declare(LOG)
    member = await joined(broker)
    (now,) = await broker.publish([OutgoingMessage("orders.new", b"now")])
    many = await broker.publish([OutgoingMessage("orders.new", b"")] * 3)
    (later,) = await broker.publish([OutgoingMessage("orders.new", b"later", delay=0.5)])
    found: list[Delivery] = []
    while len(found) < 5:
        found += await member.take(5)
    ids = [now.id, *(one.id for one in many), later.id]
    assert [one.id for one in found] == ids
    assert len(set(ids)) == 5


@pytest.mark.parametrize("id", [" ", "a b", "%20", "é", "a\nb", "x" * 512])
async def test_any_text_is_an_id_a_key_and_a_header(broker: BrokerBackend, id: str) -> None:
    await broker.declare(LOG)
    member = await joined(broker)
    message = OutgoingMessage("orders.new", b"", id, id, headers={"a": id, "b": "plain"}, publisher=id)
    published = [(await broker.publish([message]))[0] for _ in range(2)]
    assert [(one.id, one.is_duplicate) for one in published] == [(id, False), (id, True)]
    (one,) = await member.take(5)
    assert (one.id, one.key, one.publisher, dict(one.headers)) == (id, id, id, {"a": id, "b": "plain"})
    # The message is unchanged as a dead letter, and as a repeated message.
    assert await member.reject(one.token, "no", id)
    (letter,) = await broker.dead_letters("a")
    assert (letter.id, letter.error, dict(letter.headers)) == (id, id, {"a": id, "b": "plain"})
    assert await broker.replay("a", [id]) == 1
    (again,) = await member.take(5)
    assert (again.id, again.key, again.sequence) == (id, id, one.sequence)
    assert (again.topic, again.published_at) == (one.topic, one.published_at)


async def test_messages_of_other_programs_come_out(
    broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    await broker.declare(LOG)
    member = await joined(broker)
    await on_streams(nats, lambda streams: streams.publish(f"{nats_base}.topic.orders.new", b"plain"))
    (one,) = await member.take(5)
    assert (one.topic, one.body, one.key, dict(one.headers)) == ("orders.new", b"plain", None, {})
    assert one.id


@pytest.mark.parametrize("group", ["a", None])
async def test_a_message_with_a_malformed_header_is_a_dead_letter_and_the_next_ones_come(
    broker: BrokerBackend, nats: NatsServer, nats_base: str, group: str | None
) -> None:
    await broker.declare(LOG)
    member = await broker.join(GroupSettings(group, "orders.new", is_ordered=group is not None))
    subject = f"{nats_base}.topic.orders.new"
    for headers in ({"frpc-rest": "x"}, {"frpc-again": "{}"}, {"frpc-id": "x" * 5_000}):
        await on_streams(nats, lambda streams, h=headers: streams.publish(subject, b"bad", headers=h))
    await publish(broker, b"good")
    async with asyncio.timeout(60):
        (one,) = await member.take(5)
    assert one.body == b"good"
    assert await member.ack(one.token)
    if group is not None:
        letters = await broker.dead_letters(group)
        assert [(one.body, one.reason) for one in letters] == [(b"bad", "its headers do not decode")] * 3
        assert [state.lag for state in await broker.groups()] == [0]
        # Their headers are well-formed now.
        assert await broker.replay(group, []) == 3
        assert [one.body for one in await member.take(1)] == [b"bad"]


async def test_a_message_of_another_program_hides_no_dead_letter(
    broker: BrokerBackend, nats: NatsServer, nats_base: str, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.declare(LOG)
    member = await joined(broker)
    await publish(broker, b"1")
    (one,) = await member.take(1)
    assert await member.reject(one.token, "no", "")
    await on_streams(nats, lambda streams: streams.publish(f"{nats_base}.dead.a.1.x", b"foreign"))
    assert [one.body for one in await broker.dead_letters("a")] == [b"1"]
    assert "has a message of another program" in caplog.text
    assert await broker.discard("a", []) == 2


# delay


async def test_a_queue_refuses_a_delay(broker: BrokerBackend) -> None:
    await broker.declare(QUEUE)
    with pytest.raises(ConfigError, match="delay is 1.*nats://.*queue.*keep_seconds"):
        await broker.publish([OutgoingMessage("jobs", b"", delay=1.0)])


# Batches


async def test_many_messages_are_kept_as_a_whole(broker: BrokerBackend) -> None:
    await broker.declare(replace(QUEUE, max_bytes=100_000))
    with pytest.raises(BrokerError) as caught:
        await broker.publish([OutgoingMessage("jobs", b"x" * 1000) for _ in range(200)])
    assert (caught.value.status, caught.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
    assert {group.lag for group in await broker.groups()} == {0}


async def test_more_messages_than_a_batch_holds_keep_their_order(broker: BrokerBackend) -> None:
    await broker.declare(LOG)
    messages = [OutgoingMessage("orders.new", b"%d" % number) for number in range(2_500)]
    published = await broker.publish(messages)
    assert [one.sequence for one in published] == [*range(1, 2_501)]


async def test_publications_of_which_some_are_stored_already_are_told_apart(broker: BrokerBackend) -> None:
    await broker.declare(LOG)
    await broker.publish([OutgoingMessage("orders.new", b"", id="b")])
    published = await broker.publish([OutgoingMessage("orders.new", b"", id=id) for id in "abca"])
    assert [one.is_duplicate for one in published] == [False, True, False, True]


# Patterns and queues


async def test_a_queue_has_interest_retention_and_refuses_messages_when_full(
    broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    await broker.declare(QUEUE)
    info = await on_streams(nats, lambda streams: streams.stream_info(f"{nats_base}+jobs"))
    assert (info.config.retention, info.config.discard) == ("interest", "new")
    assert {group.name for group in await broker.groups()} == {"one", "two"}
    await publish(broker, b"1", topic="jobs")
    for name in ("one", "two"):
        member = await joined(broker, name, "jobs")
        (one,) = await member.take(1)
        assert await member.ack(one.token)
    info = await on_streams(nats, lambda streams: streams.stream_info(f"{nats_base}+jobs"))
    assert info.state.messages == 0


async def test_a_broadcast_of_a_queue_is_refused_as_it_would_fill_it(broker: BrokerBackend) -> None:
    await broker.declare(replace(QUEUE, groups=("one",), max_bytes=10_000))
    with pytest.raises(ConfigError, match=r"broadcast of the queue jobs is refused.*groups, one"):
        await broker.join(GroupSettings(None, "jobs"))
    member = await joined(broker, "one", "jobs")
    for _ in range(30):
        await publish(broker, b"x" * 1_000, topic="jobs")
        (one,) = await member.take(1)
        assert await member.ack(one.token)


async def test_a_queue_that_was_made_in_part_is_completed(
    broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    await broker.declare(QUEUE)
    await on_streams(nats, lambda streams: streams.delete_consumer(f"{nats_base}+jobs", "two"))
    await broker.declare(QUEUE)
    assert {group.name for group in await broker.groups()} == {"one", "two"}


async def test_a_group_of_a_queue_that_is_sought_loses_nothing(broker: BrokerBackend) -> None:
    await broker.declare(replace(QUEUE, groups=("one",)))
    member = await joined(broker, "one", "jobs")
    await publish(broker, b"1", b"2", topic="jobs")
    await member.take(1)
    await broker.seek("one", "oldest")
    found: list[Delivery] = []
    while len(found) < 2:
        found += await member.take(2)
    assert [(one.body, one.delivery) for one in found] == [(b"1", 1), (b"2", 1)]


async def test_the_first_member_of_a_queue_says_whether_its_group_is_ordered(broker: BrokerBackend) -> None:
    await broker.declare(QUEUE)
    await joined(broker, "one", "jobs", is_ordered=True)
    with pytest.raises(ConfigError, match="ordered members"):
        await joined(broker, "one", "jobs")
    assert {group.name: group.is_ordered for group in await broker.groups()} == {"one": True, "two": False}


# Retries, dead letters, handing back


async def test_a_retry_takes_a_place_of_those_under_way(broker: BrokerBackend) -> None:
    await broker.declare(LOG)
    member = await joined(broker)
    await publish(broker, b"1")
    (one,) = await member.take(1)
    assert await member.nack(one.token, 60.0)
    assert [(group.under_way, group.lag) for group in await broker.groups()] == [(1, 1)]


async def test_a_message_that_dies_twice_is_one_dead_letter(nats_url: str) -> None:
    async with open_backend(f"{nats_url}&lease=2") as broker:
        await broker.declare(LOG)
        member = await joined(broker)
        await publish(broker, b"1")
        (one,) = await member.take(1)
        settled = member._settle  # type: ignore[attr-defined]

        async def unreachable(token: Any, verb: bytes) -> bool:
            raise BrokerError("the server is away", retryable=True)

        # The dead letter is kept, and the end of the message does not arrive.
        member._settle = unreachable  # type: ignore[attr-defined]
        with pytest.raises(BrokerError):
            await member.reject(one.token, "first", "")
        member._settle = settled  # type: ignore[attr-defined]
        assert await member.nack(one.token, 0.0)
        (again,) = await member.take(1)
        assert await member.reject(again.token, "second", "")
        assert len(await broker.dead_letters("a")) == 1


async def test_a_message_that_is_handed_back_is_counted_by_the_server(broker: BrokerBackend) -> None:
    assert not broker.limits.hands_back_uncounted
    await broker.declare(LOG)
    member = await joined(broker)
    await publish(broker, b"1")
    (one,) = await member.take(1)
    assert await member.hand_back(one.token)
    (again,) = await member.take(1)
    assert again.delivery == 2


# Groups that end


async def test_members_of_a_group_that_the_server_lost_begin_again_at_the_oldest_message(
    nats: NatsServer, nats_url: str, nats_base: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = Topic("orders.new", bytes)
    async with open_broker(nats_url) as broker:
        async with broker.subscribe(topic, group="a") as messages:
            await broker.publish(topic, b"1")
            await (await anext(messages)).ack()
            await on_streams(nats, lambda streams: streams.delete_consumer(f"{nats_base}+orders-new", "a"))
            await broker.publish(topic, b"2")
            found = [await anext(messages), await anext(messages)]
            assert [one.value for one in found] == [b"1", b"2"]
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert "NATS has lost the group a" in told[0]
    assert "begins again at the oldest message" in told[1]


async def test_members_in_another_process_see_that_their_group_is_removed(nats_url: str) -> None:
    async with open_backend(nats_url) as broker, open_backend(nats_url) as other:
        await broker.declare(LOG)
        member = await joined(broker)
        taking = asyncio.ensure_future(member.take(1))
        while not any(group.members for group in await other.groups() if group.name == "a"):
            pass
        await other.remove_group("a")
        with pytest.raises(BrokerError, match="removed") as caught:
            await taking
        assert caught.value.status is Status.NOT_FOUND


async def test_members_in_another_process_follow_their_group_to_its_place(nats_url: str) -> None:
    async with open_backend(nats_url) as broker, open_backend(nats_url) as other:
        await broker.declare(LOG)
        member = await joined(broker)
        await publish(broker, b"1")
        (one,) = await member.take(1)
        assert await member.ack(one.token)
        taking = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        await other.seek("a", "oldest")
        assert [one.body for one in await taking] == [b"1"]


async def test_a_broadcast_ends_with_its_member(
    broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    await broker.declare(LOG)
    member = await broker.join(GroupSettings(None, "orders.new"))
    await publish(broker, b"1")
    (one,) = await member.take(1)
    assert await member.nack(one.token, 0.0)
    (again,) = await member.take(1)
    assert again.delivery == 2
    assert await member.reject(again.token, "no", "")
    await member.close()
    info = await on_streams(nats, lambda streams: streams.stream_info(f"{nats_base}+orders-new"))
    assert info.state.consumer_count == 0


async def test_consumers_of_other_programs_are_left_alone(
    broker: BrokerBackend, nats: NatsServer, nats_base: str
) -> None:
    await broker.declare(LOG)
    config = ConsumerConfig(durable_name="audit", ack_policy=AckPolicy.EXPLICIT)
    await on_streams(nats, lambda streams: streams.add_consumer(f"{nats_base}+orders-new", config))
    assert list(await broker.groups()) == []
