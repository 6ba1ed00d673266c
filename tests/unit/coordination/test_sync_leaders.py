"""Elections of the blocking twin."""

import inspect
import threading
from collections.abc import Iterator

import pytest

import fastrpc
from fastrpc.coordination import Store
from fastrpc.coordination.sync import SyncStore, open_store
from fastrpc.coordination.sync_locks import SyncLock
from fastrpc.errors import LockLostError, StoreError


@pytest.fixture
def store() -> Iterator[SyncStore]:
    with open_store("memory://sync-leaders") as store:
        yield store


def lose(store: SyncStore, lock: SyncLock) -> None:
    """Lose a lock in the store and in the loop that renews it, and wait until its thread knows."""
    store._life.thread.run(store._store.backend.revoke(lock._lock.lease.id))
    store._life.thread._loop.call_soon_threadsafe(lock._lock.lease.lose, "by the test")
    assert lock.lost.wait(20)


def test_twin_has_every_verb_of_the_store() -> None:
    def verbs(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }

    assert verbs(SyncStore) == verbs(Store)


def test_watch_shows_the_present_leader_and_each_next_one(store: SyncStore) -> None:
    leaders = store.watch_leader("shop")
    assert next(leaders) is None
    with store.lead("shop", "tcp://a:1") as lock:
        leader = next(leaders)
        assert leader is not None
        assert (leader.value, leader.token) == ("tcp://a:1", lock.token)
    assert next(leaders) is None
    leaders.close()
    with pytest.raises(StopIteration):
        next(leaders)


def test_watch_of_a_leader_ends_with_its_store() -> None:
    with open_store("memory://left-leaders") as store:
        leaders = store.watch_leader("shop")
        assert next(leaders) is None
    with pytest.raises(StoreError, match="the store is closed"):
        next(leaders)
    with pytest.raises(StoreError, match="is closed"):
        store.watch_leader("shop")


def test_function_runs_at_each_election_until_it_returns_as_leader(
    store: SyncStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.coordination.sync.CANDIDACY_SECONDS", 0.0)
    tokens: list[int] = []

    def lead(lock: SyncLock) -> str:
        tokens.append(lock.token)
        leader = store.leader("shop")
        assert leader is not None
        assert (leader.value, threading.current_thread()) == ("me", threading.main_thread())
        if len(tokens) < 3:
            lose(store, lock)
            # Of the first term by a step between, of the second by its end.
            if len(tokens) == 1:
                lock.check()
        return f"done in term {len(tokens)}"

    assert store.run_while_leading("shop", lead, value="me") == "done in term 3"
    assert tokens == sorted(set(tokens))
    assert store.leader("shop") is None


@pytest.mark.parametrize("error", [ZeroDivisionError(), LockLostError("another lock")])
def test_error_of_the_function_comes_out(store: SyncStore, error: Exception) -> None:
    def lead(lock: SyncLock) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        store.run_while_leading("shop", lead)
    assert caught.value is error


def test_candidacy_ends_at_the_deadline_of_the_caller(store: SyncStore) -> None:
    with store.lead("shop", "first"), fastrpc.timeout(1e-9), pytest.raises(StoreError) as caught:
        store.run_while_leading("shop", lambda lock: None)
    assert caught.value.status is fastrpc.Status.DEADLINE_EXCEEDED
