"""Leases whose end is cancelled or fails: the store keeps their revocation, and its close waits for it."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from fastrpc.coordination import Store
from fastrpc.coordination.lease import StoreLease
from fastrpc.coordination.locks import Lock
from fastrpc.coordination.revocations import Revocations
from fastrpc.errors import Status, StoreError
from fastrpc.stores.base import StoreBackend
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time

TTL = 30.0

#: Each kind of hold, as a user enters it.
HOLDS: dict[str, Callable[[Store], Lock | StoreLease]] = {
    "lease": lambda store: store.lease(TTL),
    "lock": lambda store: store.lock("a", ttl=TTL),
    "semaphore": lambda store: store.semaphore("a", 1, ttl=TTL),
    "leader": lambda store: store.lead("a", "host-1", ttl=TTL),
}


class SlowStore(LocalStore):
    """Answers revocations on demand, after given errors."""

    def __init__(self) -> None:
        super().__init__(clock=now)
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.errors: list[Exception] = []

    async def revoke(self, lease: str) -> bool:
        self.asked += 1
        await self.may_answer.wait()
        if self.errors:
            raise self.errors.pop()
        return await super().revoke(lease)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def backend() -> AsyncIterator[SlowStore]:
    async with SlowStore() as store:
        yield store


@asynccontextmanager
async def opening(backend: StoreBackend) -> AsyncIterator[StoreBackend]:
    yield backend


@pytest.fixture
async def store(backend: SlowStore) -> AsyncIterator[Store]:
    async with Store(opening(backend), clock=now) as store:
        yield store
        backend.may_answer.set()


async def leave(hold: AbstractAsyncContextManager[object]) -> None:
    async with hold:
        pass


async def release(lock: Lock) -> None:
    async with lock:
        await lock.release()


async def cancelled_at_the_end(backend: SlowStore, work: Awaitable[None]) -> None:
    """Cancel a task in its revocation, and check that it ends at once."""
    task = asyncio.ensure_future(work)
    await pass_time(0.1)
    assert backend.asked == 1
    began = now()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert now() == began


@pytest.mark.parametrize("kind", HOLDS)
async def test_cancelled_end_leaves_nothing_held(store: Store, backend: SlowStore, kind: str) -> None:
    await cancelled_at_the_end(backend, leave(HOLDS[kind](store)))
    backend.may_answer.set()
    await pass_time(0.1)
    assert backend.figures()["leases"] == 0
    began = now()
    async with HOLDS[kind](store):
        assert now() == began


async def test_cancelled_release_leaves_nothing_held(store: Store, backend: SlowStore) -> None:
    await cancelled_at_the_end(backend, release(store.lock("a", ttl=TTL)))
    backend.may_answer.set()
    await pass_time(0.1)
    assert backend.figures()["leases"] == 0


@pytest.mark.parametrize(
    "error",
    [
        StoreError("away", processed="no", retryable=True),
        StoreError("away", processed="unknown", retryable=True),
        StoreError("late", status=Status.DEADLINE_EXCEEDED),
    ],
)
async def test_revocation_that_fails_is_repeated(store: Store, backend: SlowStore, error: Exception) -> None:
    backend.may_answer.set()
    backend.errors = [error] * 3
    await leave(store.lock("a", ttl=TTL))
    # The owner waits for the first attempt alone.
    assert (backend.asked, backend.figures()["leases"]) == (1, 1)
    await pass_time(3.0)
    assert (backend.asked, backend.figures()["leases"]) == (4, 0)


async def test_refused_revocation_is_not_repeated(store: Store, backend: SlowStore) -> None:
    backend.may_answer.set()
    backend.errors = [StoreError("no right", status=Status.PERMISSION_DENIED, processed="no")]
    await leave(store.lock("a", ttl=TTL))
    await pass_time(3.0)
    assert backend.asked == 1


async def test_revocation_is_abandoned_when_the_lease_has_ended_by_itself(
    store: Store, backend: SlowStore
) -> None:
    backend.may_answer.set()
    backend.errors = [StoreError("away", processed="no", retryable=True)] * 1000
    await leave(store.lock("a", ttl=3.0))
    await pass_time(4.0)
    asked = backend.asked
    await pass_time(10.0)
    assert backend.asked == asked
    assert backend.figures()["leases"] == 0


async def test_close_of_the_store_waits_for_a_revocation(backend: SlowStore) -> None:
    async with Store(opening(backend), clock=now) as store:
        await cancelled_at_the_end(backend, leave(store.lock("a", ttl=TTL)))
        asyncio.get_running_loop().call_later(2.0, backend.may_answer.set)
        began = now()
    assert now() - began == pytest.approx(2.0)
    assert backend.figures()["leases"] == 0


@pytest.mark.parametrize(("ttl", "seconds"), [(TTL, 5.0), (2.0, 2.0)])
async def test_close_of_the_store_waits_for_at_most_five_seconds_and_the_ttl(
    backend: SlowStore, ttl: float, seconds: float
) -> None:
    async with Store(opening(backend), clock=now) as store:
        await cancelled_at_the_end(backend, leave(store.lock("a", ttl=ttl)))
        began = now()
    assert seconds - 0.2 < now() - began <= seconds


async def test_cancelled_close_waits_no_longer(backend: SlowStore) -> None:
    store = await Store(opening(backend), clock=now).__aenter__()
    await cancelled_at_the_end(backend, leave(store.lock("a", ttl=TTL)))
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await pass_time(1.0)
    closing.cancel()
    began = now()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert now() == began


async def test_close_of_the_store_waits_for_a_revocation_that_begins_meanwhile(backend: SlowStore) -> None:
    async with Store(opening(backend), clock=now) as store:
        held = await HOLDS["lease"](store).__aenter__()
        await cancelled_at_the_end(backend, leave(store.lock("a", ttl=TTL)))
        loop = asyncio.get_running_loop()
        closing = asyncio.ensure_future(store.__aexit__(None, None, None))
        await pass_time(1.0)
        ending = loop.create_task(held.__aexit__(None, None, None))
        loop.call_later(1.0, backend.may_answer.set)
        await asyncio.wait([closing])
        await ending
    assert backend.figures()["leases"] == 0


async def test_revocations_that_begin_during_a_close_do_not_extend_it(backend: SlowStore) -> None:
    store = await Store(opening(backend), clock=now).__aenter__()
    held = await HOLDS["lease"](store).__aenter__()
    await cancelled_at_the_end(backend, leave(store.lock("a", ttl=TTL)))
    began = now()
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await pass_time(3.0)
    ending = asyncio.ensure_future(held.__aexit__(None, None, None))
    await closing
    assert now() - began <= 5.0
    await ending


async def test_revocation_after_the_close_is_refused(backend: SlowStore) -> None:
    revocations = Revocations()
    await revocations.close()
    with pytest.raises(StoreError, match="the lease 1 was not revoked: the store is closed"):
        await revocations.revoke(backend, "1", TTL, contextvars.Context())
    assert backend.asked == 0


async def test_revocation_that_a_close_gives_up_tells_so(backend: SlowStore) -> None:
    revocations = Revocations()
    waiting = asyncio.ensure_future(revocations.revoke(backend, "1", TTL, contextvars.Context()))
    await pass_time(0.1)
    revocations.give_up()
    with pytest.raises(StoreError, match="the lease 1 was not revoked before the store closed"):
        await waiting


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError()])
async def test_failed_end_of_a_setting_leaves_no_revocation_behind(
    backend: SlowStore, error: BaseException
) -> None:
    store = await Store(opening(backend), clock=now).__aenter__()

    async def fail() -> None:
        raise error

    store._followings.push_async_callback(fail)
    await cancelled_at_the_end(backend, leave(store.lock("a", ttl=TTL)))
    asyncio.get_running_loop().call_later(2.0, backend.may_answer.set)
    began = now()
    with pytest.raises(type(error)):
        await store.__aexit__(None, None, None)
    is_cancelled = isinstance(error, asyncio.CancelledError)
    assert now() - began == pytest.approx(0.0 if is_cancelled else 2.0)
    assert backend.figures()["leases"] == is_cancelled
