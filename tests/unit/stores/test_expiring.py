"""Leases that expire at once: a store ends a part of them in each turn of its loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from fastrpc.stores.expiring import EXPIRED_AT_ONCE, keep_expiring
from fastrpc.stores.local import LocalStore
from fastrpc.stores.memory import MemoryStore
from fastrpc.testing import FakeClock

LEASES = 4 * EXPIRED_AT_ONCE + 1


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[LocalStore | MemoryStore]:
    if request.param == "memory":
        yield MemoryStore(clock=clock)
        return
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(LocalStore(clock=clock))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def expire(store: LocalStore | MemoryStore) -> float | None:
    return store.expire() if isinstance(store, MemoryStore) else store.content.expire()


async def test_some_of_the_leases_end_at_once_and_the_others_are_due(
    store: LocalStore | MemoryStore, clock: FakeClock
) -> None:
    leases = [await store.lease(10.0) for _ in range(LEASES)]
    later = await store.lease(11.0)
    clock.advance(10.0)
    assert [expire(store) for _ in range(LEASES // EXPIRED_AT_ONCE)] == [0.0] * (LEASES // EXPIRED_AT_ONCE)
    assert expire(store) == pytest.approx(1.0)
    assert [await store.renew(lease) for lease in (leases[0], leases[-1], later)] == [False, False, True]


async def test_other_tasks_run_while_thousands_of_leases_end() -> None:
    left = [0.0] * 5
    turns: list[int] = []

    def end_some() -> float | None:
        turns.append(len(left))
        return left.pop() if left else None

    expiring = asyncio.create_task(keep_expiring(end_some, asyncio.Event()))
    for rounds in range(1, 6):
        await asyncio.sleep(0)
        assert len(turns) == rounds
    expiring.cancel()
    await asyncio.wait([expiring])


async def test_earlier_lease_ends_the_wait_for_a_later_one() -> None:
    changed, ended = asyncio.Event(), asyncio.Queue[float]()
    dues = iter([60.0, 0.0])

    def end_some() -> float | None:
        due = next(dues, None)
        ended.put_nowait(due or 0.0)
        return due

    expiring = asyncio.create_task(keep_expiring(end_some, changed))
    assert await ended.get() == 60.0
    changed.set()
    assert await ended.get() == 0.0
    assert await ended.get() == 0.0
    expiring.cancel()
    await asyncio.wait([expiring])
