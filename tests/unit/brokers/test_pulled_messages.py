"""Pulled messages: a pull that is cancelled leaves none of them under way."""

import asyncio
from typing import Any, Final

import pytest

from fastrpc.brokers.base import GroupSettings
from fastrpc.brokers.remote.messages import PulledMessage
from fastrpc.brokers.remote.pulled import PulledMessages
from tests.support.small_broker import SmallBroker, SmallMembership, away

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
        # Those of an early end were not even taken.
        waiting = {one.token for one in member.waiting}
        assert handed_back(member) | waiting == set(range(9))
        assert member.is_closed
        assert not messages._leases

    @pytest.mark.virtual_time
    async def test_messages_are_handed_back_while_a_cancelled_pull_hands_back_the_rest(
        self, backend: SmallBroker
    ) -> None:
        messages = PulledMessages()
        pulling = asyncio.create_task(pull(messages, backend, 9))
        member = await backend.joined(1)
        member.commit_seconds = 3.0
        member.deliver(*(backend.delivery(token, bytes(1024 * 1024)) for token in range(9)))
        await asyncio.sleep(1.0)
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
