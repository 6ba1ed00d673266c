"""The facade of brokers: publications, their repeats and refusals, and the verbs of operators."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import fastrpc
from fastrpc import BrokerError, ConfigError, EncodeError, Status, Topic
from fastrpc.brokers import Broker, Published, open_broker
from fastrpc.brokers.base import BrokerLimits, TopicSettings
from tests.support.forking import in_child
from tests.support.small_broker import SmallBroker, SmallMembership, away
from tests.support.waiting import eventually


@dataclass
class Order:
    id: str


ORDERS = Topic("orders.new", Order)


async def test_publication_declares_its_topic_once(broker: Broker, backend: SmallBroker) -> None:
    first = await broker.publish(ORDERS, Order("1"), key="k", id="order-1", delay=2, headers={"a": "b"})
    await broker.publish(ORDERS, Order("2"))
    assert first == Published("order-1", 1)
    assert backend.declarations == ["orders.new"]
    kept = backend.kept["order-1"]
    assert (kept.topic, kept.body, kept.key, kept.delay) == ("orders.new", b'{"id":"1"}', "k", 2.0)
    assert kept.headers == {"a": "b", "content-type": "application/json"}
    assert kept.publisher is None


async def test_broker_makes_the_id_of_a_publication_without_one(broker: Broker, backend: SmallBroker) -> None:
    published = [await broker.publish(ORDERS, Order("1")) for _ in range(2)]
    assert [one.id for one in published] == ["made-0", "made-1"]
    assert [message.id for message in backend.kept.values()] == [None, None]


async def test_text_means_the_topic_that_covers_it_else_a_new_one(
    broker: Broker, backend: SmallBroker
) -> None:
    await broker.declare(Topic("orders.**", keep_seconds=60))
    await broker.publish("orders.new", Order("1"))
    assert list(backend.declared) == ["orders.**"]
    await broker.publish("payments", 1)
    assert backend.declared["payments"] == TopicSettings("payments")


async def test_new_text_asks_the_broker_for_one_topic_only(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def topics() -> Any:
        raise AssertionError

    monkeypatch.setattr(backend, "topics", topics)
    await broker.declare(Topic("orders.**"))
    for _ in range(2):
        await broker.publish("orders.new", 1)
        await broker.publish("payments", 1)
    async with broker.subscribe("orders.*"):
        assert backend.covering_asked == ["orders.new", "payments", "orders.*"]
    assert list(backend.declared) == ["orders.**", "payments"]


async def test_topic_of_another_program_may_come_to_cover_a_text_meanwhile(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def declare(topic: TopicSettings) -> None:
        backend.declared["orders.**"] = TopicSettings("orders.**")
        raise ConfigError("'orders.new' overlaps with 'orders.**'")

    monkeypatch.setattr(backend, "declare", declare)
    await broker.publish("orders.new", 1)
    assert len(backend.kept) == 1
    with pytest.raises(ConfigError, match="overlaps"):
        await broker.publish("payments", 1)


async def test_topic_that_the_broker_has_lost_is_declared_again(broker: Broker, backend: SmallBroker) -> None:
    await broker.publish(ORDERS, Order("1"))
    await broker.publish("payments", 1)
    backend.declared.clear()
    await broker.publish(ORDERS, Order("2"))
    await broker.publish("payments", 2)
    assert backend.declarations == ["orders.new", "payments", "orders.new", "payments"]


async def test_topic_with_other_settings_is_refused(broker: Broker, backend: SmallBroker) -> None:
    await broker.publish(ORDERS, Order("1"))
    with pytest.raises(ConfigError, match="other settings"):
        await broker.publish(Topic("orders.new", keep_seconds=60), Order("1"))


async def test_many_values_are_published_in_one_request(broker: Broker, backend: SmallBroker) -> None:
    published = await broker.publish_many(
        ORDERS, [Order("1"), Order("2")], keys=["a", None], ids=[None, "two"]
    )
    assert [one.sequence for one in published] == [1, 2]
    assert [(one.key, one.body) for one in backend.kept.values()] == [
        ("a", b'{"id":"1"}'),
        (None, b'{"id":"2"}'),
    ]
    assert published[1].id == "two"
    assert await broker.publish_many(ORDERS, []) == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"keys": ["a"]}, "keys has 1 items for 2 values"),
        ({"ids": ["a", "b", "c"]}, "ids has 3 items for 2 values"),
        ({"keys": "ab"}, "keys has 2 items"),
    ],
)
async def test_many_values_have_as_many_keys_and_ids(
    broker: Broker, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        await broker.publish_many("orders", [1, 2], **arguments)


@pytest.mark.virtual_time
@pytest.mark.parametrize("processed", ["no", "unknown"])
async def test_publication_is_repeated_under_its_id(
    broker: Broker, backend: SmallBroker, processed: str
) -> None:
    failures = backend.failures if processed == "no" else backend.late_failures
    failures.extend(away(processed) for _ in range(3))
    published = await broker.publish(ORDERS, Order("1"), id="order-1")
    assert list(backend.kept) == [published.id]
    assert published.is_duplicate == (processed == "unknown")


@pytest.mark.virtual_time
async def test_publication_without_an_id_is_repeated_unless_it_may_have_been_kept(
    broker: Broker, backend: SmallBroker
) -> None:
    backend.failures.extend(away() for _ in range(3))
    await broker.publish(ORDERS, Order("1"))
    backend.late_failures.append(away("unknown"))
    with pytest.raises(BrokerError, match="away") as caught:
        await broker.publish_many(ORDERS, [Order("2"), Order("3")], ids=["order-2", None])
    assert caught.value.processed == "unknown"
    assert len(backend.kept) == 3


@pytest.mark.virtual_time
async def test_publication_without_an_id_is_repeated_under_one_where_the_broker_finds_it() -> None:
    backend = SmallBroker(BrokerLimits("small", finds_repeats=True))
    async with Broker(backend) as broker:
        backend.failures.extend([away(), away("unknown"), away("unknown")])
        published = await broker.publish_many(ORDERS, [Order("1"), Order("2")], ids=["order-1", None])
        # The first one failed before anything was kept.
        ages = [[one.age for one in attempt] for attempt in backend.attempts]
        assert [given for given, _ in ages] == [0.0] * 4
        assert 0.0 == ages[0][1] == ages[1][1] < ages[2][1] < ages[3][1] < 5.0
        assert {(given.id, given.made_id) for given, _ in backend.attempts} == {("order-1", None)}
        assert {(made.id, made.made_id) for _, made in backend.attempts} == {(None, published[1].id)}
        other = await broker.publish(ORDERS, Order("3"))
    async with Broker(backend) as broker:
        # Numbers begin anew, and a program that was forked has the same ones.
        third = await broker.publish(ORDERS, Order("4"))
    assert len({published[1].id, other.id, third.id}) == 3


@pytest.mark.virtual_time
async def test_repeat_that_the_broker_cannot_judge_may_have_been_kept() -> None:
    backend = SmallBroker(BrokerLimits("small", finds_repeats=True))
    untold = BrokerError("cannot be told", status=Status.FAILED_PRECONDITION, processed="no")
    async with Broker(backend) as broker:
        await broker.declare(ORDERS)
        backend.failures.extend([away("unknown"), untold])
        with pytest.raises(BrokerError, match="cannot be told") as caught:
            await broker.publish(ORDERS, Order("1"))
        assert caught.value.processed == "unknown"


@pytest.mark.virtual_time
@pytest.mark.parametrize("processed", ["no", "unknown"])
async def test_repeats_end_after_five_seconds_and_tell_whether_it_may_be_kept(
    broker: Broker, backend: SmallBroker, processed: str
) -> None:
    loop = asyncio.get_running_loop()
    await broker.publish(ORDERS, Order("0"))
    backend.failures.append(away(processed))
    backend.failures.extend(away() for _ in range(1_000))
    began = loop.time()
    with pytest.raises(BrokerError, match="publication to 'orders.new' did not end within 5 s") as caught:
        await broker.publish(ORDERS, Order("1"), id="order-1")
    assert loop.time() == pytest.approx(began + 5)
    assert (caught.value.status, caught.value.processed) == (Status.DEADLINE_EXCEEDED, processed)


@pytest.mark.parametrize("processed", ["no", "unknown"])
async def test_refusal_after_a_lost_answer_does_not_say_that_nothing_was_kept(
    broker: Broker, backend: SmallBroker, processed: str
) -> None:
    await broker.publish(ORDERS, Order("0"))
    refusal = BrokerError(
        "the queue is full", status=Status.RESOURCE_EXHAUSTED, processed="no", retry_after=9
    )
    backend.failures.extend([away(processed), refusal])
    with pytest.raises(BrokerError, match="the queue is full") as caught:
        await broker.publish(ORDERS, Order("1"), id="order-1")
    assert (caught.value.processed, caught.value.retry_after) == (processed, 9)
    assert refusal.processed == "no"


@pytest.mark.virtual_time
async def test_repeat_waits_as_long_as_the_broker_asks(broker: Broker, backend: SmallBroker) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    backend.failures.append(away(retry_after=3))
    await broker.publish(ORDERS, Order("1"), id="order-1")
    assert loop.time() >= began + 3
    backend.failures.append(away(retry_after=30))
    with pytest.raises(BrokerError, match="away") as caught:
        await broker.publish(ORDERS, Order("1"), id="order-1")
    assert caught.value.retry_after == 30
    assert loop.time() < began + 4


async def test_deadline_of_the_caller_holds(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*arguments: Any) -> None:
        await asyncio.get_running_loop().create_future()

    await broker.publish(ORDERS, Order("0"))
    monkeypatch.setattr(backend, "publish", hang)
    with fastrpc.timeout(0), pytest.raises(BrokerError, match="did not end") as caught:
        await broker.publish(ORDERS, Order("1"))
    assert (caught.value.status, caught.value.processed) == (Status.DEADLINE_EXCEEDED, "unknown")
    monkeypatch.setattr(backend, "declare", hang)
    with fastrpc.timeout(0), pytest.raises(BrokerError, match="did not end") as caught:
        await broker.publish(Topic("payments"), 1)
    assert caught.value.processed == "no"


@pytest.mark.parametrize(
    ("topic", "arguments", "kind", "words"),
    [
        (Topic("orders.*"), {}, ConfigError, "is a pattern"),
        ("orders.**", {}, ConfigError, "is a pattern"),
        ("orders..new", {}, ConfigError, "is not a topic"),
        (5, {}, TypeError, "must be text"),
        ("orders", {"delay": -1}, ConfigError, "delay is -1"),
        ("orders", {"delay": "1"}, ConfigError, "delay is '1'"),
        ("orders", {"delay": 10**400}, ConfigError, "delay is a number of 1329 bits"),
        ("orders", {"delay": -(10**5000)}, ConfigError, "delay is a number of 16610 bits"),
        ("orders", {"key": ""}, ConfigError, "the key of a message has 0 bytes, it must have 1 to 512"),
        ("orders", {"id": "é" * 257}, ConfigError, "the id of a message has 514 bytes"),
        ("orders", {"id": "\ud800"}, ConfigError, "not UTF-8"),
        ("orders", {"id": 17}, TypeError, "the id of a message is 17"),
        ("orders", {"headers": {"Authorization": "x"}}, ConfigError, "header"),
    ],
)
async def test_wrong_publication_is_refused_before_anything_is_sent(
    broker: Broker, backend: SmallBroker, topic: Any, arguments: dict[str, Any], kind: Any, words: str
) -> None:
    with pytest.raises(kind, match=words):
        await broker.publish(topic, 1, **arguments)
    with pytest.raises(EncodeError):
        await broker.publish(ORDERS, b"bytes")  # type: ignore[arg-type]
    assert (backend.declarations, backend.kept) == ([], {})


LIMITED = BrokerLimits(
    "weak", has_patterns=False, has_delay=False, has_order=False, has_max_bytes=False, queue_groups=1
)
QUEUE = Topic("jobs", keep_seconds=None, groups=("a", "b"))


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda broker: broker.publish("orders", 1, delay=1), "delay is 1, weak:// has no delays"),
        (lambda broker: broker.declare(Topic("orders.*")), "'orders.*' is a pattern, which weak://"),
        (lambda broker: broker.publish(Topic("orders", max_bytes=5), 1), "has max_bytes, which weak://"),
        (lambda broker: broker.publish(QUEUE, 1), "has 2 groups, a queue of weak:// has 1"),
        (lambda broker: broker.subscribe("orders.*", group="a"), "'orders.*' is a pattern, which weak://"),
        (
            lambda broker: broker.subscribe("orders", group="a", ordered=True),
            "ordered=True is not supported by weak://",
        ),
    ],
)
async def test_option_that_the_backend_does_not_have_is_refused_with_a_way_out(use: Any, words: str) -> None:
    backend = SmallBroker(LIMITED)
    async with Broker(backend) as broker:
        with pytest.raises(ConfigError) as caught:
            await use(broker)
        assert words in caught.value.message
        assert caught.value.hint
    assert backend.declarations == []


@pytest.mark.parametrize("group", ["", "a b", "*", "\ud800", "a" * 256, "a\r\nb", None, b"a"])
async def test_verbs_of_operators_refuse_a_group_that_cannot_be(
    broker: Broker, backend: SmallBroker, group: Any
) -> None:
    works = [
        broker.seek(group, "new"),
        broker.remove_group(group),
        broker.dead_letters(group),
        broker.replay(group),
        broker.discard(group, "a"),
    ]
    for work in works:
        with pytest.raises(ConfigError if isinstance(group, str) else TypeError, match="group"):
            await work
    assert backend.asked == []


@pytest.mark.parametrize("id", ["", "\ud800", "a" * 513, None])
async def test_ids_that_no_message_has_are_refused(broker: Broker, backend: SmallBroker, id: Any) -> None:
    for work in (broker.replay("audit", "a", id), broker.discard("audit", id)):
        with pytest.raises(ConfigError if isinstance(id, str) else TypeError, match="the id of a message"):
            await work
    assert backend.asked == []


@pytest.mark.parametrize("values", ["abc", b"abc", memoryview(b"abc"), iter([1, 2])])
async def test_one_value_in_place_of_several_is_refused(
    broker: Broker, backend: SmallBroker, values: Any
) -> None:
    with pytest.raises(TypeError, match=r"values is a \w+, it must be a sequence of values"):
        await broker.publish_many("orders.new", values)
    assert backend.kept == {}


async def test_verbs_of_operators_reach_the_backend(broker: Broker, backend: SmallBroker) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    await broker.seek("audit", "oldest")
    await broker.seek("audit", moment)
    await broker.seek("audit", 17)
    await broker.remove_group("audit")
    assert await broker.dead_letters("audit") == ()
    assert await broker.replay("audit") == 0
    assert await broker.discard("audit", "a", "b") == 2
    assert [state.name for state in await broker.groups()] == ["audit"]
    assert backend.asked == [
        ("seek", "audit", "oldest"),
        ("seek", "audit", moment),
        ("seek", "audit", 17),
        ("remove_group", "audit"),
        ("dead_letters", "audit"),
        ("replay", "audit", ()),
        ("discard", "audit", ("a", "b")),
    ]


@pytest.mark.parametrize("to", ["newest", -1, True, 1.5, datetime(2026, 1, 2)])  # noqa: DTZ001
async def test_wrong_place_is_refused(broker: Broker, backend: SmallBroker, to: Any) -> None:
    with pytest.raises(ConfigError, match="place"):
        await broker.seek("audit", to)
    with pytest.raises(ConfigError, match="place"):
        broker.subscribe("orders", group="audit", start=to)
    assert backend.asked == []


async def test_broker_is_used_inside_its_block_alone(backend: SmallBroker) -> None:
    broker = Broker(backend)
    with pytest.raises(BrokerError, match="the broker is closed .write async with open_broker"):
        await broker.publish("orders", 1)
    async with broker:
        states = [backend.is_open]
        with pytest.raises(RuntimeError, match="open already"):
            await broker.__aenter__()
    assert [*states, backend.is_open] == [True, False]
    with pytest.raises(BrokerError, match="is closed"):
        broker.subscribe("orders")
    with pytest.raises(RuntimeError, match="entered once"):
        await broker.__aenter__()


async def test_broker_closes_each_subscription_although_one_fails(backend: SmallBroker) -> None:
    with pytest.raises(LookupError, match="a fault"):
        async with Broker(backend) as broker:
            for _ in range(3):
                await broker.subscribe("orders.new", group="audit").__aenter__()
            for member in backend.members:
                member.close_failures.append(LookupError("a fault"))
    assert [member.is_closed for member in backend.members] == [True] * 3
    assert not backend.is_open


async def test_cancelled_end_of_a_broker_closes_each_subscription(
    backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving: list[Any] = []

    async def hand_back(self: SmallMembership, token: Any) -> bool:
        leaving.append(token)
        if len(leaving) == 1:
            await asyncio.get_running_loop().create_future()
        return True

    async def use() -> None:
        async with Broker(backend) as broker:
            for number in range(3):
                messages = await broker.subscribe("orders.new", group="audit").__aenter__()
                backend.members[number].deliver(backend.delivery(number))
                await anext(messages)

    monkeypatch.setattr(SmallMembership, "hand_back", hand_back)
    task = asyncio.create_task(use())
    await eventually(lambda: leaving)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert sorted(leaving) == [0, 1, 2]
    assert [member.is_closed for member in backend.members] == [True] * 3
    assert not backend.is_open


async def test_subscription_is_not_entered_after_its_broker_has_closed(backend: SmallBroker) -> None:
    async with Broker(backend) as broker:
        messages = broker.subscribe("orders.new", group="audit")
    with pytest.raises(BrokerError, match="the broker is closed"):
        await messages.__aenter__()
    assert backend.members == []


async def test_subscription_that_is_entered_while_its_broker_closes_leaves_its_group(
    backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = asyncio.get_running_loop().create_future()
    join = backend.join

    async def joined(group: Any) -> SmallMembership:
        membership = await join(group)
        await answer
        return membership

    monkeypatch.setattr(backend, "join", joined)
    async with Broker(backend) as broker:
        entering = asyncio.create_task(broker.subscribe("orders.new", group="audit").__aenter__())
        await eventually(lambda: backend.members)
    answer.set_result(None)
    with pytest.raises(BrokerError, match="the broker was closed during the call"):
        await entering
    assert backend.members[0].is_closed


async def test_broker_is_not_used_after_a_fork(broker: Broker) -> None:
    def use() -> None:
        with pytest.raises(RuntimeError, match="the broker was opened before a fork"):
            broker.subscribe("orders")

    in_child(use)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafka://host", "no broker has the scheme 'kafka' .known are broker, memory"),
        ("shop", "'shop' is not the URL of a broker .write it as broker://host:port"),
    ],
)
def test_wrong_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_broker(url)
