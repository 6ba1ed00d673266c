"""Messages that the gate refuses for load keep their place for a moment; a drain gives them to others at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Server, Status
from fastrpc.brokers import Broker
from fastrpc.brokers.subscribers import subscriber as subscriber_module
from fastrpc.limits import ConcurrencyLimit
from tests.support.small_broker import SmallBroker, away
from tests.support.waiting import eventually


@fastrpc.service("work")
class Work:
    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    @fastrpc.subscriber("orders.new")
    async def job(self, number: int) -> None:
        await self.may_end.wait()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def server(
    broker: Broker, backend: SmallBroker, work: Work, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """A server whose first message runs, and whose second one was refused and waits for an hour."""
    monkeypatch.setattr(subscriber_module, "pauses", lambda: lambda: 3600.0)
    limits = [ConcurrencyLimit(1, methods="work.job")]
    async with Server(work, broker=broker, limits=limits) as server:
        backend.members[0].deliver(backend.delivery(1), backend.delivery(2))
        (subscriber,) = broker.subscribers
        await eventually(lambda: subscriber._holding)
        yield server


async def test_drain_hands_refused_messages_back_before_handlers_end(
    server: Server, backend: SmallBroker, work: Work
) -> None:
    (member,) = backend.members
    assert member.settled == []
    draining = asyncio.ensure_future(server.drain(60))
    await eventually(lambda: member.settled == [("hand_back", 2)])
    assert not draining.done()
    work.may_end.set()
    assert await draining
    assert member.settled == [("hand_back", 2), ("ack", 1)]


async def test_message_that_is_refused_in_a_drain_is_handed_back_at_once(
    server: Server, broker: Broker, backend: SmallBroker, work: Work
) -> None:
    (member,), subscriber = backend.members, next(iter(broker.subscribers))
    held: list[Any] = list(subscriber._subscription._member.unsettled)
    draining = asyncio.ensure_future(server.drain(60))
    await eventually(lambda: member.settled == [("hand_back", 2)])
    subscriber.refused(held[0], Status.UNAVAILABLE, "the server drains", 0, False)
    await eventually(lambda: member.settled == [("hand_back", 2), ("hand_back", 1)])
    work.may_end.set()
    assert await draining


async def test_refused_message_that_cannot_be_handed_back_is_tried_again_at_the_end(
    server: Server, backend: SmallBroker, work: Work
) -> None:
    (member,) = backend.members
    member.settle_failures.append(away())
    draining = asyncio.ensure_future(server.drain(60))
    await eventually(lambda: not member.settle_failures)
    work.may_end.set()
    assert await draining
    assert member.settled == [("ack", 1), ("hand_back", 2)]
