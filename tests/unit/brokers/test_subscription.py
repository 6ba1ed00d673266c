"""Subscriptions of the facade: messages, their settlement, room, leaving, and the absence of the broker."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from types import coroutine
from typing import Any

import pytest

from fastrpc import ConfigError, Topic
from fastrpc.brokers import Broker, Message, Subscription
from fastrpc.brokers.base import BrokerLimits, GroupSettings
from fastrpc.errors import DecodeError
from tests.support.small_broker import PUBLISHED_AT, SmallBroker
from tests.support.waiting import eventually


@dataclass
class Order:
    id: str


ORDERS = Topic("orders.new", Order)


async def settle_all(messages: Subscription[Any], count: int) -> list[Message[Any]]:
    return [await anext(messages) for _ in range(count)]


async def test_subscription_joins_its_group_and_declares_its_topic(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe(ORDERS, group="audit", start="oldest", ordered=True):
        assert backend.members[0].group == GroupSettings("audit", "orders.new", "oldest", True)
        assert backend.declarations == ["orders.new"]
    async with broker.subscribe("payments.*"):
        assert backend.members[1].group == GroupSettings(None, "payments.*")
        assert list(backend.declared) == ["orders.new", "payments.*"]


async def test_message_has_value_and_fields(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        headers = {"content-type": "application/json", "tenant": "acme", "frpc-trace": "x"}
        fields = {"key": "k", "publisher": "shop", "sequence": 7, "delivery": 3, "headers": headers}
        backend.members[0].deliver(backend.delivery(1, b'{"id": "17"}', **fields))
        async for message in messages:
            assert (message.topic, message.value, message.key) == ("orders.new", Order("17"), "k")
            assert (message.id, message.sequence, message.delivery) == ("id-1", 7, 3)
            assert (message.publisher, message.published_at) == ("shop", PUBLISHED_AT)
            assert message.headers == {"content-type": "application/json", "tenant": "acme"}
            assert repr(message) == "<Message 'id-1' of 'orders.new', delivery 3>"
            break


async def test_text_takes_the_type_beside_it(broker: Broker, backend: SmallBroker) -> None:
    async with (
        broker.subscribe("orders.new", Order, group="a") as typed,
        broker.subscribe("orders.new", group="b") as plain,
    ):
        for member in backend.members:
            member.deliver(backend.delivery(1, b'{"id": "17"}'))
        assert (await anext(typed)).value == Order("17")
        assert (await anext(plain)).value == {"id": "17"}


async def test_each_verb_settles_once(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(*(backend.delivery(token, delivery=3) for token in range(4)))
        first, second, third, fourth = await settle_all(messages, 4)
        assert await first.ack()
        assert await second.nack()
        assert await third.nack(0)
        assert await fourth.reject("no such customer")
        assert not await first.ack()
        assert not await first.nack()
        assert not first.is_lost
        assert member.settled == [
            ("ack", 0),
            ("nack", 1, 4.0),
            ("nack", 2, 0.0),
            ("reject", 3, "no such customer", ""),
        ]


async def test_pauses_of_retries_double_up_to_five_minutes(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        numbers = [1, 2, 9, 10, 10_000]
        backend.members[0].deliver(*(backend.delivery(number, delivery=number) for number in numbers))
        for message in await settle_all(messages, len(numbers)):
            await message.nack()
        assert [pause for _, _, pause in backend.members[0].settled] == [1, 2, 256, 300, 300]


@pytest.mark.parametrize(
    "delay", [-1, float("nan"), float("inf"), "1", True, 10**400, pytest.param(10**5000, id="long")]
)
async def test_wrong_settlement_is_refused(broker: Broker, backend: SmallBroker, delay: Any) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        backend.members[0].deliver(backend.delivery(1))
        message = await anext(messages)
        with pytest.raises(ConfigError, match="delay is"):
            await message.nack(delay)
        with pytest.raises(ConfigError, match="the reason of a rejected message is ''"):
            await message.reject("")
        with pytest.raises(ConfigError, match="the error of a rejected message is None"):
            await message.reject("no", None)  # type: ignore[arg-type]


async def test_texts_of_a_rejected_message_are_cut_and_have_escapes(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        backend.members[0].deliver(backend.delivery(1))
        assert await (await anext(messages)).reject("é\ud800", "e" * 5_000)
        assert backend.members[0].settled == [("reject", 1, "é\\ud800", "e" * 4_096)]


async def test_the_error_of_a_value_that_does_not_decode_has_escapes(
    broker: Broker, backend: SmallBroker
) -> None:
    def decode(_: object) -> None:
        raise DecodeError("\ud800" + "e" * 5_000)

    async with broker.subscribe("orders.new", group="audit") as messages:
        messages._decode = decode
        backend.members[0].deliver(backend.delivery(1))
        await eventually(lambda: bool(backend.members[0].settled))
        (_, _, _, error) = backend.members[0].settled[0]
        assert error == "\\ud800" + "e" * 4_090


async def test_message_that_another_member_has_is_lost(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(backend.delivery(1))
        message = await anext(messages)
        states = [message.is_lost]
        member.lost.add(1)
        states.append(message.is_lost)
        assert not await message.ack()
        assert [*states, message.is_lost] == [False, True, True]


async def test_subscriber_holds_no_more_messages_than_it_may(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit", in_flight=2) as messages:
        member = backend.members[0]
        member.deliver(*(backend.delivery(token) for token in range(4)))
        first, second = await settle_all(messages, 2)
        waiting = asyncio.ensure_future(anext(messages))
        await eventually(lambda: member.taken == [2])
        assert len(member.waiting) == 2
        await second.ack()
        third = await waiting
        assert member.taken == [2, 1]
        assert (first.id, third.id) == ("id-0", "id-2")


async def test_value_that_does_not_decode_is_dead_at_once(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.subscribe(ORDERS, group="audit", in_flight=1) as messages:
        member = backend.members[0]
        member.deliver(
            backend.delivery(1, b'{"id": 1, "note": "secret-word"}'),
            backend.delivery(2, b'{"id": "17"}'),
        )
        message = await anext(messages)
        assert message.id == "id-2"
        ((verb, token, reason, error),) = member.settled
        assert (verb, token, reason) == ("reject", 1, "the value does not decode")
        assert "is not of type Order: Expected `str`, got `int`" in error
    assert (
        "<Message 'id-1' of 'orders.new', delivery 1> is a dead letter of its group: at $.id" in caplog.text
    )
    assert "secret-word" not in caplog.text


@pytest.mark.parametrize(
    "raised",
    [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), BaseException(), StopAsyncIteration()],
)
async def test_type_that_raises_anything_in_its_checks_makes_a_dead_letter(
    broker: Broker, backend: SmallBroker, raised: BaseException
) -> None:
    @dataclass
    class Checked:
        id: str

        def __post_init__(self) -> None:
            if self.id == "wrong":
                raise raised

    async with broker.subscribe("orders.new", Checked, group="audit") as messages:
        member = backend.members[0]
        member.deliver(backend.delivery(1, b'{"id": "wrong"}'), backend.delivery(2, b'{"id": "17"}'))
        assert (await anext(messages)).value == Checked("17")
        assert [(verb, token) for verb, token, *_ in member.settled] == [("reject", 1)]
        assert type(raised).__name__ in member.settled[0][3]


async def test_log_of_a_dead_letter_is_one_line_for_any_id_and_topic(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        names = {"id": "a\nERROR é", "topic": "orders.\u2028new"}
        backend.members[0].deliver(
            backend.delivery(1, b"wrong", **names), backend.delivery(2, b'{"id": "17"}')
        )
        await anext(messages)
    (record,) = caplog.records
    assert "<Message 'a\\nERROR \\xe9' of 'orders.\\u2028new', delivery 1>" in record.getMessage()
    assert record.getMessage().isascii()
    assert record.getMessage().isprintable()


async def test_end_of_the_block_hands_back_all_that_was_not_settled(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(*(backend.delivery(token) for token in range(4)))
        first, second = await settle_all(messages, 2)
        await first.ack()
    assert member.settled == [("ack", 0), ("hand_back", 1), ("hand_back", 2), ("hand_back", 3)]
    assert member.is_closed
    assert second.is_lost
    assert not await second.ack()


async def test_message_in_the_hands_of_a_block_that_failed_is_counted(
    broker: Broker, backend: SmallBroker
) -> None:
    with pytest.raises(LookupError):
        async with broker.subscribe("orders.new", group="audit") as messages:
            backend.members[0].deliver(*(backend.delivery(token) for token in range(3)))
            await anext(messages)
            raise LookupError
    # The backend counts the remaining ones at the end of the membership.
    assert backend.members[0].settled == [("hand_back", 1), ("hand_back", 2)]
    assert backend.members[0].is_closed


async def test_cancelled_block_hands_back(broker: Broker, backend: SmallBroker) -> None:
    async def handle() -> None:
        async with broker.subscribe("orders.new", group="audit") as messages:
            await anext(messages)
            await anext(messages)

    task = asyncio.create_task(handle())
    await eventually(lambda: backend.members)
    backend.members[0].deliver(backend.delivery(1))
    await eventually(lambda: backend.members[0].taken)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert backend.members[0].settled == [("hand_back", 1)]


async def test_tasks_share_the_messages_and_end_with_the_block(broker: Broker, backend: SmallBroker) -> None:
    handled: list[str] = []

    async def work(messages: Subscription[Any]) -> None:
        async for message in messages:
            handled.append(message.id)
            await message.ack()

    async with broker.subscribe("orders.new", group="audit") as messages:
        tasks = [asyncio.create_task(work(messages)) for _ in range(3)]
        backend.members[0].deliver(*(backend.delivery(token) for token in range(9)))
        await eventually(lambda: len(handled) == 9)
    await asyncio.gather(*tasks)
    assert sorted(handled) == [f"id-{token}" for token in range(9)]


async def test_cancelled_wait_loses_no_message(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        backend.members[0].deliver(backend.delivery(1))
        assert (await anext(messages)).id == "id-1"


async def test_message_wakes_one_of_a_thousand_that_wait(broker: Broker, backend: SmallBroker) -> None:
    resumed: list[None] = []

    @coroutine
    def counted(work: Awaitable[Any]) -> Any:
        steps = work.__await__()
        while True:
            try:
                yielded = next(steps)
            except (StopIteration, StopAsyncIteration):
                return
            yield yielded
            resumed.append(None)

    async with broker.subscribe("orders.new", group="audit") as messages:
        tasks = [asyncio.create_task(counted(anext(messages))) for _ in range(1_000)]
        await asyncio.sleep(0)
        for number in range(1, 21):
            backend.members[0].deliver(backend.delivery(number))
            await eventually(lambda: sum(task.done() for task in tasks) == number)  # noqa: B023
        assert len(resumed) == 20
        assert [task.done() for task in tasks[:21]] == [*[True] * 20, False]
    await asyncio.wait(tasks)


@pytest.mark.parametrize("is_woken", [False, True])
async def test_cancelled_wait_passes_its_message_on(
    broker: Broker, backend: SmallBroker, is_woken: bool
) -> None:
    waiting: list[asyncio.Task[Any]] = []

    @dataclass
    class Cancelling:
        """Cancels the first wait as a message comes for it: before or after it is woken."""

        def __post_init__(self) -> None:
            if is_woken:
                asyncio.get_running_loop().call_soon(waiting[0].cancel)
            else:
                waiting[0].cancel()

    async def wait(messages: Subscription[Any]) -> str:
        return (await anext(messages)).id

    async with broker.subscribe("orders.new", Cancelling, group="audit") as messages:
        waiting += [asyncio.create_task(wait(messages)) for _ in range(2)]
        await asyncio.sleep(0)
        backend.members[0].deliver(backend.delivery(1, b"{}"))
        assert await waiting[1] == "id-1"
        assert waiting[0].cancelled()


async def test_message_that_was_lost_before_its_turn_does_not_come_out(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", group="audit", in_flight=2) as messages:
        member = backend.members[0]
        member.deliver(*(backend.delivery(token) for token in range(4)))
        await eventually(lambda: member.taken == [2])
        member.lost.update([0, 1])
        # Their room is free again.
        assert [message.id for message in await settle_all(messages, 2)] == ["id-2", "id-3"]


async def test_broker_that_closes_ends_its_subscriptions(backend: SmallBroker) -> None:
    async with Broker(backend) as broker:
        messages = broker.subscribe("orders.new", group="audit")
        await messages.__aenter__()
        backend.members[0].deliver(backend.delivery(1))
        await anext(messages)
    assert backend.members[0].settled == [("hand_back", 1)]
    assert [message async for message in messages] == []
    await messages.close()
    await messages.aclose()


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((ORDERS, int), {}, "a type is given beside the topic 'orders.new'"),
        (("orders..new",), {}, "is not a topic"),
        (("orders",), {"group": "a b"}, "is not the name of a group"),
        (("orders",), {"start": "oldest"}, "start is 'oldest', but a broadcast has only new messages"),
        (("orders",), {"in_flight": 0}, "in_flight is 0, it must be a number from 1"),
        (("orders",), {"in_flight": True}, "in_flight is True"),
        (("orders",), {"in_flight": -(10**5000)}, "in_flight is a number of 16610 bits"),
        (("orders", 5), {}, "cannot be decoded|5"),
    ],
)
async def test_wrong_subscription_is_refused_when_it_is_made(
    broker: Broker, backend: SmallBroker, arguments: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        broker.subscribe(*arguments, **options)
    assert backend.declarations == []


async def test_more_messages_than_a_member_of_the_broker_holds_are_refused() -> None:
    async with Broker(SmallBroker(BrokerLimits("small", most_in_flight=10))) as broker:
        async with broker.subscribe("orders", group="audit", in_flight=10):
            pass
        with pytest.raises(ConfigError, match="in_flight is 11, a member of small:// holds 10 at most"):
            broker.subscribe("orders", group="audit", in_flight=11)


async def test_subscription_is_used_inside_its_block_alone(broker: Broker) -> None:
    messages = broker.subscribe("orders.new", group="audit")
    with pytest.raises(RuntimeError, match="entered by `async with` first"):
        await anext(messages)
    async with messages:
        with pytest.raises(RuntimeError, match="entered once"):
            await messages.__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await messages.__aenter__()
