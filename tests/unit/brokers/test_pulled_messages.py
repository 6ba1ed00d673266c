"""Pulled messages: a pull that is cancelled, bounds of all callers and of each, ends that are not kept."""

import asyncio
from typing import Any, Final

import pytest

from fastrpc import BrokerError, Status
from fastrpc.brokers.base import GroupSettings
from fastrpc.brokers.remote import pulled
from fastrpc.brokers.remote.messages import PulledMessage, PulledSettlement
from fastrpc.brokers.remote.pulled import PulledMessages
from tests.support.small_broker import SmallBroker, SmallMembership, away
from tests.support.waiting import eventually

GROUP: Final = GroupSettings("audit", "orders.new")


async def pull(
    messages: PulledMessages, backend: SmallBroker, most: int = 1, *, owner: str | None = None
) -> list[PulledMessage]:
    drain: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return await messages.pull(backend, GROUP, most, (50.0, 60.0), owner, drain)


async def give_up(pulling: "asyncio.Task[Any]") -> None:
    pulling.cancel()
    await asyncio.wait([pulling])
    assert pulling.cancelled()


def handed_back(member: SmallMembership) -> set[Any]:
    assert {verb for verb, *_ in member.settled} <= {"hand_back"}
    return {token for _, token in member.settled}


class TestCancelledPull:
    @pytest.mark.virtual_time
    @pytest.mark.parametrize("turns", range(8))
    async def test_each_message_is_handed_back_whenever_the_pull_is_cancelled(
        self, backend: SmallBroker, turns: int
    ) -> None:
        messages = PulledMessages()
        pulling = asyncio.create_task(pull(messages, backend, 9))
        member = await backend.joined(1)
        member.commit_seconds = 3.0
        member.deliver(*(backend.delivery(token, bytes(1024 * 1024)) for token in range(9)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await give_up(pulling)
        # After an early end some messages were not even taken.
        waiting = {one.token for one in member.waiting}
        assert handed_back(member) | waiting == set(range(9))
        assert member.is_closed
        assert not messages._leases

    @pytest.mark.virtual_time
    async def test_pull_cancelled_while_it_hands_back_the_remaining_messages_hands_back_all(
        self, backend: SmallBroker
    ) -> None:
        messages = PulledMessages()
        pulling = asyncio.create_task(pull(messages, backend, 9))
        member = await backend.joined(1)
        member.commit_seconds = 3.0
        member.deliver(*(backend.delivery(token, bytes(1024 * 1024)) for token in range(9)))
        await eventually(lambda: not member.waiting)
        for _ in range(9):
            await asyncio.sleep(0)
        await give_up(pulling)
        assert handed_back(member) == set(range(9))
        assert member.is_closed
        assert not messages._leases

    async def test_broker_that_is_away_does_not_keep_a_pull_from_its_end(self, backend: SmallBroker) -> None:
        messages = PulledMessages()
        pulling = asyncio.create_task(pull(messages, backend))
        member = await backend.joined(1)
        await asyncio.sleep(0)
        member.fail(away())
        await give_up(pulling)
        assert member.is_closed


class TestBounds:
    async def test_pulls_that_wait_hold_places_for_their_messages(
        self, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulled, "MOST_PULLED", 10)
        messages = PulledMessages()
        waiting = [asyncio.create_task(pull(messages, backend, 4)) for _ in range(3)]
        members = [await backend.joined(count) for count in (1, 2, 3)]
        with pytest.raises(
            BrokerError, match="10 pulled messages are not settled, the limit is 10"
        ) as caught:
            await pull(messages, backend)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        for member in members:
            member.deliver(*(backend.delivery(token) for token in range(4)))
        found = await asyncio.gather(*waiting)
        assert [len(one) for one in found] == [4, 4, 2]
        await messages.close()

    async def test_places_that_a_pull_does_not_need_are_given_back(
        self, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulled, "MOST_PULLED", 5)
        messages = PulledMessages()
        for ended in range(1, 5):
            pulling = asyncio.create_task(pull(messages, backend, 5))
            member = await backend.joined(ended)
            if ended == 1:
                await give_up(pulling)
            elif ended == 2:
                backend.join_failures.append(away())
                member.fail(away())
                with pytest.raises(BrokerError, match="away"):
                    await pulling
                with pytest.raises(BrokerError, match="away"):
                    await pull(messages, backend)
            else:
                member.deliver(backend.delivery(ended))
                (one,) = await pulling
                assert await messages.settle([PulledSettlement(one.token)], None) == [True]

    async def test_caller_takes_no_places_of_others(
        self, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulled, "MOST_OF_OWNER", 3)
        messages = PulledMessages()
        pulling = asyncio.create_task(pull(messages, backend, 5, owner="shop"))
        (await backend.joined(1)).deliver(*(backend.delivery(token) for token in range(5)))
        found = await pulling
        assert len(found) == 3
        with pytest.raises(
            BrokerError, match="shop has 3 pulled messages that are not settled, the limit is 3"
        ):
            await pull(messages, backend, owner="shop")
        pulling = asyncio.create_task(pull(messages, backend, owner="billing"))
        (await backend.joined(2)).deliver(backend.delivery(9))
        assert len(await pulling) == 1
        await messages.settle([PulledSettlement(found[0].token)], "shop")
        pulling = asyncio.create_task(pull(messages, backend, 5, owner="shop"))
        (await backend.joined(3)).deliver(*(backend.delivery(token) for token in range(5)))
        assert len(await pulling) == 1
        await messages.close()
        assert not messages._places._used_of


async def test_end_that_the_broker_could_not_keep_is_tried_again(backend: SmallBroker) -> None:
    messages = PulledMessages()
    pulling = asyncio.create_task(pull(messages, backend, 2))
    member = await backend.joined(1)
    member.deliver(backend.delivery(1), backend.delivery(2))
    ends = [PulledSettlement(one.token) for one in await pulling]
    member.settle_failures.append(away())
    with pytest.raises(BrokerError, match="away"):
        await messages.settle(ends, None)
    assert member.settled == [("ack", 2)]
    assert await messages.settle(ends, None) == [True, False]
    assert member.settled == [("ack", 2), ("ack", 1)]
    assert member.is_closed
