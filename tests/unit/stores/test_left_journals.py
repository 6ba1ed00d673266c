"""The rollback journal of SQLite, which a power cut leaves next to the log of a store."""

import shutil
from pathlib import Path

from fastrpc.stores.base import Item
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.stores.sqlite.copies import StoreCopy, restore_copy
from fastrpc.stores.sqlite.file import make_file, roll_back_journal
from fastrpc.stores.sqlite.tables import STORE
from tests.support.left_journal import journal_of_switch

ITEMS = 40


async def with_journal(tmp_path: Path) -> Path:
    """Return the folder of a killed store, whose journal of the switch to its log exists again."""
    folder = tmp_path / "store"
    async with LocalStore(SqliteJournal(tmp_path / "alive")) as store:
        for number in range(ITEMS):
            await store.put(f"k/{number}", b"%d" % number)
        shutil.copytree(tmp_path / "alive", folder)
    left = journal_of_switch(folder / "store.db", tmp_path / "scratch.db")
    (folder / "store.db-journal").write_bytes(left)
    return folder


async def test_a_journal_next_to_the_log_after_a_power_cut_is_rolled_back(tmp_path: Path) -> None:
    """SQLite does not sync the journal's removal: it may exist again next to a log with commits."""
    journal = SqliteJournal(await with_journal(tmp_path))
    try:
        found = journal.open()
    finally:
        journal.close()
    assert sorted(int(item.value) for item in found.items) == list(range(ITEMS))


async def test_the_log_is_unchanged_while_a_journal_is_rolled_back(tmp_path: Path) -> None:
    folder = await with_journal(tmp_path)
    log = (folder / "store.db-wal").read_bytes()
    roll_back_journal(folder / "store.db")
    assert (folder / "store.db-wal").read_bytes() == log
    assert not (folder / "store.db-journal").exists()


async def test_an_empty_journal_is_left_alone(tmp_path: Path) -> None:
    folder = await with_journal(tmp_path)
    (folder / "store.db-journal").write_bytes(b"")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    roll_back_journal(folder / "store.db")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_new_file_of_a_folder_has_a_log_from_the_start(tmp_path: Path) -> None:
    """A switch to a log at its final name would leave a journal after a power cut."""
    path = tmp_path / "store.db"
    make_file(tmp_path / "store.db.new", path, STORE, is_logged=True)
    assert path.read_bytes()[18:20] == b"\2\2"
    assert [one.name for one in tmp_path.iterdir()] == ["store.db"]


def test_a_copy_has_no_log(tmp_path: Path) -> None:
    """SQLite raises no error if the end of a connection cannot move a log into its file: a copy would lack items."""
    path = tmp_path / "backup.db"
    with StoreCopy(path) as copy:
        copy.add([Item(f"k/{number}", b"x", number + 1) for number in range(ITEMS)], revision=ITEMS)
        assert list(tmp_path.glob(".backup.db-*/*-wal")) == []
    assert path.read_bytes()[18:20] == b"\1\1"
    path.chmod(0o400)
    assert restore_copy(path, tmp_path / "restored") == ITEMS
