"""The file of a store: a database of SQLite."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Item, ItemChange, LeaseChange, Saved

__all__ = [
    "DAMAGE",
    "damaged",
    "log_path",
    "make_file",
    "open_file",
    "read_file",
    "read_may_lose",
    "sync_path",
]

#: The version of the tables, as `user_version`.
_SCHEMA: Final = 1

#: Tells a store of ours from other files of SQLite ("frpc").
_APPLICATION: Final = 0x66727063

#: Codes of a damaged file; SQLITE_ERROR: a table is missing.
DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

_TABLES: Final = """
BEGIN;
CREATE TABLE items (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, lease TEXT,
    created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE leases (name TEXT PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE history (number INTEGER PRIMARY KEY, changed INTEGER NOT NULL, key TEXT NOT NULL, value BLOB,
    revision INTEGER, lease TEXT, created INTEGER);
CREATE INDEX history_changed ON history (changed);
CREATE TABLE revisions (latest INTEGER NOT NULL, compacted INTEGER NOT NULL, may_lose INTEGER NOT NULL);
INSERT INTO revisions VALUES (0, 0, 0);
COMMIT;
"""


def make_file(made: Path, path: Path) -> None:
    """Make an empty file, under another name first: an empty one at its own name is damaged, not new."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{made}{suffix}").unlink(missing_ok=True)
    # SQLite gives its other files the mode of this one.
    os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(made, isolation_level=None)
    try:
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    finally:
        connection.close()
    sync_path(made)
    os.rename(made, path)
    sync_path(path.parent)


def open_file(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that is whole.

    Raises:
        StoreError: it is damaged, of a later version, or of another program.
    """
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    if _has_log(path):
        # The end of a connection that may write moves the commits of the log into the file.
        with contextlib.closing(_read_only(path)) as connection:
            _check(connection, path)
        return sqlite3.connect(path, isolation_level=None)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def read_may_lose(path: Path) -> bool:
    """Return whether the commits of an earlier version are not synced; a file and its log are left as they are."""
    with contextlib.closing(_read_only(path)) as connection:
        (may_lose,) = connection.execute("SELECT may_lose FROM revisions").fetchone()
    return bool(may_lose)


def log_path(path: Path) -> Path:
    """Return the path of the write-ahead log of a file."""
    return Path(f"{path}-wal")


def _has_log(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return log_path(path).stat().st_size > 0
    return False


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION or version < 1:
        raise StoreError(f"{path} is no store of fastrpc", status=Status.FAILED_PRECONDITION)
    if version > _SCHEMA:
        raise StoreError(
            f"{path} has schema {version}, this fastrpc knows {_SCHEMA}",
            status=Status.FAILED_PRECONDITION,
            hint="use the version of fastrpc that wrote it, or a later one; or restore a backup into a new folder: "
            "fastrpc store restore FILE FOLDER",
        )
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, found)
    if connection.execute("SELECT latest FROM revisions").fetchone() is None:
        raise damaged(path, "it has no revision")
    lost = "SELECT 1 FROM items WHERE lease IS NOT NULL AND lease NOT IN (SELECT name FROM leases)"
    if connection.execute(lost).fetchone():
        raise damaged(path, "the lease of an item is missing")


def read_file(connection: sqlite3.Connection) -> Saved:
    """Return all that a file keeps."""
    latest, compacted = connection.execute("SELECT latest, compacted FROM revisions").fetchone()
    items = connection.execute("SELECT key, value, revision, lease, created FROM items ORDER BY key")
    history = connection.execute(
        "SELECT changed, key, value, revision, lease, created FROM history ORDER BY number"
    )
    return Saved(
        latest,
        compacted,
        [Item(*fields) for fields in items],
        [LeaseChange(*fields) for fields in connection.execute("SELECT name, seconds FROM leases")],
        [
            ItemChange(fields[1], fields[0], None if fields[2] is None else Item(*fields[1:]))
            for fields in history
        ],
    )


def damaged(path: Path, reason: str) -> StoreError:
    """Return the error for a file that cannot be used."""
    return StoreError(
        f"{path} is damaged: {reason}",
        status=Status.DATA_LOSS,
        hint="nothing was overwritten; restore a backup: fastrpc store restore FILE FOLDER",
    )


def sync_path(path: Path) -> None:
    """Keep a file, or the names in a folder, across a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
