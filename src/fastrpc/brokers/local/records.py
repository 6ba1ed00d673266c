"""Messages of an embedded broker, and the changes that it writes to its journal."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Final, TypeAlias

import msgspec

from fastrpc.brokers.base import DeadLetter, Delivery, TopicSettings

__all__ = [
    "RECORD_BYTES",
    "Change",
    "Death",
    "DeliveryCounted",
    "Entry",
    "GroupBegun",
    "GroupMember",
    "GroupMoved",
    "GroupProgressed",
    "GroupRemoved",
    "LetterDiscarded",
    "LetterReplayed",
    "MessageDamaged",
    "MessageDied",
    "MessageDropped",
    "MessageSettled",
    "MessagesAppended",
    "KeptPlace",
    "Record",
    "SavedGroup",
    "SavedTopic",
    "TopicDeclared",
]

#: Bytes of memory of a message besides its texts and body: the record, its row in the log, its entry in a group.
RECORD_BYTES: Final = 800


class Record(msgspec.Struct, eq=False, gc=False):
    """A kept message. All times except `published_at` are instants of the broker's clock.

    Some ten thousand stay in memory. They are in no reference cycle, so the garbage collector need not visit them.
    """

    sequence: int
    topic: str
    body: bytes
    key: str | None
    id: str
    headers: Mapping[str, str]
    publisher: str | None
    published_at: datetime
    kept_at: float

    #: The earliest instant of its next delivery.
    due: float

    #: Bytes that count towards the limit of the topic.
    size: int


class KeptPlace(msgspec.Struct, frozen=True, gc=False):
    """A message of a log, without its record, which may be only in the journal."""

    sequence: int
    size: int
    kept_at: float

    #: The name of the message.
    topic: str


class Entry(msgspec.Struct, eq=False):
    """An unhandled message of a group with its latest delivery. Each further delivery has a new entry.

    The entry is the token of its delivery: the message is under way while this object is the group's entry.
    """

    sequence: int
    key: str | None
    deliveries: int
    due: float

    #: True for a replayed message: only this group has it, and the log may have dropped it.
    is_replay: bool = False

    #: True if a journal has the number of deliveries. Without a number, a message below the cursor was delivered once.
    is_counted: bool = False

    #: Set once the message is under way; always set for a replayed message.
    record: Record | None = None

    #: The member that holds the message; None: the message waits or is settled.
    member: "GroupMember | None" = None

    def delivery(self) -> Delivery:
        """Return the delivery for the member. The record must be set."""
        record = self.record
        assert record is not None
        return Delivery(
            record.topic,
            record.body,
            record.key,
            record.id,
            record.sequence,
            record.headers,
            record.publisher,
            record.published_at,
            self.deliveries,
            self,
        )


class GroupMember:
    """One member of a group, with the deliveries that it has to settle."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way: set[Entry] = set()


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a message in a group."""

    record: Record
    deliveries: int
    reason: str
    error: str
    died_at: datetime

    @property
    def size(self) -> int:
        """Bytes that count towards the limit of the group's dead letters."""
        return self.record.size + len(self.reason) + len(self.error)

    def with_body(self, body: bytes) -> "Death":
        """Return a copy with another body: b"" while a journal keeps the body, or the body read from the journal."""
        return replace(self, record=msgspec.structs.replace(self.record, body=body))

    def letter(self) -> DeadLetter:
        """Return the dead letter in its public form."""
        record = self.record
        return DeadLetter(
            topic=record.topic,
            body=record.body,
            key=record.key,
            id=record.id,
            sequence=record.sequence,
            headers=record.headers,
            publisher=record.publisher,
            published_at=record.published_at,
            deliveries=self.deliveries,
            reason=self.reason,
            error=self.error,
            died_at=self.died_at,
        )


class TopicDeclared(msgspec.Struct, frozen=True, eq=False):
    """A topic was created. Its groups are separate changes."""

    topic: TopicSettings


class MessagesAppended(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Messages were published in one call. They are delivered after `BrokerCore.committed`."""

    topic: str

    #: The messages. They share one time of publication.
    records: Sequence[Record]

    #: The numbers of messages with an id from their publisher, which is used to find duplicates.
    with_own_ids: Sequence[int]


class MessageDamaged(msgspec.Struct, frozen=True, eq=False):
    """A message in a journal cannot be delivered because its content is damaged."""

    topic: str
    sequence: int


class MessageDropped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A topic no longer keeps a message."""

    topic: str
    sequence: int

    #: The id, if the publication may still be repeated; "" if the id is unknown; None if the message is too old.
    id: str | None = None


class GroupBegun(msgspec.Struct, frozen=True, eq=False):
    """A group was created; it gets the messages after a number."""

    group: str
    topic: str
    pattern: str
    position: int


class GroupMoved(msgspec.Struct, frozen=True, eq=False):
    """A group was moved by a seek. It gets the messages after a number, and keeps only its dead letters."""

    group: str
    position: int


class GroupRemoved(msgspec.Struct, frozen=True, eq=False):
    """A group was removed, with its dead letters."""

    group: str


class DeliveryCounted(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The number of deliveries of a message. The next delivery starts at `due` at the earliest.

    The first delivery of a message without an earlier `DeliveryCounted` is recorded by `GroupProgressed` only.
    """

    group: str
    sequence: int
    deliveries: int
    due: float
    is_replay: bool


class MessageSettled(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A group has handled a message."""

    group: str
    sequence: int
    is_replay: bool


class GroupProgressed(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The progress of a group after all earlier changes.

    Attributes:
        position: all messages up to it are handled.
        passed: each message after `position` up to this number is settled, has a count, or was delivered once.
    """

    group: str
    position: int
    passed: int


class MessageDied(msgspec.Struct, frozen=True, eq=False):
    """A group no longer delivers a message; `number` is the number of the dead letter in its group."""

    group: str
    number: int
    death: Death


class LetterReplayed(msgspec.Struct, frozen=True, eq=False):
    """A dead letter was replayed: its group gets the message again, as delivery 1."""

    group: str
    number: int


class LetterDiscarded(msgspec.Struct, frozen=True, eq=False):
    """A dead letter was discarded."""

    group: str
    number: int


Change: TypeAlias = (
    TopicDeclared
    | MessagesAppended
    | MessageDamaged
    | MessageDropped
    | GroupBegun
    | GroupMoved
    | GroupRemoved
    | GroupProgressed
    | DeliveryCounted
    | MessageSettled
    | MessageDied
    | LetterReplayed
    | LetterDiscarded
)


@dataclass(frozen=True, slots=True)
class SavedTopic:
    """A topic as a journal kept it.

    Attributes:
        last: the number of its latest message, even if that message is no longer kept.
        places: the kept messages, by number.
        ids: each id from a publisher with the number and instant of its latest message, sorted by instant.
        removed: ids and numbers of messages that are no longer kept.
        removed_until: `removed` has all removed messages that were published after this instant.
    """

    settings: TopicSettings
    last: int
    places: Iterable[KeptPlace]
    ids: Sequence[tuple[str, int, float]]
    removed: Sequence[tuple[str, int]] = ()
    removed_until: float = inf


@dataclass(frozen=True, slots=True)
class SavedGroup:
    """A group as a journal kept it.

    Attributes:
        position: all messages up to it are handled.
        passed: each message after `position` up to this number is settled, has a count, or was delivered once.
        settled: the handled messages after `position`.
        counted: numbers of deliveries of unsettled messages, each with the earliest instant of the next delivery.
        replayed: replayed messages, which only this group gets, in the form of `counted`.
    """

    name: str
    topic: str
    pattern: str
    position: int
    passed: int
    settled: Set[int]
    counted: Mapping[int, tuple[int, float]]
    dead: Sequence[tuple[int, Death]]
    replayed: Sequence[tuple[Record, int, float]]
