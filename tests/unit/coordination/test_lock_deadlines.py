"""Locks under deadlines of their callers, and outages of the watches and leases that they need, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

import fastrpc
from fastrpc.coordination.locks import LEADERS, Lock, watch_holder
from fastrpc.errors import LockHeldError, LockLostError, Status, StoreError
from fastrpc.stores.base import ItemChange
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


class LateStore(LocalStore):
    """A store whose watches fail at once, or whose leases take their time."""

    is_watch_away = False
    seconds_of_lease = 0.0

    async def lease(self, seconds: float) -> str:
        name = await super().lease(seconds)
        await pass_time(self.seconds_of_lease)
        return name

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        if self.is_watch_away:
            raise StoreError("the deadline of the call has passed", status=Status.DEADLINE_EXCEEDED)
        return super().watch(watched, after=after)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def store() -> AsyncIterator[LateStore]:
    async with LateStore(clock=asyncio.get_running_loop().time) as store:
        yield store


def lock_of(store: LocalStore, name: str = "a", **options: Any) -> Lock:
    return Lock(store, name, clock=asyncio.get_running_loop().time, **options)


async def names(store: LocalStore) -> list[str]:
    return [item.key for item in (await store.list()).items]


async def test_deadline_of_the_caller_ends_a_wait(store: LateStore) -> None:
    async with lock_of(store, value="host-1") as lock:
        before = now()
        with (
            fastrpc.timeout(60),
            pytest.raises(StoreError, match="'host-1' .* the deadline has passed") as caught,
        ):
            async with asyncio.timeout(600):
                await lock_of(store, wait=70).__aenter__()
        assert 59 < now() - before <= 60
        assert (caught.value.status, caught.value.processed) == (Status.DEADLINE_EXCEEDED, "no")
        with fastrpc.timeout(60), pytest.raises(LockHeldError):
            await lock_of(store, wait=5).__aenter__()
        assert await names(store) == [f"locks/a/{lock.lease.id}"]


async def test_deadline_of_the_caller_ends_a_wait_for_a_store_that_is_away(store: LateStore) -> None:
    async with lock_of(store):
        store.is_watch_away = True
        with fastrpc.timeout(60), pytest.raises(StoreError, match="the deadline has passed"):
            async with asyncio.timeout(600):
                await lock_of(store).__aenter__()


async def test_lease_that_is_made_too_late_is_lost_before_its_block(store: LateStore) -> None:
    store.seconds_of_lease = 1.9
    with pytest.raises(LockLostError, match=r"no renewal was confirmed within 1.8 s"):
        await lock_of(store, ttl=2).__aenter__()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await pass_time(3)
    assert await names(store) == []


async def test_watch_of_the_leader_outlasts_outages_of_the_store(store: LateStore) -> None:
    async with aclosing(watch_holder(store, LEADERS, "shop")) as holders:
        assert await anext(holders) is None
        store.is_watch_away = True
        waiting = asyncio.ensure_future(anext(holders))
        await pass_time(3)
        store.is_watch_away = False
        await pass_time(3)
        async with lock_of(store, "shop", folder=LEADERS, value="a"):
            holder = await waiting
            assert holder is not None
            assert holder.value == "a"
        store.is_watch_away = True
        assert await anext(holders) is None
        before = now()
        with pytest.raises(StoreError, match="the deadline of the call"):
            await anext(holders)
        assert 4.5 < now() - before < 6.1
