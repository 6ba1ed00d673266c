"""Locks, semaphores and elections on the store in memory, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from fastrpc.coordination.locks import LEADERS, LOCKS, Holder, Lock, read_holder, watch_holder
from fastrpc.errors import ConfigError, LockHeldError, LockLostError, Status, StoreError
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


class CutStore(LocalStore):
    """A store whose link can be cut for renewals, or for everything."""

    are_renewals_lost = False
    is_away = False
    renewals = 0

    async def renew(self, lease: str) -> bool:
        self.renewals += 1
        if self.are_renewals_lost:
            # The request arrives nowhere, and no answer comes.
            await asyncio.Event().wait()
        self._answer()
        return await super().renew(lease)

    async def revoke(self, lease: str) -> bool:
        self._answer()
        return await super().revoke(lease)

    def _answer(self) -> None:
        if self.is_away:
            raise StoreError("the store is away", processed="no", retryable=True)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def store() -> AsyncIterator[CutStore]:
    async with CutStore(clock=asyncio.get_running_loop().time) as store:
        yield store


def lock_of(store: LocalStore, name: str = "jobs/nightly", **options: Any) -> Lock:
    return Lock(store, name, clock=asyncio.get_running_loop().time, **options)


def is_held(lock: Lock) -> bool:
    return lock.is_held


async def names(store: LocalStore) -> list[str]:
    return [item.key for item in (await store.list()).items]


async def test_lock_is_an_item_with_a_lease_while_its_block_runs(store: CutStore) -> None:
    async with lock_of(store, value="host-1") as lock:
        assert await names(store) == [f"locks/jobs/nightly/{lock.lease.id}"]
        item = await store.get(f"locks/jobs/nightly/{lock.lease.id}")
        assert item is not None
        assert (item.value, item.lease, item.created) == (b"host-1", lock.lease.id, lock.token)
        assert is_held(lock)
        assert (await store.transact([lock.held()], [])).succeeded
    assert not is_held(lock)
    assert await names(store) == []
    assert not await store.renew(lock.lease.id)
    assert not (await store.transact([lock.held()], [])).succeeded


async def test_waiters_hold_in_their_order_with_rising_tokens(store: CutStore) -> None:
    held: list[tuple[int, int]] = []
    inside = 0

    async def hold(number: int) -> None:
        nonlocal inside
        async with lock_of(store) as lock:
            inside += 1
            assert inside == 1
            await pass_time(1)
            held.append((number, lock.token))
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(hold(number))
    assert [number for number, _ in held] == list(range(20))
    tokens = [token for _, token in held]
    assert tokens == sorted(set(tokens))
    assert await names(store) == []


async def test_waiter_that_gives_up_is_not_noticed_by_waiters_after_it(store: CutStore) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(lock_of(store))
        second = asyncio.create_task(lock_of(store).__aenter__())
        await pass_time(1)
        third = asyncio.create_task(lock_of(store).__aenter__())
        await pass_time(1)
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        assert len(await names(store)) == 2
        await pass_time(60)
        assert not third.done()
        assert first.is_held
        await first.release()
        await asyncio.wait([third])
        lock = third.result()
        assert is_held(lock)
        assert lock.token > first.token
        await lock.release()


async def test_lock_that_is_held_is_refused_at_once_or_after_the_wait(store: CutStore) -> None:
    async with lock_of(store, value="host-1") as lock:
        for wait in (0, 7.5):
            before = now()
            with pytest.raises(LockHeldError, match="'host-1' with token 1") as caught:
                await lock_of(store, wait=wait).__aenter__()
            assert now() - before == wait
            assert caught.value.holder == Holder("host-1", lock.token, 0)
            assert (caught.value.status, caught.value.processed) == (Status.ABORTED, "no")
            assert len(await names(store)) == 1


async def test_wait_ends_by_the_lock_before_its_time(store: CutStore) -> None:
    async with lock_of(store) as first:
        second = asyncio.create_task(lock_of(store, wait=5).__aenter__())
        await pass_time(4)
        await first.release()
        lock = await second
        assert is_held(lock)
        await lock.release()


async def test_semaphore_admits_as_many_holders_as_it_has_slots(store: CutStore) -> None:
    inside = most = 0

    async def hold() -> None:
        nonlocal inside, most
        async with lock_of(store, slots=3):
            inside += 1
            most = max(most, inside)
            await pass_time(1)
            inside -= 1

    start = now()
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(hold())
    assert (most, now() - start) == (3, 4)
    async with lock_of(store, slots=2), lock_of(store, slots=2):
        with pytest.raises(LockHeldError):
            await lock_of(store, slots=2, wait=0).__aenter__()


async def test_items_below_a_nested_name_belong_to_another_lock(store: CutStore) -> None:
    async with lock_of(store, "a/b"), lock_of(store, "a", wait=0), lock_of(store, "a/b/c", wait=0):
        assert len(await names(store)) == 3


async def test_lock_is_renewed_while_its_block_runs(store: CutStore) -> None:
    async with lock_of(store, ttl=15) as lock:
        await pass_time(3_600)
        assert is_held(lock)
        assert 700 <= store.renewals <= 725


async def test_holder_is_cancelled_before_the_store_gives_its_lock_away(store: CutStore) -> None:
    start = now()
    with pytest.raises(
        LockLostError, match=r"locks/jobs/nightly was lost: no renewal .* within 13.5 s"
    ) as caught:
        async with lock_of(store, ttl=15) as lock:
            store.are_renewals_lost = True
            waiting = asyncio.create_task(lock_of(store, ttl=60).__aenter__())
            await pass_time(100)
    assert 13.5 - 0.01 < now() - start < 13.5 + 0.01
    assert (caught.value.processed, caught.value.status) == ("unknown", Status.ABORTED)
    assert not waiting.done()
    assert not is_held(lock)
    store.are_renewals_lost = False
    next_one = await waiting
    assert 15 - 0.01 < now() - start < 15 + 0.01
    assert next_one.token > lock.token
    await next_one.release()


async def test_failed_renewals_are_repeated_until_one_arrives(store: CutStore) -> None:
    async with lock_of(store, ttl=15) as lock:
        store.is_away = True
        await pass_time(12)
        store.is_away = False
        await pass_time(100)
        assert is_held(lock)
    assert await names(store) == []


async def test_reason_of_a_loss_names_the_failure(store: CutStore) -> None:
    with pytest.raises(LockLostError, match="the store is away"):
        async with lock_of(store):
            store.is_away = True
            await pass_time(100)


async def test_lease_that_the_store_ended_is_told_at_the_next_renewal(store: CutStore) -> None:
    with pytest.raises(LockLostError, match="the store has ended it"):
        async with lock_of(store) as lock:
            await store.revoke(lock.lease.id)
            await pass_time(6)


async def test_suspension_counts(store: CutStore) -> None:
    suspended = 0.0
    lock = Lock(store, "a", clock=lambda: now() + suspended)
    with pytest.raises(LockLostError):
        async with lock:
            await pass_time(1)
            suspended = 3_600.0
            assert not is_held(lock)
            before = now()
            await pass_time(10)
    assert now() - before <= 0.51


async def test_block_that_ends_too_late_without_a_wait_is_reported(store: CutStore) -> None:
    paused = 0.0
    with pytest.raises(LockLostError):
        async with Lock(store, "a", clock=lambda: now() + paused):
            paused = 14.0
    with pytest.raises(ZeroDivisionError):
        async with Lock(store, "b", clock=lambda: now() + paused):
            paused += 14.0
            raise ZeroDivisionError


async def test_waiter_loses_its_place_with_its_lease(store: CutStore) -> None:
    async with lock_of(store, ttl=1_000) as first:
        store.are_renewals_lost = True
        with pytest.raises(LockLostError, match="no renewal"):
            await lock_of(store).__aenter__()
        assert first.is_held
        store.are_renewals_lost = False
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_own_item_is_read_again_after_the_wait(store: CutStore) -> None:
    async with lock_of(store) as first:
        second = asyncio.create_task(lock_of(store, value="second").__aenter__())
        await pass_time(1)
        own = [item for item in (await store.list()).items if item.value == b"second"]
        await store.delete(own[0].key)
        await first.release()
        with pytest.raises(LockLostError, match="its item has ended"):
            await second
    assert await names(store) == []


class TestCancelScope:
    """A lock that is lost behaves as `asyncio.timeout` does."""

    async def lose(self, store: CutStore, lock: Lock) -> None:
        lock.lease.lose("by the test")
        await pass_time(3_600)

    async def test_loss_leaves_no_cancellation_behind(self, store: CutStore) -> None:
        with pytest.raises(LockLostError) as caught:
            async with lock_of(store) as lock:
                await self.lose(store, lock)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        await pass_time(1)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_cancellation_by_other_code_wins(self, store: CutStore) -> None:
        async def hold() -> None:
            async with lock_of(store) as lock:
                lock.lease.lose("by the test")
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await pass_time(3_600)

        task = asyncio.create_task(hold())
        await asyncio.wait([task])
        assert task.cancelled()

    async def test_timeout_around_and_inside_end_as_ever(self, store: CutStore) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5), lock_of(store):
                await pass_time(60)
        async with lock_of(store) as lock:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await pass_time(60)
            assert is_held(lock)
        with pytest.raises(LockLostError):
            async with asyncio.timeout(50), lock_of(store) as lock, asyncio.timeout(50):
                await self.lose(store, lock)
        assert await names(store) == [f"locks/jobs/nightly/{lock.lease.id}"]

    async def test_inner_lock_that_is_lost_leaves_the_outer_one(self, store: CutStore) -> None:
        async with lock_of(store, "outer") as outer:
            with pytest.raises(LockLostError, match="locks/inner"):
                async with lock_of(store, "inner") as inner:
                    await self.lose(store, inner)
            assert outer.is_held
            await pass_time(60)
        with pytest.raises(LockLostError, match="locks/outer"):
            async with lock_of(store, "outer", wait=0) as outer, lock_of(store, "next"):
                await self.lose(store, outer)
        with pytest.raises(LockLostError, match="locks/a"):
            async with lock_of(store, "a") as one, lock_of(store, "b") as two:
                two.lease.lose("by the test")
                await self.lose(store, one)

    async def test_task_group_inside_is_cancelled(self, store: CutStore) -> None:
        ended: list[str] = []

        async def job(name: str) -> None:
            try:
                await pass_time(3_600)
            finally:
                ended.append(name)

        with pytest.raises(LockLostError):
            async with lock_of(store) as lock, asyncio.TaskGroup() as group:
                group.create_task(job("one"))
                group.create_task(job("two"))
                await pass_time(1)
                lock.lease.lose("by the test")
        assert sorted(ended) == ["one", "two"]

    async def test_task_group_around_gets_the_error(self, store: CutStore) -> None:
        async def job() -> None:
            async with lock_of(store) as lock:
                await self.lose(store, lock)

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(job())
                group.create_task(pass_time(3_600))
        assert [type(error) for error in caught.value.exceptions] == [LockLostError]

    async def test_error_of_the_block_is_raised_unchanged(self, store: CutStore) -> None:
        with pytest.raises(ZeroDivisionError):
            async with lock_of(store) as lock:
                lock.lease.lose("by the test")
                try:
                    await pass_time(1)
                finally:
                    raise ZeroDivisionError
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_failed_delete_leaves_the_lease_to_its_end(store: CutStore) -> None:
    async with lock_of(store, ttl=15) as lock:
        store.is_away = True
    assert not is_held(lock)
    assert len(await names(store)) == 1
    store.is_away = False
    await pass_time(15.1)
    assert await names(store) == []


async def test_released_lock_is_not_lost(store: CutStore) -> None:
    async with lock_of(store) as lock:
        await lock.release()
        assert not is_held(lock)
        async with lock_of(store, wait=0):
            await pass_time(100)
        await lock.release()
    assert await names(store) == []


async def test_locks_leak_nothing(store: CutStore, scale: Any) -> None:
    for _ in range(scale(1_000)):
        async with lock_of(store) as lock:
            pass
        assert not await store.renew(lock.lease.id)
    await asyncio.sleep(0)
    assert await names(store) == []
    assert len(asyncio.all_tasks()) == 2  # This test, and the store.
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert len(timers) == 1  # The next end of a lease in the store.


async def test_elections_have_a_separate_folder(store: CutStore) -> None:
    assert await read_holder(store, LEADERS, "shop") is None
    async with (
        lock_of(store, "shop", value="a lock"),
        lock_of(store, "shop", folder=LEADERS, value="tcp://a:1") as lead,
    ):
        waiting = asyncio.create_task(lock_of(store, "shop", folder=LEADERS, value="tcp://b:1").__aenter__())
        await pass_time(1)
        assert await read_holder(store, LEADERS, "shop") == Holder("tcp://a:1", lead.token, 1)
        await lead.release()
        lock = await waiting
        assert await read_holder(store, LEADERS, "shop") == Holder("tcp://b:1", lock.token, 0)
        assert await read_holder(store, LOCKS, "shop") == Holder("a lock", 1, 0)
        await lock.release()


async def test_watch_shows_the_present_leader_and_each_next_one(store: CutStore) -> None:
    async with aclosing(watch_holder(store, LEADERS, "shop")) as holders:
        shown: list[str | None] = []

        async def show(count: int) -> None:
            for _ in range(count):
                holder = await anext(holders)
                shown.append(holder and holder.value)

        await show(1)
        for value in ("a", "b"):
            async with lock_of(store, "shop", folder=LEADERS, value=value):
                await show(1)
            await show(1)
        assert shown == [None, "a", None, "b", None]


@pytest.mark.parametrize("name", ["", "a//b", "a/", "../a", "a\n", "x" * 500])
def test_name_that_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        Lock(LocalStore(), name)


@pytest.mark.parametrize("options", [{"slots": 0}, {"wait": -1}, {"wait": float("nan")}])
def test_wrong_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="it must be"):
        Lock(LocalStore(), "a", **options)


async def test_lock_is_entered_once(store: CutStore) -> None:
    async with lock_of(store) as lock:
        with pytest.raises(RuntimeError, match="was entered before"):
            await lock.__aenter__()
        assert is_held(lock)
