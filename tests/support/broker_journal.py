"""A journal of a broker that keeps rows in dictionaries, and gives them back after a restart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import msgspec

from fastrpc.brokers.base import TopicSettings
from fastrpc.brokers.local.records import (
    Change,
    Death,
    DeliveryCounted,
    GroupBegun,
    GroupMoved,
    GroupProgressed,
    GroupRemoved,
    KeptPlace,
    LetterDiscarded,
    LetterReplayed,
    MessageDamaged,
    MessageDied,
    MessageDropped,
    MessagesAppended,
    MessageSettled,
    Record,
    SavedGroup,
    SavedTopic,
    TopicDeclared,
)

__all__ = ["BrokerJournal"]


@dataclass
class TopicRows:
    """The rows of a topic."""

    settings: TopicSettings
    last: int = 0
    records: dict[int, Record] = field(default_factory=dict)
    ids: dict[str, tuple[int, float]] = field(default_factory=dict)
    removed: list[tuple[str, int]] = field(default_factory=list)
    removed_until: float = -inf


@dataclass
class GroupRows:
    """The rows of a group."""

    topic: str
    pattern: str
    position: int
    passed: int
    settled: set[int] = field(default_factory=set)
    counted: dict[int, tuple[int, float]] = field(default_factory=dict)
    dead: dict[int, Death] = field(default_factory=dict)
    replayed: dict[int, tuple[Record, int, float]] = field(default_factory=dict)

    def write(
        self,
        change: GroupProgressed
        | DeliveryCounted
        | MessageSettled
        | MessageDied
        | LetterReplayed
        | LetterDiscarded,
    ) -> None:
        if isinstance(change, GroupProgressed):
            self.position, self.passed = change.position, change.passed
            self.settled = {number for number in self.settled if number > self.position}
            self.counted = {number: row for number, row in self.counted.items() if number > self.position}
        elif isinstance(change, DeliveryCounted):
            if change.is_replay:
                record = self.replayed[change.sequence][0]
                self.replayed[change.sequence] = record, change.deliveries, change.due
            else:
                self.counted[change.sequence] = change.deliveries, change.due
        elif isinstance(change, MessageSettled):
            if change.is_replay:
                del self.replayed[change.sequence]
            else:
                self.counted.pop(change.sequence, None)
                self.settled.add(change.sequence)
        elif isinstance(change, MessageDied):
            self.dead[change.number] = change.death
        else:
            death = self.dead.pop(change.number)
            if isinstance(change, LetterReplayed):
                self.replayed[death.record.sequence] = death.record, 0, 0.0


class BrokerJournal:
    """Takes changes; `saved` gives their rows."""

    def __init__(self) -> None:
        self._topics: dict[str, TopicRows] = {}
        self._groups: dict[str, GroupRows] = {}

    def __call__(self, change: Change) -> None:
        match change:
            case TopicDeclared():
                self._topics[change.topic.name] = TopicRows(change.topic)
            case MessagesAppended():
                rows = self._topics[change.topic]
                for record in change.records:
                    rows.last = record.sequence
                    rows.records[rows.last] = record
                    if record.sequence in change.with_own_ids:
                        rows.ids.pop(record.id, None)
                        rows.ids[record.id] = rows.last, record.kept_at
            case MessageDamaged():
                pass
            case MessageDropped():
                rows = self._topics[change.topic]
                record = rows.records.pop(change.sequence)
                if change.id:
                    rows.removed.append((change.id, change.sequence))
                else:
                    rows.removed_until = max(rows.removed_until, record.kept_at)
            case GroupBegun():
                self._groups[change.group] = GroupRows(change.topic, change.pattern, change.position, 0)
            case GroupMoved():
                old = self._groups[change.group]
                self._groups[change.group] = GroupRows(
                    old.topic, old.pattern, change.position, 0, dead=old.dead
                )
            case GroupRemoved():
                del self._groups[change.group]
            case _:
                self._groups[change.group].write(change)

    def commit(self, uncommitted: Sequence[Record]) -> None:
        """Keep all changes but messages that wait; here they are kept at once."""

    def undo(self, lost: Sequence[Record]) -> None:
        """Forget messages for which there was no room."""
        for rows in self._topics.values():
            for record in lost:
                del rows.records[record.sequence]
                rows.last -= 1
            numbers = {record.sequence for record in lost}
            rows.ids = {id: row for id, row in rows.ids.items() if row[0] not in numbers}

    def read(self, topic: str, numbers: Sequence[int]) -> list[Record]:
        """Return the messages of numbers that are kept."""
        records = self._topics[topic].records
        kept = [records[number] for number in numbers if number in records]
        return [msgspec.structs.replace(one, kept_at=0.0, due=one.due - one.kept_at) for one in kept]

    def saved(self) -> tuple[list[SavedTopic], list[SavedGroup]]:
        """Return all rows."""
        topics = [
            SavedTopic(
                rows.settings,
                rows.last,
                [KeptPlace(one.sequence, one.size, one.kept_at, one.topic) for one in rows.records.values()],
                [(id, *row) for id, row in rows.ids.items()],
                rows.removed,
                rows.removed_until,
            )
            for rows in self._topics.values()
        ]
        groups = [
            SavedGroup(
                name,
                rows.topic,
                rows.pattern,
                rows.position,
                rows.passed,
                rows.settled,
                rows.counted,
                list(rows.dead.items()),
                list(rows.replayed.values()),
            )
            for name, rows in self._groups.items()
        ]
        return topics, groups
