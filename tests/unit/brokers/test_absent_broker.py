"""Subscriptions of the facade while their broker is away, and at the end of their memberships."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

import fastrpc
from fastrpc import BrokerError, Status, Topic
from fastrpc.brokers import Broker
from tests.support.small_broker import SmallBroker, SmallMembership, away
from tests.support.waiting import eventually


@dataclass
class Order:
    id: str


ORDERS = Topic("orders.new", Order)


@pytest.mark.virtual_time
async def test_subscription_continues_when_the_broker_comes_back(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe(ORDERS, group="audit") as messages:
        member = backend.members[0]
        member.deliver(backend.delivery(1, b'{"id": "1"}'), backend.delivery(2, b'{"id": "2"}'))
        held = await anext(messages)
        backend.join_failures.extend([away(), away()])
        backend.declared.clear()
        member.fail(away())
        await eventually(lambda: len(backend.members) == 2)
        assert held.is_lost
        assert not await held.ack()
        assert member.is_closed
        assert list(backend.declared) == ["orders.new"]
        backend.members[1].deliver(backend.delivery(1, b'{"id": "1"}', delivery=2))
        again = await anext(messages)
        assert (again.id, again.delivery) == (held.id, 2)
        assert await again.ack()
    assert member.settled == []


@pytest.mark.virtual_time
async def test_absence_of_five_seconds_is_raised_and_the_next_wait_continues(
    broker: Broker, backend: SmallBroker
) -> None:
    loop = asyncio.get_running_loop()
    async with broker.subscribe("orders.new", group="audit") as messages:
        backend.join_failures.extend(away() for _ in range(20))
        began = loop.time()
        backend.members[0].fail(away())
        with pytest.raises(BrokerError, match="the broker is away"):
            await anext(messages)
        assert began + 5 < loop.time() < began + 7
        backend.join_failures.clear()
        await eventually(lambda: len(backend.members) == 2)
        backend.members[1].deliver(backend.delivery(1))
        assert (await anext(messages)).id == "id-1"


@pytest.mark.virtual_time
async def test_broker_that_lets_members_join_and_fails_is_away(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: SmallMembership, most: int) -> Any:
        raise away()

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(SmallMembership, "take", fail)
    async with broker.subscribe("orders.new", group="audit") as messages, asyncio.timeout(60):
        began = loop.time()
        for _ in range(2):
            with pytest.raises(BrokerError, match="the broker is away"):
                await anext(messages)
        assert began + 5 < loop.time() < began + 9
    assert len(backend.members) < 25


@pytest.mark.virtual_time
async def test_subscription_joins_again_when_the_broker_asks_for_it(
    broker: Broker, backend: SmallBroker
) -> None:
    loop = asyncio.get_running_loop()
    async with broker.subscribe("orders.new", group="audit") as messages, asyncio.timeout(100):
        began = loop.time()
        backend.members[0].fail(away(retry_after=3))
        await eventually(lambda: len(backend.members) == 2)
        assert began + 3 <= loop.time() < began + 4
        # Nobody waits for longer than five seconds without an error.
        backend.members[1].fail(away(retry_after=30))
        with pytest.raises(BrokerError, match="the broker is away") as caught:
            await anext(messages)
        assert caught.value.retry_after == 30
        assert loop.time() < began + 5
        backend.members[1].failure = None
        await backend.joined(3)
        assert loop.time() >= began + 33


@pytest.mark.virtual_time
async def test_each_short_absence_counts_alone(broker: Broker, backend: SmallBroker) -> None:
    loop = asyncio.get_running_loop()
    async with broker.subscribe("orders.new", group="audit") as messages:
        for number in range(3):
            loop.call_later(60, backend.members[number].fail, away())
            await backend.joined(number + 2)
        backend.members[3].deliver(backend.delivery(1))
        assert (await anext(messages)).id == "id-1"


@pytest.mark.virtual_time
async def test_membership_that_cannot_be_left_does_not_end_the_iteration(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        backend.members[0].close_failures.append(away())
        backend.members[0].fail(away())
        async with asyncio.timeout(20):
            await backend.joined(2)
        backend.members[1].deliver(backend.delivery(1))
        assert (await anext(messages)).id == "id-1"
        backend.members[1].close_failures.append(away())
    assert backend.members[1].is_closed
    assert caplog.text.count("messages are delivered again later, as the broker is away") == 2


@pytest.mark.virtual_time
async def test_membership_that_takes_for_ever_to_leave_does_not_end_the_iteration(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async with broker.subscribe("orders.new", group="audit") as messages, asyncio.timeout(60):
        monkeypatch.setattr(backend.members[0], "close", hang)
        backend.members[0].fail(away())
        await backend.joined(2)
        backend.members[1].deliver(backend.delivery(1))
        assert (await anext(messages)).id == "id-1"


@pytest.mark.virtual_time
async def test_iterators_are_told_when_a_fault_or_a_stranger_ends_the_task_that_takes(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", group="a") as messages, asyncio.timeout(60):
        waiting = [asyncio.ensure_future(anext(messages)) for _ in range(2)]
        backend.members[0].close_failures.append(LookupError("a fault"))
        backend.members[0].fail(away())
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, LookupError)
    before = asyncio.all_tasks()
    async with broker.subscribe("orders.new", group="b") as messages, asyncio.timeout(60):
        (task,) = asyncio.all_tasks() - before
        task.cancel()
        with pytest.raises(BrokerError, match="'orders.new' has ended, as its task was cancelled"):
            await anext(messages)
    assert backend.members[1].is_closed


@pytest.mark.parametrize(
    "error",
    [BrokerError("the group was removed", status=Status.NOT_FOUND, processed="no"), LookupError("a fault")],
)
async def test_failure_that_lasts_is_raised_each_time(
    broker: Broker, backend: SmallBroker, error: Any
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        backend.members[0].fail(error)
        for _ in range(2):
            with pytest.raises(type(error), match=str(error)):
                await anext(messages)
    assert len(backend.members) == 1


@pytest.mark.virtual_time
async def test_settlement_is_repeated_while_the_broker_is_away(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(backend.delivery(1), backend.delivery(2))
        first, second = [await anext(messages) for _ in range(2)]
        member.settle_failures.extend([away(), away()])
        assert await first.ack()
        member.settle_failures.extend(away() for _ in range(100))
        with pytest.raises(BrokerError, match="ack of the message 'id-2' did not end within 5 s"):
            await second.ack()
        # It may be tried once more.
        member.settle_failures.clear()
        assert await second.ack()


@pytest.mark.virtual_time
async def test_block_ends_although_the_broker_is_away(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(backend.delivery(1))
        await anext(messages)
        member.settle_failures.append(away())
    assert member.is_closed
    assert "messages are delivered again later, as the broker is away" in caplog.text


@pytest.mark.virtual_time
async def test_block_that_ends_while_the_broker_is_silent_says_how_long_it_waited(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(backend.delivery(1))
        await anext(messages)
        member.commit_seconds = 100.0
    assert member.is_closed
    assert "messages are delivered again later, as the broker is away: no answer within 5 s" in caplog.text


async def test_deadline_of_the_caller_does_not_end_a_subscription(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []
    take = SmallMembership.take

    async def noted(self: SmallMembership, most: int) -> Any:
        from fastrpc.hosted.verbs import seconds_left

        seen.append(seconds_left())
        return await take(self, most)

    monkeypatch.setattr(SmallMembership, "take", noted)
    with fastrpc.timeout(60):
        async with broker.subscribe("orders.new", group="audit") as messages:
            backend.members[0].deliver(backend.delivery(1))
            await anext(messages)
    assert seen[0] is None


@pytest.mark.virtual_time
@pytest.mark.parametrize("answer", ["an error", "nothing"])
@pytest.mark.parametrize("end", ["stop_taking", "close"])
async def test_client_of_a_broker_that_drops_a_cancellation_delays_no_end(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch, answer: str, end: str
) -> None:
    async def take(self: SmallMembership, most: int) -> Any:
        # As `asyncio.wait_for` of CPython 3.11 does at the end of a connection.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if answer == "an error":
            raise away()
        await asyncio.Event().wait()

    monkeypatch.setattr(SmallMembership, "take", take)
    messages = broker.subscribe("orders.new", group="audit")
    await messages.begin()
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await getattr(messages, end)()
        await messages.close()
    assert len(backend.members) == 1
    assert backend.members[0].is_closed
