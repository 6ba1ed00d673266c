"""The tables of a store: items, leases, the history and the revision."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from fastrpc.errors import StoreError
from fastrpc.stores.base import Item, ItemChange, LeaseChange, Saved
from fastrpc.stores.sqlite.file import FileKind

__all__ = ["STORE", "StoreTables", "read_saved", "write_changes"]

_SCRIPT: Final = """
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

STORE: Final = FileKind(
    name="store",
    number="revision",
    # "frpc".
    application=0x66727063,
    schema=1,
    script=_SCRIPT,
    page_bytes=4096,
    # A value is stored in the item and in the history.
    copies=2,
    error=StoreError,
    if_held="stop it, or give each program a separate folder; fastrpc store check FOLDER needs a closed folder",
    if_later="use the version of fastrpc that wrote it, or a later one; or restore a backup into a new folder: "
    "fastrpc store restore FILE FOLDER",
    if_damaged="restore a backup: fastrpc store restore FILE FOLDER",
)


class StoreTables:
    """The `Tables` of a store."""

    kind: Final = STORE

    def damage_in(self, connection: sqlite3.Connection) -> str | None:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            return str(found)
        if connection.execute("SELECT latest FROM revisions").fetchone() is None:
            return "it has no revision"
        lost = "SELECT 1 FROM items WHERE lease IS NOT NULL AND lease NOT IN (SELECT name FROM leases)"
        if connection.execute(lost).fetchone():
            return "the lease of an item is missing"
        return None

    def latest(self, connection: sqlite3.Connection) -> int:
        (latest,) = connection.execute("SELECT latest FROM revisions").fetchone()
        return int(latest)

    def was_unsynced(self, connection: sqlite3.Connection) -> bool:
        (may_lose,) = connection.execute("SELECT may_lose FROM revisions").fetchone()
        return bool(may_lose)

    def raise_to(self, connection: sqlite3.Connection, number: int, *, is_incomplete: bool) -> None:
        if is_incomplete:
            connection.execute("DELETE FROM history")
            connection.execute("UPDATE revisions SET compacted = ?", (number,))
        connection.execute("UPDATE revisions SET latest = ?, may_lose = 0", (number,))


def read_saved(connection: sqlite3.Connection) -> Saved:
    """Return the content of a file."""
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


def write_changes(
    connection: sqlite3.Connection, changes: Sequence[ItemChange | LeaseChange], latest: int, compacted: int
) -> None:
    """Write changes up to a revision, and drop the history up to an older revision."""
    for change in changes:
        if isinstance(change, ItemChange):
            _write_item(connection, change)
        elif change.seconds is None:
            connection.execute("DELETE FROM leases WHERE name = ?", (change.name,))
        else:
            connection.execute("INSERT INTO leases VALUES (?, ?)", (change.name, change.seconds))
    connection.execute("DELETE FROM history WHERE changed <= ?", (compacted,))
    connection.execute("UPDATE revisions SET latest = max(latest, ?), compacted = ?", (latest, compacted))


def _write_item(connection: sqlite3.Connection, change: ItemChange) -> None:
    item = change.item
    if item is None:
        connection.execute("DELETE FROM items WHERE key = ?", (change.key,))
        row: tuple[object, ...] = (None, None, None, None)
    else:
        row = (item.value, item.revision, item.lease, item.created)
        connection.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)", (item.key, *row))
    connection.execute(
        "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?)", (change.revision, change.key, *row)
    )
