"""Make backups of a store, restore stores from backups, and check a folder."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
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

#: Added to the revision of a copy for the restored store, in case the clock was ahead when the copy was made.
_RESTORED_REVISIONS: Final = 1 << 40


class StoreCopy:
    """A context manager that writes the items of a store into a file. The file appears once it is complete.

    Args:
        path: the file, which must not exist.

    Raises:
        StoreError: the file exists.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise _exists(path)
        self._path = path
        # The name of the temporary file is unique, since another program may make a copy with the same path.
        self._part: Path | None = None
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self._part = Path(tempfile.mkdtemp(prefix=f".{self._path.name}-", dir=self._path.parent))
        try:
            made = self._part / STORE.file
            make_file(self._part / f"{STORE.file}.new", made, STORE)
            self._connection = sqlite3.connect(made, isolation_level=None)
            self._connection.execute("BEGIN")
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        part, self._part = self._part, None
        if part is None:
            return
        try:
            if connection is not None:
                with contextlib.closing(connection):
                    connection.execute("ROLLBACK" if kind is not None else "COMMIT")
            if kind is None:
                self._place(part / STORE.file)
        finally:
            shutil.rmtree(part)

    def _place(self, made: Path) -> None:
        """Give the file its final path, unless that path exists by now."""
        sync_path(made)
        try:
            os.link(made, self._path)
        except FileExistsError:
            raise _exists(self._path) from None
        except OSError:
            # The file system has no hard links.
            os.rename(made, self._path)
        sync_path(self._path.parent)

    def add(
        self, items: Iterable[Item[bytes]], leases: Iterable[LeaseChange] = (), revision: int | None = None
    ) -> None:
        """Add items and leases. A given `revision` becomes the revision of the store, and its history starts there."""
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
    """Copy the store of a folder into a file; return the number of items. No process may hold the folder.

    Raises:
        StoreError: another process holds the folder, the store is damaged, or the file exists.
    """
    with StoreCopy(path) as copy:
        saved = check_folder(folder)
        copy.add(saved.items, saved.leases, saved.revision)
    return len(saved.items)


def restore_copy(path: Path, folder: Path) -> int:
    """Create the store of a folder from a copy; return the number of items.

    The revision is taken from the clock, so that it exceeds all earlier revisions, including the revisions of stores
    that were restored from the same copy.

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
        # Refuse even a log without its file: SQLite would replay its commits into the new file.
        raise StoreError(
            f"{folder} has files already", status=Status.ALREADY_EXISTS, hint="restore into a new folder"
        )
    with StoreCopy(folder / STORE.file) as copy:
        # Use the clock: adding a number alone would give the same revision each time the same copy is restored.
        revision = revision_of_now()
        if revision <= saved.revision:
            revision = saved.revision + _RESTORED_REVISIONS
        copy.add(saved.items, saved.leases, revision)
    return len(saved.items)


def check_folder(folder: Path) -> Saved:
    """Check the store of a folder, and return its content.

    Raises:
        StoreError: another process holds the folder, or the store is damaged or missing.
    """
    if not (folder / STORE.file).exists():
        raise StoreError(f"{folder} has no store", status=Status.NOT_FOUND)
    journal = SqliteJournal(folder)
    try:
        return journal.open()
    finally:
        journal.close()


def _exists(path: Path) -> StoreError:
    return StoreError(f"{path} exists", status=Status.ALREADY_EXISTS, hint="choose another path")
