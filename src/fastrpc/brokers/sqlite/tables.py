"""The tables of a broker: topics, messages, ids, groups, settled and counted messages, dead letters."""

import sqlite3
from typing import Final

from fastrpc.errors import BrokerError
from fastrpc.stores.sqlite.file import FileKind

__all__ = ["BROKER", "LATEST_SEQUENCE", "BrokerTables", "latest_number"]

# `messages.number` numbers the messages of all topics in the order of their commits; `sequence` is the number in the
# topic, which users see. `kept` is a time of day in seconds; the clock may have jumped between two rows. `name` is NULL
# if a message has the name of its topic. `topics.last` and `numbers.latest` are lower bounds: existing messages may
# have greater numbers. `numbers.commits` changes with each commit that adds no messages.
_SCRIPT: Final = """
BEGIN;
CREATE TABLE topics (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, settings BLOB NOT NULL,
    last INTEGER NOT NULL);
CREATE TABLE messages (number INTEGER PRIMARY KEY, topic INTEGER NOT NULL, sequence INTEGER NOT NULL,
    size INTEGER NOT NULL, kept REAL NOT NULL, name TEXT, sum INTEGER NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX places ON messages (topic, sequence, size, kept, name);
CREATE TABLE damaged (topic INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (topic, sequence)) WITHOUT ROWID;
CREATE TABLE ids (topic INTEGER NOT NULL, sequence INTEGER NOT NULL, kept REAL NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (topic, sequence)) WITHOUT ROWID;
CREATE TABLE positions (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic INTEGER NOT NULL,
    pattern TEXT NOT NULL, position INTEGER NOT NULL, passed INTEGER NOT NULL);
CREATE TABLE settled (reader INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (reader, sequence)) WITHOUT ROWID;
CREATE TABLE counted (reader INTEGER NOT NULL, sequence INTEGER NOT NULL, deliveries INTEGER NOT NULL,
    due REAL NOT NULL, PRIMARY KEY (reader, sequence)) WITHOUT ROWID;
CREATE TABLE letters (reader INTEGER NOT NULL, number INTEGER NOT NULL, sequence INTEGER NOT NULL,
    is_replayed INTEGER NOT NULL, deliveries INTEGER NOT NULL, due REAL NOT NULL, sum INTEGER NOT NULL,
    head BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX letters_of ON letters (reader, number);
CREATE TABLE numbers (latest INTEGER NOT NULL, commits INTEGER NOT NULL);
INSERT INTO numbers VALUES (0, 0);
COMMIT;
"""

_TABLES: Final = frozenset(
    ("topics", "messages", "damaged", "ids", "positions", "settled", "counted", "letters", "numbers")
)

#: The number of the latest message of a row of `topics`. It is read from the index, which a start reads anyway.
LATEST_SEQUENCE: Final = """max(topics.last, coalesce((SELECT max(sequence) FROM messages INDEXED BY places
    WHERE topic = topics.number), 0))"""

_LATEST_NUMBER: Final = """SELECT coalesce(max((SELECT number FROM messages INDEXED BY places
    WHERE topic = topics.number ORDER BY sequence DESC LIMIT 1)), 0) FROM topics"""

_COPY: Final = "fastrpc broker copy FOLDER NEW writes all that is readable into a new folder"

BROKER: Final = FileKind(
    name="broker",
    number="number",
    # "frpb".
    application=0x66727062,
    schema=1,
    script=_SCRIPT,
    # At full rate each commit fills some five pages. Pages of 4,096 bytes take 1.3 times as long, as each page is a
    # separate write and wastes the space of most of a row at its end. A commit of one message takes 4 µs longer.
    page_bytes=8192,
    copies=1,
    error=BrokerError,
    if_held="stop it, or serve the folder to other programs by fastrpc broker --data-dir FOLDER; to copy a folder "
    "that is closed, run fastrpc broker copy FOLDER NEW",
    if_later="use the version of fastrpc that wrote it, or a later version; its command fastrpc broker copy FOLDER NEW "
    "makes a copy",
    if_damaged=_COPY,
)


class BrokerTables:
    """The `Tables` of a broker."""

    kind: Final = BROKER

    def damage_in(self, connection: sqlite3.Connection) -> str | None:
        # This check does not read the rows, which may be gigabytes: each message has a checksum for that.
        found = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if missing := _TABLES - found:
            return f"it has no table {', '.join(sorted(missing))}"
        if connection.execute("SELECT latest FROM numbers").fetchone() is None:
            return "it has no number"
        return None

    def latest(self, connection: sqlite3.Connection) -> int:
        return latest_number(connection)

    def was_unsynced(self, connection: sqlite3.Connection) -> bool:
        return False

    def raise_to(self, connection: sqlite3.Connection, number: int, *, is_incomplete: bool) -> None:
        # Raise the numbers of every topic by the number of lost messages: all of them may have been in that topic.
        lost = number - self.latest(connection)
        connection.execute(f"UPDATE topics SET last = {LATEST_SEQUENCE} + ?", (lost,))  # noqa: S608
        connection.execute("UPDATE numbers SET latest = ?", (number,))


def latest_number(connection: sqlite3.Connection) -> int:
    """Return the number of the latest message of all topics, even if it was removed; 0 if there was no message."""
    (latest,) = connection.execute("SELECT latest FROM numbers").fetchone()
    (kept,) = connection.execute(_LATEST_NUMBER).fetchone()
    return max(int(latest), int(kept))
