"""Locks and leases of the blocking twin."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc.coordination.sync import SyncStore, open_store
from fastrpc.coordination.sync_locks import SyncLock
from fastrpc.errors import LockHeldError, LockLostError
from fastrpc.hosted.blocking import BlockingThread
from tests.support.waiting import eventually


@pytest.fixture
def store() -> Iterator[SyncStore]:
    with open_store("memory://sync-locks") as store:
        yield store


def is_held(lock: SyncLock) -> bool:
    return lock.is_held


def waiting(store: SyncStore, name: str) -> int:
    holder = store.holder(name)
    assert holder is not None
    return holder.waiting


def lose(store: SyncStore, lock: object) -> None:
    """Lose a lock in the loop that renews it."""
    store._life.thread._loop.call_soon_threadsafe(lock._lock.lease.lose, "by the test")  # type: ignore[attr-defined]


def test_lock_is_held_while_its_block_runs(store: SyncStore) -> None:
    with store.lock("a", value="me") as lock:
        holder = store.holder("a")
        assert holder is not None
        assert (holder.value, holder.token) == ("me", lock.token)
        assert is_held(lock)
        assert store.transact([lock.held()], []).succeeded
        with pytest.raises(LockHeldError):
            store.lock("a", wait=0).__enter__()
        lock.check()
    assert not is_held(lock)
    assert store.holder("a") is None


async def test_waiting_thread_holds_after_the_release(store: SyncStore) -> None:
    tokens: list[int] = []

    def hold() -> None:
        with store.lock("a") as lock:
            tokens.append(lock.token)

    with store.lock("a") as lock:
        thread = threading.Thread(target=hold)
        thread.start()
        await eventually(lambda: waiting(store, "a") == 1)
        assert not tokens
        lock.release()
        thread.join()
        assert tokens[0] > lock.token


def test_interrupt_before_the_block_releases_the_lock(
    store: SyncStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = BlockingThread.run

    def interrupted(thread: BlockingThread, work: Any) -> Any:
        result = run(thread, work)
        if work.__name__ == "_enter":
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(BlockingThread, "run", interrupted)
        store.lock("a").__enter__()
    assert store.holder("a") is None


def test_lost_lock_is_reported_and_the_block_continues(store: SyncStore) -> None:
    with pytest.raises(LockLostError, match="by the test"), store.lock("a") as lock:
        lose(store, lock)
        assert lock.lost.wait(20)
        assert not is_held(lock)
        with pytest.raises(LockLostError, match="by the test"):
            lock.check()
    with pytest.raises(ZeroDivisionError), store.lock("b") as lock:
        lose(store, lock)
        assert lock.lost.wait(20)
        raise ZeroDivisionError


def test_semaphores_elections_and_leases_are_the_same(store: SyncStore) -> None:
    with store.semaphore("slots", 1), store.lead("shop", "tcp://a:1"):
        leader = store.leader("shop")
        assert leader is not None
        assert leader.value == "tcp://a:1"
        with pytest.raises(LockHeldError):
            store.semaphore("slots", 1, wait=0).__enter__()
    with store.lease(5) as lease:
        store.put("k", 1, lease=lease)
        lease.check()
    assert store.get("k") is None


async def test_setting_is_followed_in_every_thread(store: SyncStore) -> None:
    limits = store.follow("limits", int, default=7)
    assert limits.value == 7
    store.put("limits", 8)
    await eventually(lambda: limits.value == 8)
