"""Create and open SQLite files of one kind. Files that are damaged, newer, or of another program are refused.

This module does not know the tables: `Tables` is its interface to them.
"""

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fastrpc.errors import FastRPCError
from fastrpc.status import Status

__all__ = [
    "DAMAGE",
    "FileKind",
    "Tables",
    "log_path",
    "make_file",
    "open_file",
    "read_only",
    "roll_back_journal",
    "sync_path",
]

#: SQLite's error codes for a damaged file. SQLITE_ERROR means that a table is missing.
DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

#: The first bytes of a rollback journal that has to be rolled back.
_HOT: Final = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


@dataclass(frozen=True, slots=True)
class FileKind:
    """The names, numbers and texts of one kind of file and its folder."""

    #: A word such as "store". It is used for the file `store.db`, the logger `fastrpc.store`, and in error texts.
    name: str

    #: The word for the number of a commit, such as "revision". It is used in warnings and for the second file,
    #: `store.revisions`.
    number: str

    #: The `application_id` by which the file is distinguished from other SQLite files.
    application: int

    #: The version of the tables, from 1. It is stored as `user_version`.
    schema: int

    #: The statements that create the tables, in one transaction.
    script: str

    #: The page size of a new file. A commit writes whole pages: small pages suit small rows, large pages suit commits
    #: of many rows.
    page_bytes: int

    #: The number of times that each byte of a change is written into tables.
    copies: int

    #: The class of the errors.
    error: type[FastRPCError]

    #: Hints for errors: another process holds the folder (`if_held`); the schema has a later version (`if_later`); the
    #: file is damaged (`if_damaged`).
    if_held: str
    if_later: str
    if_damaged: str

    @property
    def file(self) -> str:
        """The name of the file in its folder."""
        return f"{self.name}.db"

    @property
    def numbers_file(self) -> str:
        """The name of the second file."""
        return f"{self.name}.{self.number}s"

    def damaged(self, path: Path, reason: str) -> FastRPCError:
        """Return the error for a file that cannot be used."""
        return self.error(
            f"{path} is damaged: {reason}",
            status=Status.DATA_LOSS,
            hint=f"nothing was overwritten; {self.if_damaged}",
        )


class Tables(Protocol):
    """The interface of the tables for the folder. No method is called during a commit."""

    @property
    def kind(self) -> FileKind: ...

    def damage_in(self, connection: sqlite3.Connection) -> str | None:
        """Return a description of the damage of a file of this kind and version; None if there is no damage."""

    def latest(self, connection: sqlite3.Connection) -> int:
        """Return the greatest number of a commit; 0 without commits."""

    def was_unsynced(self, connection: sqlite3.Connection) -> bool:
        """Return whether an earlier version of fastrpc, which had no second file, may have left commits unsynced."""

    def raise_to(self, connection: sqlite3.Connection, number: int, *, is_incomplete: bool) -> None:
        """Raise `latest` to a number, in the open transaction, so that all later commits have greater numbers.

        Args:
            is_incomplete: whether commits may be missing. Then drop data that is wrong without them, such as a history.
        """


def make_file(made: Path, path: Path, kind: FileKind, *, is_logged: bool = False) -> None:
    """Create an empty file under a temporary name, then rename it: an incomplete file would count as damaged.

    Args:
        is_logged: whether to switch the file to WAL mode. This happens under the temporary name, since the switch
            leaves a rollback journal whose removal is not synced. Copies do not use WAL, since SQLite reports no error
            if it cannot move a log into its file at the end.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{made}{suffix}").unlink(missing_ok=True)
    # SQLite uses the mode of this file for its other files.
    os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(made, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {kind.page_bytes}")
        connection.executescript(kind.script)
        connection.execute(f"PRAGMA application_id = {kind.application}")
        connection.execute(f"PRAGMA user_version = {kind.schema}")
        if is_logged:
            connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    sync_path(made)
    os.rename(made, path)
    sync_path(path.parent)


def open_file(path: Path, tables: Tables) -> sqlite3.Connection:
    """Return a connection to a file, after checking that it is undamaged.

    Raises:
        FastRPCError: of the kind: the file is damaged, of a later version, or of another program.
    """
    if path.stat().st_size == 0:
        raise tables.kind.damaged(path, "it is empty")
    if _has_log(path):
        # Use a read-only connection: the last connection that can write moves the log into the file when it closes.
        with contextlib.closing(read_only(path)) as connection:
            _check(connection, path, tables)
        return _connected(path)
    connection = _connected(path)
    try:
        _check(connection, path, tables)
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(path: Path) -> sqlite3.Connection:
    # Any thread may close the connection, see `open_parts`.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that changes neither the file nor its log."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def roll_back_journal(path: Path) -> None:
    """Roll back the rollback journal of a switch to WAL mode that a power cut left. The log is not changed.

    A read-only connection refuses such a file, as it cannot roll back. No commit is lost: the journal has the state
    before the first log, and SQLite syncs the folder with the first sync of a log, before it moves a commit into the
    file.

    Raises:
        sqlite3.Error: the journal cannot be rolled back.
    """
    with contextlib.suppress(FileNotFoundError), Path(f"{path}-journal").open("rb") as journal:
        if journal.read(len(_HOT)) != _HOT:
            return
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
            with contextlib.closing(read_only(path)) as reader:
                # Close a read-only connection last, since a last connection that can write would move the log.
                reader.execute("PRAGMA schema_version").fetchone()
                connection.close()


def log_path(path: Path) -> Path:
    """Return the path of the write-ahead log of a file."""
    return Path(f"{path}-wal")


def sync_path(path: Path) -> None:
    """Sync a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_log(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return log_path(path).stat().st_size > 0
    return False


def _check(connection: sqlite3.Connection, path: Path, tables: Tables) -> None:
    kind = tables.kind
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != kind.application or version < 1:
        raise kind.error(f"{path} is not a {kind.name} of fastrpc", status=Status.FAILED_PRECONDITION)
    if version > kind.schema:
        raise kind.error(
            f"{path} has schema {version}, this fastrpc knows {kind.schema}",
            status=Status.FAILED_PRECONDITION,
            hint=kind.if_later,
        )
    if (damage := tables.damage_in(connection)) is not None:
        raise kind.damaged(path, damage)
