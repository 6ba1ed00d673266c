"""Read a broker's file: the state for the start of the broker, and batches of messages."""

import logging
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from fastrpc.brokers.embedded import KeptBroker
from fastrpc.brokers.local.records import Death, Record, SavedGroup, SavedTopic
from fastrpc.brokers.local.removed import REPEATED_SECONDS
from fastrpc.brokers.sqlite.removed import SavedRemovals
from fastrpc.brokers.sqlite.row_checks import checked, is_sound, is_whole, settings_of
from fastrpc.brokers.sqlite.rows import KeptPlaces, death_of, id_of, record_of
from fastrpc.brokers.sqlite.tables import LATEST_SEQUENCE

__all__ = ["BrokerReader", "read_bodies", "read_ids", "read_records"]

_RECORD: Final = (
    "SELECT sequence, sum, head, body FROM messages INDEXED BY places WHERE topic = ? AND sequence "
)

_PLACES: Final = """SELECT sequence, size, kept, name FROM messages INDEXED BY places WHERE topic = ?1
    AND sequence NOT IN (SELECT sequence FROM damaged WHERE topic = ?1) ORDER BY sequence"""

_logger = logging.getLogger("fastrpc.broker")


def read_records(
    connection: sqlite3.Connection, topic: int, numbers: Sequence[int]
) -> tuple[list[Record], list[int]]:
    """Return the existing messages with these numbers, in order, and the numbers of damaged messages."""
    wanted = set(numbers)
    if numbers[-1] - numbers[0] < 2 * len(numbers):
        try:
            rows = connection.execute(
                f"{_RECORD} BETWEEN ? AND ? ORDER BY sequence", (topic, numbers[0], numbers[-1])
            )
            return _checked(row for row in rows if row[0] in wanted)
        except sqlite3.DatabaseError as error:
            _logger.error("messages from %d on cannot be read at once: %s", numbers[0], error)
    return _read_one_by_one(connection, topic, numbers)


def read_ids(connection: sqlite3.Connection, topic: int, first: int, last: int) -> dict[str, int]:
    """Return the numbers of the existing messages in a range, by id."""
    rows = connection.execute(
        "SELECT sequence, head FROM messages INDEXED BY places WHERE topic = ? AND sequence BETWEEN ? AND ?",
        (topic, first, last),
    )
    return {id: sequence for sequence, head in rows if (id := id_of(head)) is not None}


def read_bodies(connection: sqlite3.Connection, group: int, numbers: Collection[int]) -> dict[int, bytes]:
    """Return the bodies of a group's undamaged dead letters, by number."""
    rows = connection.execute(
        "SELECT * FROM letters INDEXED BY letters_of WHERE reader = ? AND NOT is_replayed", (group,)
    )
    return {row[1]: row[-1] for row in rows if row[1] in numbers and is_sound("letters", row)}


def _read_one_by_one(
    connection: sqlite3.Connection, topic: int, numbers: Sequence[int]
) -> tuple[list[Record], list[int]]:
    records: list[Record] = []
    damaged: list[int] = []
    for number in numbers:
        try:
            rows = connection.execute(f"{_RECORD} = ?", (topic, number)).fetchall()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # The page is damaged; other pages may be readable.
            damaged.append(number)
        else:
            found = _checked(iter(rows))
            records += found[0]
            damaged += found[1]
    return records, damaged


def _checked(rows: Iterator[tuple[int, int, bytes, bytes]]) -> tuple[list[Record], list[int]]:
    records: list[Record] = []
    damaged: list[int] = []
    for number, told, head, body in rows:
        record = _whole(told, head, body)
        if record is None or record.sequence != number:
            damaged.append(number)
        else:
            records.append(record)
    return records, damaged


def _whole(told: Any, head: Any, body: Any) -> Record | None:
    """Return the message of a row; None if it is damaged."""
    return record_of(head, body) if is_whole(told, head, body) else None


class BrokerReader:
    """Reads the content of a file.

    Args:
        now: the present instant of the broker's clock.
        wall: the present instant of the wall clock, in seconds.
    """

    def __init__(self, connection: sqlite3.Connection, now: float, wall: float) -> None:
        self._connection = connection
        self._now = now
        self._wall = wall
        self._topics: dict[int, str] = {}

    def read(self) -> KeptBroker:
        """Return the state of the broker, without the bodies of messages.

        Raises:
            ArithmeticError, LookupError, TypeError, ValueError: a row is damaged.
        """
        return KeptBroker(self._read_topics(), self._read_groups())

    def _instant(self, wall: float) -> float:
        """Convert a time of day to an instant of the broker's clock. This assumes that both clocks advance equally."""
        return self._now + wall - self._wall

    def _kept_at(self, wall: float) -> float:
        # An instant in the future becomes the present: the wall clock may have been set back.
        return min(self._now, self._instant(wall))

    def _read_topics(self) -> list[SavedTopic]:
        found = []
        removed = SavedRemovals(self._connection)
        # `max` may return a value that is not a number, which is refused below.
        topics = self._connection.execute(
            f"SELECT number, name, settings, {LATEST_SEQUENCE} FROM topics ORDER BY number"  # noqa: S608
        ).fetchall()
        for number, name, content, last in checked("topics", topics):
            self._topics[number] = name
            places = KeptPlaces(name)
            for sequence, size, kept, message in self._connection.execute(_PLACES, (number,)):
                if message is not None and type(message) is not str:
                    raise TypeError(f"the name of the message {sequence} of {name} is not text")
                places.add(sequence, size, self._instant(kept), message)
            places.mend(self._now)
            settings = settings_of(name, content)
            ids = self._read_ids(number, settings.dedupe_seconds)
            gone, until = removed.of(number)
            until = self._instant(until)
            if settings.keep_seconds is not None:
                # In a log, old messages are removed, and their ids are known for REPEATED_SECONDS only.
                until = max(until, self._now - REPEATED_SECONDS)
                until = min(until, next((place.kept_at for place in places), until))
            found.append(SavedTopic(settings, last, places, ids, gone, until))
        return found

    def _read_ids(self, topic: int, seconds: float) -> list[tuple[str, int, float]]:
        """Return the ids of a topic that are young enough, sorted by age.

        An instant that is in the future, or later than the instant of a later row, comes from a wrong clock. The id
        then counts as older. At worst a duplicate is kept twice, whereas an id that counts as younger would make the
        broker drop a new message with this id.
        """
        ids = self._connection.execute("SELECT * FROM ids WHERE topic = ? ORDER BY sequence DESC", (topic,))
        fresh: dict[str, tuple[str, int, float]] = {}
        latest = self._wall
        for _, sequence, kept, id in checked("ids", ids):
            if kept <= self._wall:
                latest = min(latest, kept)
                if latest <= self._wall - seconds:
                    break
                fresh.setdefault(id, (id, sequence, self._instant(latest)))
        return sorted(fresh.values(), key=lambda one: one[1])

    def _read_groups(self) -> list[SavedGroup]:
        groups = self._connection.execute("SELECT * FROM positions ORDER BY number").fetchall()
        return [self._read_group(*row) for row in checked("positions", groups)]

    def _read_group(
        self, number: int, name: str, topic: int, pattern: str, position: int, passed: int
    ) -> SavedGroup:
        execute = self._connection.execute
        settled = checked("settled", execute("SELECT * FROM settled WHERE reader = ?", (number,)))
        counted = checked("counted", execute("SELECT * FROM counted WHERE reader = ?", (number,)))
        dead: list[tuple[int, Death]] = []
        replayed: list[tuple[Record, int, float]] = []
        for letter, is_replayed, deliveries, due, death in self._letters(number, name):
            if is_replayed:
                replayed.append((death.record, deliveries, self._instant(due)))
            else:
                dead.append((letter, death.with_body(b"")))
        return SavedGroup(
            name,
            self._topics[topic],
            pattern,
            position,
            passed,
            {sequence for _, sequence in settled},
            {sequence: (deliveries, self._instant(due)) for _, sequence, deliveries, due in counted},
            dead,
            replayed,
        )

    def _letters(self, group: int, name: str) -> Iterator[tuple[int, int, int, float, Death]]:
        rows = self._connection.execute(
            "SELECT * FROM letters INDEXED BY letters_of WHERE reader = ? ORDER BY number", (group,)
        )
        for row in rows:
            _, number, _, is_replayed, deliveries, due, _, head, body = row
            if not is_sound("letters", row):
                _logger.error(
                    "the dead letter %r of %s is damaged: it stays in the file, but is not shown",
                    number,
                    name,
                )
                continue
            death, kept = death_of(head, body)
            death.record.kept_at = self._kept_at(kept)
            yield number, is_replayed, deliveries, due, death
