"""A subscription asks for the next messages before it has the present ones handled."""

import asyncio

from fastrpc.brokers import Broker
from fastrpc.brokers.base import AcksTold
from tests.support.small_broker import SmallBroker, away
from tests.support.waiting import eventually


async def test_the_next_take_leaves_before_several_messages_come_out(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", group="audit", in_flight=64) as messages:
        member = backend.members[0]
        asked: list[list[int]] = []
        messages.on_messages = lambda: asked.append(member.asked[:])
        member.deliver(*(backend.delivery(token) for token in range(3)))
        await eventually(lambda: asked)
        # Half of the room each time.
        assert asked == [[32, 32]]


async def test_a_lone_message_comes_out_at_once(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit", in_flight=64) as messages:
        member = backend.members[0]
        asked: list[list[int]] = []
        messages.on_messages = lambda: asked.append(member.asked[:])
        member.deliver(backend.delivery(1))
        await eventually(lambda: asked)
        assert asked == [[32]]


async def test_no_take_begins_without_room(broker: Broker, backend: SmallBroker) -> None:
    async with broker.subscribe("orders.new", group="audit", in_flight=2) as messages:
        member = backend.members[0]
        member.deliver(*(backend.delivery(token) for token in range(3)))
        first = await anext(messages)
        assert member.asked == [2]
        await first.ack()
        await eventually(lambda: member.asked == [2, 1])


async def test_messages_that_were_taken_ahead_are_handed_back_at_the_end(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", int, group="audit", in_flight=64) as messages:
        member = backend.members[0]
        is_burying = asyncio.Event()

        async def reject(token: object, reason: str, error: str) -> bool:
            is_burying.set()
            await asyncio.Event().wait()
            raise AssertionError

        member.reject = reject  # type: ignore[method-assign]
        member.deliver(backend.delivery(1), backend.delivery(2, b"wrong"))
        await is_burying.wait()
        # The subscription is busy with a message that does not decode, and has not looked at these.
        member.deliver(backend.delivery(3), backend.delivery(4))
        await eventually(lambda: len(member.taken) == 2)
        await messages.stop_taking()
        assert member.settled == [("hand_back", 3), ("hand_back", 4), ("hand_back", 1)]


async def test_messages_that_were_taken_ahead_come_out_where_acks_are_not_kept(
    broker: Broker, backend: SmallBroker
) -> None:
    async with broker.subscribe("orders.new", group="audit", in_flight=4) as messages:
        member = backend.members[0]
        told: list[AcksTold] = []
        member.begin_acks = lambda tokens, tell, *, may_wait: told.append(tell)  # type: ignore[method-assign]
        member.deliver(*(backend.delivery(token) for token in range(4)))
        first = [await anext(messages) for _ in range(4)]
        # Acks on their way leave room for two messages, and for a take ahead.
        assert messages.begin_acks(first, lambda error: None)
        member.deliver(backend.delivery(4), backend.delivery(5))
        await eventually(lambda: member.asked == [4, 4, 2])
        told[0]((), away())
        member.deliver(backend.delivery(6), backend.delivery(7))
        assert [(await anext(messages)).id for _ in range(4)] == [f"id-{token}" for token in range(4, 8)]
        assert member.asked == [4, 4, 2]
