"""The rollback journal of SQLite, which a power cut leaves beside the log of a store."""

import shutil
import sqlite3
from pathlib import Path

from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.stores.sqlite.file import make_file
from fastrpc.stores.sqlite.tables import STORE

ITEMS = 40


def journal_of_switch(path: Path, scratch: Path) -> bytes:
    """Return the rollback journal of a file's switch to a log, as it is before SQLite removes it."""
    shutil.copyfile(path, scratch)
    connection = sqlite3.connect(scratch, isolation_level=None)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        assert mode == "delete"
        # The journal is whole at once.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute("PRAGMA user_version = 77")
        return Path(f"{scratch}-journal").read_bytes()
    finally:
        connection.close()


async def test_a_journal_that_a_power_cut_left_beside_the_log_is_rolled_back(tmp_path: Path) -> None:
    """The journal's removal is not synced by SQLite: it may be there again beside a log with commits."""
    folder = tmp_path / "store"
    async with LocalStore(SqliteJournal(tmp_path / "alive")) as store:
        for number in range(ITEMS):
            await store.put(f"k/{number}", b"%d" % number)
        shutil.copytree(tmp_path / "alive", folder)
    left = journal_of_switch(folder / "store.db", tmp_path / "scratch.db")
    (folder / "store.db-journal").write_bytes(left)
    journal = SqliteJournal(folder)
    try:
        found = journal.open()
    finally:
        journal.close()
    assert sorted(int(item.value) for item in found.items) == list(range(ITEMS))


def test_a_new_file_has_a_log_from_the_start(tmp_path: Path) -> None:
    """A switch to a log at its own name would leave a journal behind a power cut."""
    path = tmp_path / "store.db"
    make_file(tmp_path / "store.db.new", path, STORE)
    assert path.read_bytes()[18:20] == b"\2\2"
    assert [one.name for one in tmp_path.iterdir()] == ["store.db"]
