"""A SQLite file of one kind: made as a whole, and refused if it is damaged, of a later version or of another program.

This module knows no table: `Tables` is its only interface to them.
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

#: SQLite's codes for a damaged file; SQLITE_ERROR means that a table is missing.
DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

#: The first bytes of a journal that has to be rolled back.
_HOT: Final = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


@dataclass(frozen=True, slots=True)
class FileKind:
    """The names, numbers and texts of one kind of file and its folder."""

    #: A word such as "store": it names the file, `store.db`, and the logger, `fastrpc.store`; errors write "a store".
    name: str

    #: The name of the number of a commit, such as "revision". It is used in warnings and in the name of the second
    #: file, `store.revisions`.
    number: str

    #: The `application_id` that tells the file from other files of SQLite.
    application: int

    #: The version of the tables, kept as `user_version`; counted from 1.
    schema: int

    #: The statements that make the tables, within one transaction.
    script: str

    #: The bytes of a page in a new file. A commit writes whole pages: small ones suit small rows, large ones suit
    #: commits of many rows.
    page_bytes: int

    #: How many times each byte of a change is written into tables.
    copies: int

    #: The class of its errors.
    error: type[FastRPCError]

    #: The hints for a folder held by another process, for a schema of a later version, and for a damaged file.
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
    """The tables of a file, as far as its folder needs them. No method is called during a commit."""

    @property
    def kind(self) -> FileKind: ...

    def damage_in(self, connection: sqlite3.Connection) -> str | None:
        """Return the damage of a file of this kind and version; None for a whole one."""

    def latest(self, connection: sqlite3.Connection) -> int:
        """Return the greatest number of a commit; 0 without one."""

    def was_unsynced(self, connection: sqlite3.Connection) -> bool:
        """Return whether a version without the second file left commits unsynced; False if none wrote the file."""

    def raise_to(self, connection: sqlite3.Connection, number: int, *, is_incomplete: bool) -> None:
        """Raise `latest` to a number, within the open transaction: no later commit has this number or a lower one.

        Args:
            is_incomplete: whether commits may be missing. Then drop data that is only right with all of them, such as a
                history.
        """


def make_file(made: Path, path: Path, kind: FileKind, *, is_logged: bool = False) -> None:
    """Make an empty file, first under another name: an empty file under its own name counts as damaged, not as new.

    Args:
        is_logged: whether to switch the file to a write-ahead log, while it has the other name: the switch leaves a
            journal, whose removal is not synced. A copy has no log: SQLite reports no error if it cannot move a log
            into its file at the end.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{made}{suffix}").unlink(missing_ok=True)
    # SQLite gives its other files the mode of this file.
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
    """Return a connection to a file, after checking that it is whole.

    Raises:
        FastRPCError: of the kind: the file is damaged, of a later version, or of another program.
    """
    if path.stat().st_size == 0:
        raise tables.kind.damaged(path, "it is empty")
    if _has_log(path):
        # When the last connection that may write ends, it moves the commits of the log into the file.
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
    # Any thread may close it: see `open_parts`.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that leaves a file and its log as they are."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def roll_back_journal(path: Path) -> None:
    """Roll back the journal of a switch to a log, which a power cut left beside the file; the log is unchanged.

    A connection that only reads cannot do it, and refuses the file. No commit is lost: the journal has the file before
    its first log, and SQLite syncs the folder with the first sync of a log, before it moves a commit into the file.

    Raises:
        sqlite3.Error: the journal cannot be rolled back.
    """
    with contextlib.suppress(FileNotFoundError), Path(f"{path}-journal").open("rb") as journal:
        if journal.read(len(_HOT)) != _HOT:
            return
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
            with contextlib.closing(read_only(path)) as reader:
                # If the last connection could write, its end would move the log into the file. A reader moves nothing.
                reader.execute("PRAGMA schema_version").fetchone()
                connection.close()


def log_path(path: Path) -> Path:
    """Return the path of the write-ahead log of a file."""
    return Path(f"{path}-wal")


def sync_path(path: Path) -> None:
    """Keep a file, or the names in a folder, across a power loss."""
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
