"""Checkpoints: most pages of the log are moved beside commits, and none is lost by an error or by a new log."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc import StoreError
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal, checkpoints
from fastrpc.stores.sqlite.checkpoints import Checkpoints
from fastrpc.stores.sqlite.log import read_log

WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def short_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_LOG_BYTES", 100_000)


class Passes:
    """Holds each pass as it opens its connections, until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, held: int) -> None:
        """Hold the connection with a number: 1 is the reader, 2 the mover."""
        self._open: Callable[[Checkpoints], sqlite3.Connection] = Checkpoints._another
        self._held = held
        self._opened = 0
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(Checkpoints, "_another", lambda part: self._another(part))

    def _another(self, part: Checkpoints) -> sqlite3.Connection:
        self._opened += 1
        if self._opened == self._held:
            self.has_begun.set()
            assert self.may_go_on.wait(WAIT_SECONDS)
        return self._open(part)


async def fill(store: LocalStore) -> None:
    """Write more than a log has."""
    for _ in range(4):
        await store.put("long", b"x" * 50_000)


async def test_commits_go_on_during_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch, held=1)
    log = tmp_path / "store" / "store.db-wal"
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
        await fill(store)
        assert await asyncio.to_thread(passes.has_begun.wait, WAIT_SECONDS)
        salts = read_log(log).salts
        for number in range(20):
            await store.put("k", b"%d" % number)
        assert read_log(log).salts == salts
        passes.may_go_on.set()
        # The rest is moved after a commit behind the pass.
        while read_log(log).salts == salts:
            await store.put("k", b"last")
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
        item = await store.get("k")
    assert item is not None
    assert item.value == b"last"


async def test_no_commit_begins_a_new_log_during_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Passes(monkeypatch, held=2)
    log = tmp_path / "store" / "store.db-wal"
    journal = SqliteJournal(tmp_path / "store")
    async with LocalStore(journal) as store:
        await fill(store)
        assert await asyncio.to_thread(passes.has_begun.wait, WAIT_SECONDS)
        salts = read_log(log).salts
        with sqlite3.connect(journal.folder.path) as other:
            assert other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        other.close()
        for _ in range(5):
            await store.put("k", b"1")
        assert read_log(log).salts == salts
        passes.may_go_on.set()


async def test_the_error_of_a_pass_ends_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(part: Checkpoints) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Checkpoints, "_another", fail)
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
        await store.put("kept", b"1")
        with pytest.raises(StoreError, match="the store cannot be written: disk I/O error"):
            while True:
                await fill(store)
    monkeypatch.undo()
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
        item = await store.get("kept")
    assert item is not None
    assert item.value == b"1"


async def test_a_pass_without_room_is_followed_by_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, tries = Checkpoints._another, 0

    def refuse_once(part: Checkpoints) -> sqlite3.Connection:
        nonlocal tries
        tries += 1
        if tries == 1:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return opening(part)

    monkeypatch.setattr(Checkpoints, "_another", refuse_once)
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
        while tries < 3:
            await fill(store)


async def test_without_a_thread_all_pages_are_moved_between_two_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "store" / "store.db-wal"
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
        await store.put("k", b"")
        salts = read_log(log).salts

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        await fill(store)
        await store.put("k", b"")
        assert read_log(log).salts != salts
