"""Copies of a store: backups, stores restored from them, and the check of a folder."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Item, LeaseChange, Saved, revision_of_now
from fastrpc.stores.sqlite.file import make_file, open_file, sync_path
from fastrpc.stores.sqlite.journal import SqliteJournal
from fastrpc.stores.sqlite.tables import STORE, StoreTables, read_saved

__all__ = ["StoreCopy", "check_folder", "copy_folder", "restore_copy"]

#: Added to the revision of a restored store if the clock was ahead when the copy was made.
_RESTORED_REVISIONS: Final = 1 << 40


class StoreCopy:
    """Writes the items of a store into a file, which appears once it is whole: a context manager.

    Args:
        path: the file, which must not exist.

    Raises:
        StoreError: the file exists.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise StoreError(f"{path} exists", status=Status.ALREADY_EXISTS, hint="name another file")
        self._path = path
        self._made = Path(f"{path}.part")
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        make_file(Path(f"{self._path}.new"), self._made, STORE)
        self._connection = sqlite3.connect(self._made, isolation_level=None)
        self._connection.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.execute("ROLLBACK" if kind is not None else "COMMIT")
        finally:
            connection.close()
        if kind is not None:
            self._made.unlink()
            return
        sync_path(self._made)
        os.rename(self._made, self._path)
        sync_path(self._path.parent)

    def add(
        self, items: Iterable[Item[bytes]], leases: Iterable[LeaseChange] = (), revision: int | None = None
    ) -> None:
        """Add items and leases. A revision becomes the revision of the store, whose history begins there."""
        connection = self._connection
        if connection is None:
            raise RuntimeError("a copy is entered by `with` first")
        rows = ((item.key, item.value, item.revision, item.lease, item.created) for item in items)
        connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
        named = ((lease.name, lease.seconds) for lease in leases)
        connection.executemany("INSERT INTO leases VALUES (?, ?)", named)
        if revision is not None:
            connection.execute("UPDATE revisions SET latest = ?, compacted = ?", (revision, revision))


def copy_folder(folder: Path, path: Path) -> int:
    """Copy the store of a folder that no process holds into a file; return how many items it has.

    Raises:
        StoreError: the store is held or damaged, or the file exists.
    """
    with StoreCopy(path) as copy:
        saved = check_folder(folder)
        copy.add(saved.items, saved.leases, saved.revision)
    return len(saved.items)


def restore_copy(path: Path, folder: Path) -> int:
    """Make the store of a folder from a copy; return how many items it has.

    The revision is taken from the clock: it exceeds all revisions so far, also of stores restored from the same copy.

    Raises:
        StoreError: the copy is damaged, or the folder has files.
    """
    try:
        with contextlib.closing(open_file(path, StoreTables())) as connection:
            saved = read_saved(connection)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is not a backup of a store: {error}", status=Status.DATA_LOSS) from error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        # SQLite would replay commits beside a missing file into the new one.
        raise StoreError(
            f"{folder} has files already", status=Status.ALREADY_EXISTS, hint="restore into a new folder"
        )
    with StoreCopy(folder / STORE.file) as copy:
        # A sum alone would give the same revision each time the same copy is restored.
        revision = revision_of_now()
        if revision <= saved.revision:
            revision = saved.revision + _RESTORED_REVISIONS
        copy.add(saved.items, saved.leases, revision)
    return len(saved.items)


def check_folder(folder: Path) -> Saved:
    """Check the file of a folder's store, and return its content.

    Raises:
        StoreError: the store is held, damaged, or missing.
    """
    if not (folder / STORE.file).exists():
        raise StoreError(f"{folder} has no store", status=Status.NOT_FOUND)
    journal = SqliteJournal(folder)
    try:
        return journal.open()
    finally:
        journal.close()
