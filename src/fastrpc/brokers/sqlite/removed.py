"""Rows with the ids of removed messages, one row per commit, so that repeats are recognized after a restart."""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

import msgspec

from fastrpc.brokers.local.removed import REMOVED_IDS

__all__ = ["RemovedRows", "SavedRemovals"]

#: The first commit creates the table, since a file of an earlier version of fastrpc lacks it.
_TABLE: Final = """CREATE TABLE IF NOT EXISTS removed
    (number INTEGER PRIMARY KEY, kept REAL NOT NULL, content BLOB NOT NULL)"""

#: Encodes the ids and numbers of each topic; an unknown id is empty.
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[int, list[tuple[str, int]]]).decode

_logger = logging.getLogger("fastrpc.broker")


class RemovedRows:
    """Writes removed ids. Like `RemovedIds` it deletes the older half of the ids as a whole."""

    def __init__(self) -> None:
        self.has_table = False
        self._count = 0
        # The number of the latest row of the older half.
        self._old = 0

    def open(self, connection: sqlite3.Connection) -> None:
        """Read the rows of a file, and find the boundary between the two halves."""
        self.has_table, self._count, self._old = _has_table(connection), 0, 0
        if not self.has_table:
            return
        for number, content in connection.execute("SELECT number, content FROM removed ORDER BY number DESC"):
            count = _count_of(content)
            if self._count + count >= REMOVED_IDS:
                self._old = number
                return
            self._count += count

    def write(
        self, connection: sqlite3.Connection, wall: float, removed: Mapping[int, Sequence[tuple[str, int]]]
    ) -> None:
        """Write the ids of messages that a commit removes, in its transaction."""
        if not self.has_table:
            connection.execute(_TABLE)
            self.has_table = True
        if not removed:
            return
        row = wall, _encode(removed)
        latest = connection.execute("INSERT INTO removed VALUES (NULL, ?, ?)", row).lastrowid
        assert latest is not None
        self._count += sum(map(len, removed.values()))
        if self._count >= REMOVED_IDS:
            connection.execute("DELETE FROM removed WHERE number <= ?", (self._old,))
            self._count, self._old = 0, latest


class SavedRemovals:
    """The ids of removed messages in a file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ids: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        # Removed messages may be missing that were published before these times of day: `_until` by topic, `_until_all`
        # for all topics.
        self._until: dict[int, float] = {}
        self._until_all = -inf
        if not _has_table(connection):
            self._until_all = inf
            return
        rows = connection.execute("SELECT number, kept, content FROM removed ORDER BY number").fetchall()
        if rows and rows[0][0] > 1:
            self._until_all = rows[0][1]
        for number, kept, content in rows:
            try:
                self._read(kept, _decode(content))
            except (TypeError, msgspec.DecodeError) as error:
                _logger.error("the removed messages of row %r are damaged: %s", number, error)
                self._until_all = inf

    def _read(self, kept: float, removed: Mapping[int, Sequence[tuple[str, int]]]) -> None:
        for topic, messages in removed.items():
            self._ids[topic] += [one for one in messages if one[0]]
            if not all(id for id, _ in messages):
                self._until[topic] = kept

    def of(self, topic: int) -> tuple[Sequence[tuple[str, int]], float]:
        """Return the ids and numbers of a topic's removed messages, and since which time of day they are complete."""
        return self._ids[topic], max(self._until_all, self._until.get(topic, -inf))


def _count_of(content: bytes) -> int:
    """Return the number of ids in a row; 0 for a damaged row."""
    try:
        return sum(map(len, _decode(content).values()))
    except (TypeError, msgspec.DecodeError):
        return 0


def _has_table(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'removed'")
    return found.fetchone() is not None
