"""First uses of a topic at the same time share one declaration."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import BrokerError, ConfigError, Topic
from fastrpc.brokers import Broker
from fastrpc.brokers.base import TopicSettings
from tests.support.small_broker import SmallBroker
from tests.support.waiting import eventually

ORDERS = Topic("orders.new", int)


class SlowDeclarations(SmallBroker):
    """A broker that declares once a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.declaring, self.may_declare = 0, asyncio.Event()
        self.refusal: BaseException | None = None

    async def declare(self, topic: TopicSettings) -> None:
        self.declaring += 1
        try:
            await self.may_declare.wait()
            if self.refusal is not None:
                raise self.refusal
            await super().declare(topic)
        finally:
            self.declaring -= 1


@pytest.fixture
def backend() -> SlowDeclarations:
    return SlowDeclarations()


def publications(broker: Broker, topic: Any, count: int) -> list["asyncio.Task[Any]"]:
    return [asyncio.create_task(broker.publish(topic, number)) for number in range(count)]


@pytest.mark.parametrize("topic", [ORDERS, "orders.new"])
async def test_four_hundred_first_publications_declare_their_topic_once(
    broker: Broker, backend: SlowDeclarations, topic: Any
) -> None:
    publishing = publications(broker, topic, 400)
    await eventually(lambda: backend.declaring)
    backend.may_declare.set()
    assert len(await asyncio.gather(*publishing)) == 400
    assert backend.declarations == ["orders.new"]
    assert not broker._topics._under_way


@pytest.mark.parametrize("topic", [ORDERS, "orders.new"])
async def test_cancelled_publication_does_not_fail_other_publications(
    broker: Broker, backend: SlowDeclarations, topic: Any
) -> None:
    first, second, third = publications(broker, topic, 3)
    await eventually(lambda: backend.declaring)
    for cancelled in (first, third):
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
    backend.may_declare.set()
    await second
    assert backend.declarations == ["orders.new"]


async def test_deadline_of_a_publication_is_its_own(broker: Broker, backend: SlowDeclarations) -> None:
    async def hurry() -> None:
        with fastrpc.timeout(0.01):
            await broker.publish(ORDERS, 1)

    hurrying = asyncio.create_task(hurry())
    await eventually(lambda: backend.declaring)
    (other,) = publications(broker, ORDERS, 1)
    with pytest.raises(BrokerError):
        await hurrying
    backend.may_declare.set()
    await other
    assert backend.declarations == ["orders.new"]


async def test_declaration_ends_with_the_last_call_that_waits(
    broker: Broker, backend: SlowDeclarations
) -> None:
    publishing = publications(broker, ORDERS, 2)
    await eventually(lambda: backend.declaring)
    for one in publishing:
        one.cancel()
    (later,) = publications(broker, ORDERS, 1)
    await asyncio.wait(publishing)
    backend.may_declare.set()
    await later
    assert backend.declarations == ["orders.new"]
    assert not backend.declaring


async def test_refusal_is_raised_in_each_call(broker: Broker, backend: SlowDeclarations) -> None:
    backend.refusal = ConfigError("the topic overlaps")
    publishing = publications(broker, ORDERS, 3)
    await eventually(lambda: backend.declaring)
    backend.may_declare.set()
    errors = await asyncio.gather(*publishing, return_exceptions=True)
    assert [str(error) for error in errors] == ["the topic overlaps"] * 3
    assert len(set(map(id, errors))) == 3
    backend.refusal = None
    await broker.publish(ORDERS, 1)


async def test_different_topics_of_one_name_are_declared_separately(
    broker: Broker, backend: SlowDeclarations
) -> None:
    alike, other = Topic("orders.new", int), Topic("orders.new", int, keep_seconds=60)
    publishing = [asyncio.create_task(broker.publish(topic, 1)) for topic in (ORDERS, alike, other)]
    await eventually(lambda: backend.declaring == 2)
    backend.may_declare.set()
    first, second, third = await asyncio.gather(*publishing, return_exceptions=True)
    assert isinstance(third, ConfigError)
    assert not isinstance(first, BaseException)
    assert not isinstance(second, BaseException)
    assert not broker._topics._under_way
