"""Each part that leaves a group hands all its messages back at once, before the time for it is over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from fastrpc.brokers import Broker
from fastrpc.brokers.base import GroupSettings
from fastrpc.brokers.remote.consumer import Consumer
from fastrpc.brokers.remote.messages import ConsumeRequest
from fastrpc.brokers.remote.pulled import PulledMessages
from fastrpc.brokers.remote.taking import followed
from tests.support.small_broker import SmallBroker, SmallMembership, away
from tests.support.waiting import eventually

COUNT: Final = 500
GROUP: Final = GroupSettings("audit", "orders.new")


def allow() -> None:
    """Refuse nothing."""


def drain() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def fill(backend: SmallBroker, **fields: Any) -> SmallMembership:
    """Make a member get many messages; each takes a commit to be handed back."""
    member = backend.members[0]
    member.commit_seconds = 0.02
    member.deliver(*(backend.delivery(token, **fields) for token in range(COUNT)))
    return member


async def leave_a_block(backend: SmallBroker) -> int:
    """The messages came out of the iterator."""
    async with (
        Broker(backend) as broker,
        broker.subscribe("orders.new", group="audit", in_flight=COUNT) as found,
    ):
        fill(backend)
        for _ in range(COUNT):
            await anext(found)
    return 0


async def leave_a_failed_block(backend: SmallBroker) -> int:
    """The messages have not come out, but one."""
    with pytest.raises(LookupError):
        async with (
            Broker(backend) as broker,
            broker.subscribe("orders.new", group="audit", in_flight=COUNT) as found,
        ):
            fill(backend)
            await anext(found)
            raise LookupError
    return 1


async def take_no_more(backend: SmallBroker) -> int:
    """The messages have not come out."""
    async with (
        Broker(backend) as broker,
        broker.subscribe("orders.new", group="audit", in_flight=COUNT) as found,
    ):
        member = fill(backend)
        await eventually(lambda: member.taken)
        await found.stop_taking()
        assert len(member.settled) == COUNT
    return 0


async def end_a_consumer(backend: SmallBroker) -> int:
    """The caller goes before it has read its first batch."""

    async def requests() -> AsyncIterator[ConsumeRequest]:
        yield ConsumeRequest(take=COUNT)
        await asyncio.Event().wait()

    consumer = Consumer(await backend.join(GROUP), allow)
    consumer._size.messages = COUNT
    member = fill(backend)
    consumer.begin(requests(), drain())
    await eventually(lambda: member.taken)
    await eventually(lambda: consumer._news)
    await consumer.close()
    return 0


async def end_a_follower(backend: SmallBroker) -> int:
    """The caller goes after the first message of a batch."""
    member = await backend.join(GROUP)
    fill(backend)
    member.commit_seconds = 0.2
    size = 0
    messages = followed(member, allow, drain())
    async for _ in messages:
        size += 1
        if size == 9:
            break
    # The first batch, of 8, is acknowledged, and one message of the next one is not.
    await messages.aclose()
    assert {token for verb, token in member.settled if verb == "ack"} == set(range(8))
    return COUNT - 16


async def pull_too_much(backend: SmallBroker) -> int:
    """The messages have more bytes than one pull returns."""
    await backend.join(GROUP)
    member = fill(backend, body=bytes(1024 * 1024))

    async def join(group: GroupSettings) -> SmallMembership:
        return member

    backend.join = join  # type: ignore[method-assign]
    pulled = PulledMessages()
    found = await pulled.pull(backend, GROUP, COUNT, (1.0, 60.0), None, drain())
    await pulled.close()
    return len(found)


WAYS: Final[list[Callable[[SmallBroker], Awaitable[int]]]] = [
    leave_a_block,
    leave_a_failed_block,
    take_no_more,
    end_a_consumer,
    end_a_follower,
    pull_too_much,
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_messages_are_handed_back_at_once(
    backend: SmallBroker, way: Callable[[SmallBroker], Awaitable[int]]
) -> None:
    now = asyncio.get_running_loop().time
    begun = now()
    kept = await way(backend)
    handed_back = {token for verb, token in backend.members[0].settled if verb == "hand_back"}
    assert len(handed_back) >= COUNT - kept - 1
    assert now() < begun + 1.0


async def test_message_that_cannot_be_handed_back_keeps_no_other(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.subscribe("orders.new", group="audit") as messages:
        member = backend.members[0]
        member.deliver(*(backend.delivery(token) for token in range(3)))
        for _ in range(3):
            await anext(messages)
        member.settle_failures.append(away())
    assert member.settled == [("hand_back", 1), ("hand_back", 2)]
    assert member.is_closed
    assert "messages are delivered again later, as the broker is away" in caplog.text
