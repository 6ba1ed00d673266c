"""Requests of those that wait for a lock or a slot, in virtual time: a departure concerns one of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from fastrpc.coordination.locks import LOCKS, Lock, watch_holder
from fastrpc.stores.base import ItemPage
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


class CountingStore(LocalStore):
    """Counts the lists that each task asks for."""

    lists: Counter[Any]

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        self.lists[asyncio.current_task()] += 1
        return await super().list(prefix, limit=limit, after=after, stale=stale)


@pytest.fixture
async def store() -> AsyncIterator[CountingStore]:
    store = CountingStore(clock=asyncio.get_running_loop().time)
    store.lists = Counter()
    async with store:
        yield store


def slot_of(store: LocalStore, slots: int) -> Lock:
    return Lock(store, "a", slots=slots, clock=asyncio.get_running_loop().time)


@pytest.mark.parametrize("slots", [1, 3])
async def test_departure_makes_those_ask_that_may_hold_next(store: CountingStore, slots: int) -> None:
    inside = most = 0

    async def hold(seconds: float) -> None:
        nonlocal inside, most
        async with slot_of(store, slots):
            inside += 1
            most = max(most, inside)
            await pass_time(seconds)
            inside -= 1

    async with asyncio.TaskGroup() as group:
        # Some hold for a long time: later ones pass them.
        for number in range(30):
            group.create_task(hold(100 if number % 7 == 3 else 1 + number / 10))
    assert most == slots
    assert len(store.lists) == 30
    # One at the beginning, and one before it holds.
    assert max(store.lists.values()) <= 2


async def test_waiters_that_leave_admit_the_waiters_after_them(store: CountingStore) -> None:
    held: list[int] = []

    async def hold(number: int) -> None:
        async with slot_of(store, 2):
            held.append(number)
            await pass_time(10 + number)

    tasks = [asyncio.create_task(hold(number)) for number in range(9)]
    await pass_time(1)
    for left in (2, 4, 5, 7):
        tasks[left].cancel()
    await asyncio.wait(tasks)
    assert held == [0, 1, 3, 6, 8]


async def test_watch_of_a_holder_asks_again_after_its_end_alone(store: CountingStore) -> None:
    first = await slot_of(store, 1).__aenter__()
    waiting = [asyncio.create_task(slot_of(store, 1).__aenter__()) for _ in range(5)]
    await pass_time(1)
    store.lists.clear()
    async with aclosing(watch_holder(store, LOCKS, "a")) as holders:
        tokens = [(await anext(holders) or first).token]
        following = asyncio.create_task(anext(holders))  # type: ignore[arg-type]
        await pass_time(1)
        for task in waiting[1:]:
            task.cancel()
        await asyncio.wait(waiting[1:])
        await pass_time(1)
        assert sum(store.lists.values()) == 1
        await first.release()
        tokens.append((await following or first).token)
    second = await waiting[0]
    assert tokens == [first.token, second.token]
    await second.release()
