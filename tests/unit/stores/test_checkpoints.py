"""Checkpoints: most pages of the log are moved during commits, and no page is lost by an error or by a new log."""

import asyncio
import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from fastrpc import StoreError
from fastrpc.stores.base import Item, ItemChange
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal, checkpoints
from fastrpc.stores.sqlite.checkpoints import Checkpoints
from fastrpc.stores.sqlite.log import read_log
from tests.support.waiting import eventually

WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def short_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_LOG_BYTES", 100_000)


class Passes:
    """Holds each pass as it opens its connections, until its release."""

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


async def test_commits_continue_during_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        # The remaining pages are moved after a commit after the pass.
        async with asyncio.timeout(WAIT_SECONDS):
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


class Faulty(sqlite3.Connection):
    """A connection whose checkpoints fail."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, parameters)


async def is_whole(folder: Path, caplog: pytest.LogCaptureFixture) -> bool:
    """Return whether a store has the items of `fill`, with its history, and lost nothing."""
    caplog.clear()
    async with LocalStore(SqliteJournal(folder)) as store:
        item = await store.get("long")
        changes = store.watch("", after=0)
        first = await anext(changes)
        await changes.aclose()
    return item is not None and first.revision == 1 and "lost" not in caplog.text


async def test_the_error_of_a_pass_ends_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as faulty:
        faulty.setattr(
            Checkpoints,
            "_another",
            lambda part: sqlite3.connect(part._path, factory=Faulty, isolation_level=None),
        )
        async with LocalStore(SqliteJournal(tmp_path / "store")) as store, asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(StoreError, match="the store cannot be written: disk I/O error"):
                while True:
                    await fill(store)
    assert (tmp_path / "store" / "store.db-wal").exists()
    assert await is_whole(tmp_path / "store", caplog)


async def test_nothing_is_moved_again_after_an_error_between_two_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[Checkpoints] = []

    def fail(part: Checkpoints) -> None:
        tries.append(part)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as faulty:
        faulty.setattr(Checkpoints, "_moved", fail)
        async with LocalStore(SqliteJournal(tmp_path / "store")) as store, asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(StoreError, match="the store cannot be written: disk I/O error"):
                while True:
                    await fill(store)
    assert len(tries) == 1
    assert (tmp_path / "store" / "store.db-wal").exists()
    assert await is_whole(tmp_path / "store", caplog)


async def test_a_disk_that_is_full_at_the_end_keeps_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(part: Checkpoints) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as faulty:
        async with LocalStore(SqliteJournal(tmp_path / "store")) as store:
            await store.put("long", b"")
            faulty.setattr(Checkpoints, "_moved", fail)
    assert "keeps its log, which cannot be moved into it: database or disk is full" in caplog.text
    assert (tmp_path / "store" / "store.db-wal").exists()
    assert await is_whole(tmp_path / "store", caplog)


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_the_end_is_clean_while_another_program_reads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sync: Literal["full", "normal"]
) -> None:
    journal = SqliteJournal(tmp_path / "store", sync=sync)
    async with LocalStore(journal) as store:
        await store.put("long", b"1")
        other = sqlite3.connect(journal.folder.path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM sqlite_master").fetchall()
        await store.put("long", b"2")
    assert (tmp_path / "store" / "store.db-wal").exists()
    # The other program is the last one, and removes the log.
    other.close()
    assert not (tmp_path / "store" / "store.db-wal").exists()
    assert await is_whole(tmp_path / "store", caplog)


async def test_pages_are_moved_between_commits_if_a_pass_cannot_open_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(part: Checkpoints) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(Checkpoints, "_another", refuse)
    log = tmp_path / "store" / "store.db-wal"
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store, asyncio.timeout(WAIT_SECONDS):
        await store.put("k", b"")
        salts = read_log(log).salts
        while read_log(log).salts == salts:
            await fill(store)


async def test_a_pass_without_room_is_followed_by_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, tries = Checkpoints._another, 0

    class Full(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if "wal_checkpoint" in sql:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, parameters)

    def refuse_once(part: Checkpoints) -> sqlite3.Connection:
        nonlocal tries
        tries += 1
        if tries == 2:
            return sqlite3.connect(part._path, factory=Full, isolation_level=None)
        return opening(part)

    monkeypatch.setattr(Checkpoints, "_another", refuse_once)
    async with LocalStore(SqliteJournal(tmp_path / "store")) as store, asyncio.timeout(WAIT_SECONDS):
        while tries < 4:
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


async def test_a_journal_that_is_garbage_during_a_pass_is_closed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    passes = Passes(monkeypatch, held=2)
    journal = SqliteJournal(tmp_path / "store")
    journal.open()
    for revision in range(1, 4):
        journal.commit([ItemChange("long", revision, Item("long", b"x" * 50_000, revision))], 0)
    assert await asyncio.to_thread(passes.has_begun.wait, WAIT_SECONDS)
    alive, parts = weakref.ref(journal.folder), journal.folder._parts
    del journal
    gc.collect()
    assert alive() is not None
    with pytest.raises(StoreError, match="another store holds"):
        SqliteJournal(tmp_path / "store").open()
    passes.may_go_on.set()
    await eventually(lambda: alive() is None and not parts.claim.is_held)
    assert await is_whole(tmp_path / "store", caplog)
