"""Write the changes of a broker as rows, all changes of a commit together."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fastrpc.brokers.local.records import (
    Change,
    DeliveryCounted,
    GroupBegun,
    GroupMoved,
    GroupProgressed,
    GroupRemoved,
    LetterDiscarded,
    LetterReplayed,
    MessageDamaged,
    MessageDied,
    MessageDropped,
    MessagesAppended,
    MessageSettled,
    TopicDeclared,
)
from fastrpc.brokers.sqlite.removed import RemovedRows
from fastrpc.brokers.sqlite.rows import head_of, letter_of, sum_of
from fastrpc.brokers.sqlite.tables import LATEST_SEQUENCE, latest_number

__all__ = ["BrokerWriter"]

#: _IDS_BETWEEN: old ids of a topic are removed after this many further ids. _IDS_AT_ONCE: the most ids that are removed
#: in one step.
_IDS_BETWEEN: Final = 500
_IDS_AT_ONCE: Final = 1_000

_OLD_IDS: Final = """DELETE FROM ids WHERE topic = ?1 AND sequence IN (SELECT sequence FROM
    (SELECT sequence, kept FROM ids WHERE topic = ?1 ORDER BY sequence LIMIT ?2) WHERE kept NOT BETWEEN ?3 AND ?4)"""

#: The number of values of a message's row.
_VALUES: Final = 9

#: The placeholders of a row. "" is passed for a missing name, and a bytearray in place of bytes: for each None and each
#: bytes object, Python's sqlite3 searches for an adapter, which takes longer than `NULLIF` and a copy.
_MESSAGE: Final = "(?, ?, ?, ?, ?, NULLIF(?, ''), ?, ?, ?)"
_INSERT: Final = "INSERT INTO messages VALUES "

#: Statements that insert many messages, the largest first. While SQLite executes a statement it does not hold the GIL,
#: but after each statement its thread waits for the GIL.
_INSERTS: Final = tuple(
    (count, _INSERT + ", ".join([_MESSAGE] * count)) for count in (64, 32, 16, 8, 4, 2, 1)
)

#: The numbers of messages that a single statement can insert.
_OF_ONE_STATEMENT: Final = frozenset(count for count, _ in _INSERTS)

#: Messages of a topic after which its row records the latest number. In between, only the messages have the number. A
#: copy of a damaged file adds more than this to the numbers of topics.
_TOLD_AFTER: Final = 1 << 16


@dataclass(slots=True)
class _KnownTopic:
    number: int
    dedupe_seconds: float

    #: `last`: the number of its latest message. `told`: the latest number that its row records.
    last: int = 0
    told: int = 0
    ids: int = 0


@dataclass(slots=True)
class _Step:
    """The rows of one commit that are written together, at its end."""

    connection: sqlite3.Connection
    # `count`: the number of messages. `messages`: the values of their rows, one row after the other.
    count: int = 0
    messages: list[Any] = field(default_factory=list)
    ids: list[tuple[Any, ...]] = field(default_factory=list)
    # `last`: the latest number by topic; `dropped`: by topic, the numbers of dropped messages.
    last: dict[str, int] = field(default_factory=dict)
    dropped: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    # The ids and numbers of removed messages, by the number of the topic.
    removed: defaultdict[int, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    # By group.
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    settled: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    counted: defaultdict[int, dict[int, tuple[int, float]]] = field(default_factory=lambda: defaultdict(dict))


class BrokerWriter:
    """Writes changes. It caches the numbers of topics and groups, and which groups have which rows.

    Args:
        clock: the clock of the broker.
        wall: returns the time of day in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        #: The number of the latest message of all topics.
        self.latest = 0
        self._topics: dict[str, _KnownTopic] = {}
        self._groups: dict[str, int] = {}
        # For each group the place that was last written since the start.
        self._places: dict[int, tuple[int, int]] = {}
        # `_with_settled`: the groups that have rows in the table `settled`. `_with_counted`: those with rows in
        # `counted`.
        self._with_settled: set[int] = set()
        self._with_counted: set[int] = set()
        self._removed = RemovedRows()
        self._writers: Final[Mapping[type, Callable[[_Step, Any], None]]] = {
            TopicDeclared: self._declare,
            MessagesAppended: self._append,
            MessageDamaged: self._damage,
            MessageDropped: self._drop,
            GroupBegun: self._begin,
            GroupMoved: self._move,
            GroupRemoved: self._remove,
            GroupProgressed: self._progress,
            DeliveryCounted: self._count,
            MessageSettled: self._settle,
            MessageDied: self._die,
            LetterReplayed: self._replay,
            LetterDiscarded: self._discard,
        }

    def open(self, connection: sqlite3.Connection) -> None:
        """Read the present state of a file."""
        self.latest = latest_number(connection)
        rows = connection.execute(
            f"SELECT number, name, settings, last, {LATEST_SEQUENCE} FROM topics"  # noqa: S608
        )
        for number, name, settings, told, last in rows:
            seconds = msgspec.msgpack.decode(settings)["dedupe_seconds"]
            self._topics[name] = _KnownTopic(number, seconds, last, told)
        self._groups = dict(connection.execute("SELECT name, number FROM positions"))
        self._places.clear()
        self._with_settled = set(self._groups.values())
        self._with_counted = set(self._groups.values())
        self._removed.open(connection)

    def topic(self, name: str) -> int:
        """Return the number of a topic."""
        return self._topics[name].number

    def group(self, name: str) -> int | None:
        """Return the number of an existing group."""
        return self._groups.get(name)

    def is_single(self, changes: Sequence[Change]) -> bool:
        """Return whether `write` needs only one statement: all changes are messages that one statement can insert."""
        count = 0
        for change in changes:
            if type(change) is not MessagesAppended or change.with_own_ids:
                return False
            if change.records[-1].sequence - self._topics[change.topic].told >= _TOLD_AFTER:
                return False
            count += len(change.records)
        return count in _OF_ONE_STATEMENT and self._removed.has_table

    def write(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Write changes, in a transaction of the caller."""
        step = _Step(connection)
        writers = self._writers
        for change in changes:
            writers[type(change)](step, change)
        if step.messages:
            _insert(connection, step.messages)
        for name, last in step.last.items():
            topic = self._topics[name]
            topic.last = last
            if last - topic.told >= _TOLD_AFTER:
                _tell_last(step, topic)
        if step.ids:
            connection.executemany("INSERT INTO ids VALUES (?, ?, ?, ?)", step.ids)
            self._remove_old_ids(step)
        for name, numbers in step.dropped.items():
            self._remove_messages(step, self._topics[name], numbers)
        if step.removed or not self._removed.has_table:
            self._removed.write(connection, self._wall(), step.removed)
        has_moved = False
        for group in {*step.places, *step.settled, *step.counted}:
            has_moved |= self._write_group(step, group)
        # New messages contain the latest number. A commit without messages increments `commits` instead.
        if step.dropped or not (step.messages or has_moved):
            latest = self.latest + step.count
            connection.execute("UPDATE numbers SET latest = ?, commits = commits + 1", (latest,))

    # Topics and messages

    def _declare(self, step: _Step, change: TopicDeclared) -> None:
        settings = change.topic
        row = settings.name, msgspec.msgpack.encode(settings)
        number = step.connection.execute("INSERT INTO topics VALUES (NULL, ?, ?, 0)", row).lastrowid
        assert number is not None
        self._topics[settings.name] = _KnownTopic(number, settings.dedupe_seconds)

    def _append(self, step: _Step, change: MessagesAppended) -> None:
        name, records, messages = change.topic, change.records, step.messages
        topic = self._topics[name]
        number, topic_number = self.latest + step.count, topic.number
        kept = records[0].published_at.timestamp()
        for record in records:
            number += 1
            head, body = head_of(record), record.body
            messages += (
                number,
                topic_number,
                record.sequence,
                record.size,
                kept,
                "" if record.topic == name else record.topic,
                sum_of(head, body),
                bytearray(head),
                bytearray(body),
            )
        step.count += len(records)
        step.last[name] = records[-1].sequence
        if change.with_own_ids:
            first = records[0].sequence
            topic.ids += len(change.with_own_ids)
            step.ids += [(topic_number, own, kept, records[own - first].id) for own in change.with_own_ids]

    def _damage(self, step: _Step, change: MessageDamaged) -> None:
        row = self.topic(change.topic), change.sequence
        step.connection.execute("INSERT OR IGNORE INTO damaged VALUES (?, ?)", row)

    def _drop(self, step: _Step, change: MessageDropped) -> None:
        step.dropped[change.topic].append(change.sequence)
        if change.id is not None:
            step.removed[self._topics[change.topic].number].append((change.id, change.sequence))

    def _remove_messages(self, step: _Step, topic: _KnownTopic, numbers: Sequence[int]) -> None:
        rows = ((topic.number, first, last) for first, last in _runs(numbers))
        step.connection.executemany("DELETE FROM messages WHERE topic = ? AND sequence BETWEEN ? AND ?", rows)
        if topic.last in numbers:
            _tell_last(step, topic)

    def _remove_old_ids(self, step: _Step) -> None:
        for topic in self._topics.values():
            if topic.ids >= _IDS_BETWEEN:
                topic.ids = 0
                # Ids from the future, which come from a wrong clock, are removed, too.
                now = self._wall()
                row = topic.number, _IDS_AT_ONCE, now - topic.dedupe_seconds, now
                step.connection.execute(_OLD_IDS, row)

    # Groups

    def _begin(self, step: _Step, change: GroupBegun) -> None:
        row = change.group, self.topic(change.topic), change.pattern, change.position
        number = step.connection.execute("INSERT INTO positions VALUES (NULL, ?, ?, ?, ?, 0)", row).lastrowid
        assert number is not None
        self._groups[change.group] = number

    def _move(self, step: _Step, change: GroupMoved) -> None:
        group = self._groups[change.group]
        self._clear(step, group)
        step.connection.execute("DELETE FROM letters WHERE reader = ? AND is_replayed", (group,))
        row = change.position, group
        step.connection.execute("UPDATE positions SET position = ?, passed = 0 WHERE number = ?", row)

    def _remove(self, step: _Step, change: GroupRemoved) -> None:
        group = self._groups.pop(change.group)
        self._clear(step, group)
        step.connection.execute("DELETE FROM letters WHERE reader = ?", (group,))
        step.connection.execute("DELETE FROM positions WHERE number = ?", (group,))

    def _clear(self, step: _Step, group: int) -> None:
        for rows in (self._places, step.places, step.settled, step.counted):
            rows.pop(group, None)
        step.connection.execute("DELETE FROM settled WHERE reader = ?", (group,))
        step.connection.execute("DELETE FROM counted WHERE reader = ?", (group,))

    def _progress(self, step: _Step, change: GroupProgressed) -> None:
        step.places[self._groups[change.group]] = change.position, change.passed

    def _count(self, step: _Step, change: DeliveryCounted) -> None:
        group, due = self._groups[change.group], self._on_wall(change.due)
        if change.is_replay:
            row = change.deliveries, due, group, change.sequence
            step.connection.execute(
                "UPDATE letters SET deliveries = ?, due = ? WHERE reader = ? AND sequence = ? AND is_replayed",
                row,
            )
        else:
            step.counted[group][change.sequence] = change.deliveries, due

    def _settle(self, step: _Step, change: MessageSettled) -> None:
        group = self._groups[change.group]
        if change.is_replay:
            row = group, change.sequence
            step.connection.execute(
                "DELETE FROM letters WHERE reader = ? AND sequence = ? AND is_replayed", row
            )
        else:
            step.settled[group].append(change.sequence)

    def _write_group(self, step: _Step, group: int) -> bool:
        """Write the rows of a group; return whether its place has changed."""
        connection = step.connection
        settled, counted = step.settled.get(group, []), step.counted.get(group, {})
        place = step.places.get(group)
        position = 0 if place is None else place[0]
        if group in self._with_counted and settled:
            rows = ((group, sequence) for sequence in settled)
            connection.executemany("DELETE FROM counted WHERE reader = ? AND sequence = ?", rows)
        for sequence in settled:
            counted.pop(sequence, None)
        if counted:
            self._with_counted.add(group)
            counts = ((group, sequence, *row) for sequence, row in sorted(counted.items()))
            connection.executemany("INSERT OR REPLACE INTO counted VALUES (?, ?, ?, ?)", counts)
        beyond = sorted(sequence for sequence in settled if sequence > position)
        if beyond:
            self._with_settled.add(group)
            rows = ((group, sequence) for sequence in beyond)
            connection.executemany("INSERT OR IGNORE INTO settled VALUES (?, ?)", rows)
        if place is None:
            return False
        former, self._places[group] = self._places.get(group, place), place
        connection.execute("UPDATE positions SET position = ?, passed = ? WHERE number = ?", (*place, group))
        row = group, position
        if group in self._with_settled:
            connection.execute("DELETE FROM settled WHERE reader = ? AND sequence <= ?", row)
        if group in self._with_counted:
            connection.execute("DELETE FROM counted WHERE reader = ? AND sequence <= ?", row)
        if position == place[1]:
            self._with_settled.discard(group)
            self._with_counted.discard(group)
        return former != place

    # Dead letters

    def _die(self, step: _Step, change: MessageDied) -> None:
        death, record = change.death, change.death.record
        head = letter_of(death, self._on_wall(record.kept_at))
        row = (
            self._groups[change.group],
            change.number,
            record.sequence,
            0,
            death.deliveries,
            0.0,
            sum_of(head, record.body),
            head,
            record.body,
        )
        step.connection.execute("INSERT INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _replay(self, step: _Step, change: LetterReplayed) -> None:
        row = self._groups[change.group], change.number
        step.connection.execute(
            "UPDATE letters SET is_replayed = 1, deliveries = 0 WHERE reader = ? AND number = ? AND NOT is_replayed",
            row,
        )

    def _discard(self, step: _Step, change: LetterDiscarded) -> None:
        row = self._groups[change.group], change.number
        step.connection.execute(
            "DELETE FROM letters WHERE reader = ? AND number = ? AND NOT is_replayed", row
        )

    def _on_wall(self, instant: float) -> float:
        """Convert an instant of the broker's clock to a time of day, in seconds."""
        return self._wall() + instant - self._clock()


def _tell_last(step: _Step, topic: _KnownTopic) -> None:
    """Write the latest number of a topic into its row."""
    topic.told = topic.last
    step.connection.execute("UPDATE topics SET last = ? WHERE number = ?", (topic.last, topic.number))


def _insert(connection: sqlite3.Connection, values: Sequence[Any]) -> None:
    """Insert messages, many per statement."""
    done = 0
    for count, statement in _INSERTS:
        size = count * _VALUES
        while len(values) - done >= size:
            connection.execute(statement, values[done : done + size])
            done += size


def _runs(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Yield the first and the last number of each run of consecutive numbers."""
    ordered = sorted(numbers)
    first = last = ordered[0]
    for number in ordered[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
