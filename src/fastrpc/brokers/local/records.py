"""Messages in a broker of this process, and the records that a journal writes of each change."""

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

#: Memory of a kept message besides its texts and bytes: the record, its places in the log, its entry in a group.
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

    #: The bytes that it counts for.
    size: int


class KeptPlace(msgspec.Struct, frozen=True, gc=False):
    """A kept message, whose record may have left memory."""

    sequence: int
    size: int
    kept_at: float

    #: The name of the message.
    topic: str


class Entry(msgspec.Struct, eq=False):
    """A message that its group has not handled, with its latest delivery; a further delivery has a new entry.

    The entry is the token of its delivery: the message is under way while this object is the group's entry.
    """

    sequence: int
    key: str | None
    deliveries: int
    due: float

    #: Whether it is a replayed message, which only its group has, and which needs no log.
    is_replay: bool = False

    #: Whether a journal has the number of its deliveries. If not, a message that the group has passed was started once.
    is_counted: bool = False

    #: Set from the start of the delivery on; for a replayed message it is always set.
    record: Record | None = None

    #: The member that holds it; None: it waits, or is settled.
    member: "GroupMember | None" = None

    def delivery(self) -> Delivery:
        """Return the delivery that starts now."""
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
        """Bytes that it counts for."""
        return self.record.size + len(self.reason) + len(self.error)

    def with_body(self, body: bytes) -> "Death":
        """Return the death with another body: b"" if a journal keeps the body, or the body read from the journal."""
        return replace(self, record=msgspec.structs.replace(self.record, body=body))

    def letter(self) -> DeadLetter:
        """Return the dead letter in the form for users."""
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
    """A topic was made, without its groups."""

    topic: TopicSettings


class MessagesAppended(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Messages were published together; they are delivered only after `committed`."""

    topic: str

    #: They share one time of publication.
    records: Sequence[Record]

    #: The numbers of messages whose publisher gave their id, by which duplicates are found.
    with_own_ids: Sequence[int]


class MessageDamaged(msgspec.Struct, frozen=True, eq=False):
    """A journal keeps a message that cannot be delivered, as its content is damaged."""

    topic: str
    sequence: int


class MessageDropped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A topic no longer keeps a message."""

    topic: str
    sequence: int

    #: The id of a message that may be repeated; "": unknown; None: too old.
    id: str | None = None


class GroupBegun(msgspec.Struct, frozen=True, eq=False):
    """A group was made; it gets the messages after a number."""

    group: str
    topic: str
    pattern: str
    position: int


class GroupMoved(msgspec.Struct, frozen=True, eq=False):
    """A group was moved by a seek: it gets the messages after a number, and keeps only its dead letters."""

    group: str
    position: int


class GroupRemoved(msgspec.Struct, frozen=True, eq=False):
    """A group was removed, with its dead letters."""

    group: str


class DeliveryCounted(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The number of started deliveries of a message; the next one starts at `due` at the earliest.

    The first delivery of a message that was not counted before is noted by `GroupProgressed` only.
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
    """The place of a group after all changes before this one.

    Attributes:
        position: all messages up to it are handled.
        passed: the number up to which each later message is settled, counted, or was started once.
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
    """A dead letter was replayed: its group gets the message again, counted from 1."""

    group: str
    number: int


class LetterDiscarded(msgspec.Struct, frozen=True, eq=False):
    """A dead letter was forgotten."""

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
        last: the number of its latest message, kept or not.
        places: the kept messages, by number.
        ids: each id that publishers gave, with number and instant of its latest message, sorted by instant.
        removed: ids and numbers of messages that are no longer kept.
        removed_until: all removed messages that were kept after this instant are among them.
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
        passed: the number up to which each later message is settled, counted, or was started once.
        settled: the handled messages beyond the position.
        counted: deliveries of messages that are not settled, each with the earliest instant of the next delivery.
        replayed: messages of only this group, in the same form as counted ones.
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
