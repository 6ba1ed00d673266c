"""The blocking twin of stores."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import ConfigError, StoreConflictError, StoreError
from fastrpc.coordination import Change, Put, absent
from fastrpc.coordination.sync import SyncStore, open_store
from tests.support.forking import fork
from tests.support.waiting import eventually


@pytest.fixture
def store() -> Iterator[SyncStore]:
    with open_store("memory://sync") as store:
        yield store


def test_verbs_match_the_store(store: SyncStore) -> None:
    revision = store.put("a/k", [1, 2], expect=0)
    item = store.get("a/k", list[int])
    assert item is not None
    assert (item.value, item.revision) == ([1, 2], revision)
    assert [found.key for found in store.list("a/")] == ["a/k"]
    assert store.transact([absent("b")], [Put("b", b"")]).succeeded
    with pytest.raises(StoreConflictError):
        store.put("b", b"", expect=0)
    assert store.delete("b")
    with fastrpc.timeout(0.0):
        assert store.get("b", stale=True) is None


def test_watch_iterates_over_changes(store: SyncStore) -> None:
    with store.watch("a/", int) as changes:
        store.put("a/1", 1)
        store.delete("a/1")
        found = [next(changes), next(changes)]
        assert [(change.kind, change.revision) for change in found] == [("put", 1), ("deleted", 2)]
        assert isinstance(found[0], Change)


async def test_mirror_is_current_in_every_thread() -> None:
    with open_store("memory://mirrored") as store, store.mirror("a/", int) as mirror:
        store.put("a/1", 1)
        await eventually(lambda: mirror.get("a/1") == 1)


def test_threads_share_a_store(store: SyncStore) -> None:
    threads = [threading.Thread(target=store.put, args=(f"k/{number}", number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {item.value for item in store.list("k/", int)} == set(range(8))


def test_store_is_entered_once() -> None:
    store = open_store("memory://once")
    with store, pytest.raises(RuntimeError, match="is open already"):
        store.__enter__()
    with pytest.raises(RuntimeError, match="a store is entered once; open another one"):
        store.__enter__()


async def test_store_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with open_store(f"sqlite://{tmp_path}/store") as store:
        store.put("k", 1)
    with pytest.raises(StoreError, match="is closed"):
        store.get("k")
    with pytest.raises(ConfigError):
        open_store("nosuch://a")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened: .*File exists"):
        open_store(f"sqlite://{tmp_path}/file").__enter__()
    await eventually(lambda: before.issuperset(threading.enumerate()))


def test_store_is_for_the_process_that_opened_it(store: SyncStore, monkeypatch: pytest.MonkeyPatch) -> None:
    process = os.getpid()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: process + 1)
        with pytest.raises(RuntimeError, match="before a fork"):
            store.get("k")


async def test_store_works_next_to_a_running_loop() -> None:
    with open_store("memory://beside") as store:
        store.put("k", 1)
        assert asyncio.get_running_loop().is_running()


async def test_close_ends_waits_of_other_threads() -> None:
    ended: list[str] = []

    def watch(store: SyncStore) -> None:
        try:
            with store.watch("k/") as changes:
                next(changes)
        except StoreError as error:
            ended.append(error.message)

    def lock(store: SyncStore) -> None:
        try:
            with store.lock("a"):
                pass
        except StoreError as error:
            ended.append(error.message)

    with open_store("memory://left") as store:
        store.lock("a").__enter__()
        threads = [threading.Thread(target=work, args=(store,)) for work in (watch, lock)]
        for thread in threads:
            thread.start()
        history = store._store.backend._history  # type: ignore[attr-defined]
        await eventually(lambda: history.watchers == 2)
    for thread in threads:
        thread.join(20)
    assert len(ended) == 2
    assert set(ended) <= {"the store is closed", "the store was closed during the call"}


def test_block_that_a_forked_child_leaves_ends_in_silence() -> None:
    child = 0
    left = False
    try:
        with open_store("memory://forked"):
            child = fork()
        left = True
    finally:
        if not child:
            os._exit(0 if left else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
