"""The file of a store: restarts, group commit, and files that are refused."""

import asyncio
import functools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from fastrpc import CompactedError, ConfigError, Status, StoreError
from fastrpc.stores.base import ItemChange, LeaseChange, Saved, Write
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.testing import FakeClock
from tests.support.forking import fork
from tests.support.waiting import eventually

#: Writes rising numbers, and prints each one once it is acknowledged.
WRITER = """
import asyncio, sys
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal

async def write(store, task):
    for number in range(1_000_000):
        revision = await store.put(f"k/{task}", str(number).encode())
        sys.stdout.write(f"{task} {number} {revision}\\n")
        sys.stdout.flush()

async def main():
    async with LocalStore(SqliteJournal(sys.argv[1])) as store:
        await asyncio.gather(*(write(store, task) for task in range(8)))

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


async def refusal(folder: Path) -> StoreError:
    """Return the error of opening a folder, after a check that its file was left alone."""
    path = folder / "store.db"
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        async with LocalStore(SqliteJournal(folder)):
            pass
    assert path.read_bytes() == before
    return caught.value


async def test_restart_keeps_items_history_revision_and_leases(folder: Path) -> None:
    clock = FakeClock()
    async with LocalStore(SqliteJournal(folder), clock=clock) as store:
        lease = await store.lease(10.0)
        await store.put("a", b"\x00\xff", lease=lease)
        await store.put("b", b"1")
        await store.delete("b")
        before = await store.list()
        clock.advance(9.0)
    async with LocalStore(SqliteJournal(folder), clock=clock) as store:
        assert await store.list() == before
        changes = store.watch("", after=1)
        found = [await anext(changes), await anext(changes)]
        await changes.aclose()
        assert [(change.key, change.revision) for change in found] == [("b", 2), ("b", 3)]
        # The lease begins anew.
        clock.advance(9.0)
        assert await store.renew(lease)
        assert await store.put("c", b"") == 4
        clock.advance(10.0)
        store.content.expire()
        assert [item.key for item in (await store.list()).items] == ["c"]
    async with LocalStore(SqliteJournal(folder), clock=clock) as store:
        assert not await store.renew(lease)


async def test_history_is_compacted_in_the_file_too(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        for _ in range(240):
            await store.transact([], [Write(f"k/{number}", b"") for number in range(50)])
    with sqlite3.connect(folder / "store.db") as connection:
        (rows,) = connection.execute("SELECT count(*) FROM history").fetchone()
    connection.close()
    assert 10_000 <= rows <= 11_100
    async with LocalStore(SqliteJournal(folder)) as store:
        with pytest.raises(StoreError, match="the history has revisions after"):
            await anext(store.watch("", after=1))


class CountedJournal(SqliteJournal):
    """Counts its commits."""

    commits = 0

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        self.commits += 1
        super().commit(changes, compacted)


async def test_writes_that_arrive_together_share_a_commit(folder: Path) -> None:
    journal = CountedJournal(folder)
    async with LocalStore(journal) as store:
        await asyncio.gather(*(store.put(f"k/{number}", b"") for number in range(64)))
    assert journal.commits <= 2


async def test_read_waits_for_the_commit_of_its_value(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        writing = asyncio.ensure_future(store.put("k", b"1"))
        await asyncio.sleep(0)
        reading = asyncio.ensure_future(store.get("k"))
        await reading
        assert writing.done()


class HeldJournal(SqliteJournal):
    """Commits on demand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_committing, self.may_commit = threading.Event(), threading.Event()

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        self.is_committing.set()
        self.may_commit.wait(20.0)
        super().commit(changes, compacted)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_close_during_a_commit_reports_the_kept_writes(folder: Path, is_cancelled: bool) -> None:
    journal = HeldJournal(folder)
    store = await LocalStore(journal).__aenter__()
    kept = asyncio.ensure_future(store.put("kept", b""))
    await eventually(journal.is_committing.is_set)
    later = asyncio.ensure_future(store.put("later", b""))
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    if is_cancelled:
        closing.cancel()
        await asyncio.wait([closing])
    journal.may_commit.set()
    results = await asyncio.gather(kept, later, closing, return_exceptions=True)
    assert results[0] == 1
    if is_cancelled:
        assert isinstance(results[1], StoreError)
        assert results[1].processed == "no"
        assert isinstance(results[2], asyncio.CancelledError)
    else:
        assert results[1] == 2
        assert results[2] is None
    # The folder is free once the thread has closed the file.
    await eventually(lambda: not journal.folder.is_held)
    async with LocalStore(SqliteJournal(folder)) as again:
        keys = [item.key for item in (await again.list()).items]
    assert keys == (["kept"] if is_cancelled else ["kept", "later"])


class FailingJournal(SqliteJournal):
    """Fails every commit."""

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        raise sqlite3.OperationalError("disk I/O error")


async def test_failed_commit_ends_the_store(folder: Path) -> None:
    async with LocalStore(FailingJournal(folder)) as store:
        watching = asyncio.ensure_future(anext(store.watch("")))
        await asyncio.sleep(0)
        for attempt in (store.put("k", b"1"), store.get("k"), watching):
            with pytest.raises(StoreError, match="cannot be written: disk I/O error") as caught:
                await attempt
            assert caught.value.processed == "unknown"
    async with LocalStore(SqliteJournal(folder)) as store:
        assert await store.get("k") is None


async def test_full_disk_refuses_writes_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"")
        monkeypatch.setattr("fastrpc.stores.sqlite.folder._FREE_BYTES", 1 << 80)
        with pytest.raises(StoreError, match="disk of the store is full") as caught:
            await store.put("k", b"")
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert await store.delete("k")


async def test_second_store_in_a_folder_is_refused(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        with pytest.raises(StoreError, match="another store holds"):
            async with LocalStore(SqliteJournal(folder)):
                pass
        await store.put("k", b"")


class SlowJournal(SqliteJournal):
    """Opens on demand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_open = threading.Event()
        self.calls: list[str] = []

    def open(self) -> Saved:
        self.may_open.wait(20.0)
        saved = super().open()
        self.calls.append("open")
        return saved

    def close(self) -> None:
        super().close()
        self.calls.append("close")


async def test_cancelled_opening_releases_the_folder(folder: Path) -> None:
    journal = SlowJournal(folder)
    opening = asyncio.ensure_future(LocalStore(journal).__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    journal.may_open.set()
    await eventually(lambda: journal.calls == ["open", "close"])
    async with LocalStore(SqliteJournal(folder)) as store:
        assert await store.get("k") is None


async def test_files_are_for_their_user_alone(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"")
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    names = ("store.db", "store.db-wal", "store.db-shm", "store.revisions")
    assert modes == dict.fromkeys(names, 0o600)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    assert "its mode is 750" in (await refusal(folder)).message


@pytest.mark.parametrize("damage", [b"", b"no database" * 100])
async def test_damaged_file_is_refused(folder: Path, damage: bytes) -> None:
    folder.mkdir(mode=0o700)
    (folder / "store.db").write_bytes(damage)
    error = await refusal(folder)
    assert error.status is Status.DATA_LOSS
    assert "is damaged" in error.message


async def test_file_that_another_program_locks_is_not_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"")
    other = sqlite3.connect(folder / "store.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, timeout=0))
    error = await refusal(folder)
    assert (error.status, error.processed) == (Status.UNAVAILABLE, "no")
    assert "cannot be opened: database is locked" in error.message
    other.close()
    async with LocalStore(SqliteJournal(folder)) as store:
        assert await store.get("k") is not None


async def test_item_without_its_lease_is_damage(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"", lease=await store.lease(10))
    with sqlite3.connect(folder / "store.db") as other:
        other.execute("DELETE FROM leases")
    other.close()
    error = await refusal(folder)
    assert error.status is Status.DATA_LOSS
    assert "the lease of an item is missing" in error.message


async def test_disk_that_does_not_answer_refuses_writes(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        shutil.rmtree(folder)
        with pytest.raises(StoreError, match="the disk of the store does not answer") as caught:
            await store.put("k", b"")
    assert caught.value.processed == "no"


async def test_missing_file_next_to_its_commits_is_refused(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"")
        commits = (folder / "store.db-wal").read_bytes()
    (folder / "store.db").unlink()
    (folder / "store.db-wal").write_bytes(commits)
    with pytest.raises(StoreError, match="it is missing beside its -wal") as caught:
        async with LocalStore(SqliteJournal(folder)):
            pass
    assert caught.value.status is Status.DATA_LOSS
    assert not (folder / "store.db").exists()
    assert (folder / "store.db-wal").read_bytes() == commits


@pytest.mark.parametrize(
    ("pragma", "text"), [("user_version = 2", "schema 2"), ("application_id = 7", "not a store")]
)
async def test_file_of_another_program_or_version_is_refused(folder: Path, pragma: str, text: str) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"")
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute(f"PRAGMA {pragma}")
    connection.close()
    assert text in (await refusal(folder)).message


async def abandoned(folder: Path) -> int:
    """Write an item under sync=normal and leave the files as a killed process does; return its revision."""
    async with LocalStore(SqliteJournal(folder, sync="normal")) as store:
        revision = await store.put("k", b"1")
        await store.put("k", b"2")
        files = {path: path.read_bytes() for path in folder.iterdir()}
    for path, content in files.items():
        path.write_bytes(content)
    return revision + 1


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_revision_that_may_have_been_lost_comes_to_no_other_write(
    folder: Path, sync: Literal["full", "normal"]
) -> None:
    lost = await abandoned(folder)
    async with LocalStore(SqliteJournal(folder, sync=sync)) as store:
        item = await store.get("k")
        assert item is not None
        assert item.revision == lost
        after = await store.put("k", b"3")
        assert after > lost
        with pytest.raises(CompactedError):
            await anext(store.watch("k", after=lost))
    async with LocalStore(SqliteJournal(folder, sync=sync)) as store:
        assert await store.put("k", b"4") == after + 1


async def test_forked_child_does_not_hold_the_folder(folder: Path) -> None:
    read, write = os.pipe()
    told, tell = os.pipe()
    store = await LocalStore(SqliteJournal(folder)).__aenter__()
    child = fork()
    if not child:
        # It lives until the parent closes the pipe.
        os.write(tell, b".")
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    # What a child does after a fork it has done.
    os.read(told, 1)
    for descriptor in (read, told, tell):
        os.close(descriptor)
    await store.__aexit__(None, None, None)
    async with LocalStore(SqliteJournal(folder)) as again:
        assert await again.get("k") is None
    os.close(write)
    os.waitpid(child, 0)


async def test_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    async with LocalStore(SqliteJournal(tmp_path / "a" / "b")) as store:
        await store.put("k", b"")
    assert {str(tmp_path), f"{tmp_path}/a", f"{tmp_path}/a/b"} <= set(synced)


def test_old_sqlite_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigError, match=r"a store needs 3\.35 or later"):
        SqliteJournal(folder)


async def test_unknown_sync_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="sync is 'none'"):
        SqliteJournal(folder, sync="none")  # type: ignore[arg-type]


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_acknowledged_writes_survive_a_kill(folder: Path, sync: str) -> None:
    program = WRITER.replace("sys.argv[1]", f"sys.argv[1], sync={sync!r}")
    command = [sys.executable, "-c", program, os.fspath(folder)]
    acknowledged: dict[str, tuple[int, int]] = {}
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(200)]
            writer.send_signal(signal.SIGKILL)
            # The last line may be cut.
            lines += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        latest = max((revision for _, revision in acknowledged.values()), default=0)
        for line in lines:
            task, number, revision = line.split()
            assert int(revision) > latest
            acknowledged[f"k/{task}"] = (int(number), int(revision))
        async with LocalStore(SqliteJournal(folder)) as store:
            for key, (_, acked) in acknowledged.items():
                item = await store.get(key)
                assert item is not None
                assert item.revision >= acked
            after = await store.put("after", b"")
            assert after > max(acked for _, acked in acknowledged.values())
            acknowledged["after"] = (0, after)
