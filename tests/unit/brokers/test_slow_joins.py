"""Subscriptions and subscribers that are ended while their broker has not let them join yet."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Server, ServerConfig, Timeouts
from fastrpc.brokers import Broker, Subscription
from fastrpc.brokers.base import GroupSettings
from tests.support.small_broker import SmallBroker, SmallMembership
from tests.support.waiting import eventually


class SlowJoins(SmallBroker):
    """A broker whose groups can be joined once a test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.joining, self.may_join = asyncio.Event(), asyncio.Event()

    async def join(self, group: GroupSettings) -> SmallMembership:
        self.joining.set()
        await self.may_join.wait()
        return await super().join(group)


@pytest.fixture
def backend() -> SlowJoins:
    return SlowJoins()


async def enter(messages: Subscription[Any]) -> None:
    async with messages:
        async for message in messages:
            raise AssertionError(message)


async def begin(messages: Subscription[Any]) -> None:
    await messages.begin()


@pytest.mark.parametrize(
    ("way", "end"),
    [(begin, Subscription.stop_taking), (begin, Subscription.close), (enter, Subscription.close)],
)
async def test_subscription_that_ends_while_it_joins_takes_no_message(
    broker: Broker,
    backend: SlowJoins,
    way: Callable[[Subscription[Any]], Awaitable[None]],
    end: Callable[[Subscription[Any]], Awaitable[None]],
) -> None:
    messages = broker.subscribe("orders.new", group="audit")
    entering = asyncio.ensure_future(way(messages))
    await backend.joining.wait()
    await end(messages)
    backend.may_join.set()
    await entering
    assert [member.is_closed for member in backend.members] == [True]
    assert messages._task is None
    with pytest.raises(RuntimeError, match="a subscription is entered once"):
        await messages.begin()


@fastrpc.service("work")
class Work:
    @fastrpc.subscriber("orders.new")
    async def job(self, number: int) -> None:
        raise AssertionError(number)


@pytest.mark.virtual_time
async def test_drain_that_overtakes_a_join_takes_no_message(broker: Broker, backend: SlowJoins) -> None:
    # The server announces its drain for a minute, before its subscribers leave.
    config = ServerConfig(timeouts=Timeouts(announce=60))
    async with Server(broker=broker, config=config) as server:
        server.add(Work())
        await backend.joining.wait()
        draining = asyncio.ensure_future(server.drain())
        (subscriber,) = broker.subscribers
        await eventually(lambda: subscriber._is_leaving)
        backend.may_join.set()
        member = await backend.joined(1)
        member.deliver(backend.delivery(1))
        await eventually(lambda: member.is_closed)
        assert (len(member.waiting), member.taken) == (1, [])
        assert not draining.done()
        assert await draining


@pytest.mark.virtual_time
async def test_subscriber_that_is_removed_while_it_joins_leaves_its_group(
    broker: Broker, backend: SlowJoins
) -> None:
    async with Server(broker=broker) as server:
        server.add(Work())
        await backend.joining.wait()
        assert await server.remove("work")
        backend.may_join.set()
        await eventually(lambda: [member.is_closed for member in backend.members] == [True])


async def test_subscriber_that_is_removed_before_it_joins_does_not_join(
    broker: Broker, backend: SlowJoins, caplog: pytest.LogCaptureFixture
) -> None:
    backend.may_join.set()
    async with Server(broker=broker) as server:
        server.add(Work())
        (subscriber,) = broker.subscribers
        assert await subscriber.stop(None)
    assert not backend.members
    assert "cannot begin" not in caplog.text
