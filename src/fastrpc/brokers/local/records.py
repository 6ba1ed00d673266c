"""Messages as a broker of this process keeps them, and what a journal writes of each change."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from fastrpc.brokers.base import DeadLetter, TopicSettings

__all__ = [
    "RECORD_BYTES",
    "Change",
    "Death",
    "DeliveryCounted",
    "Entry",
    "GroupBegun",
    "GroupMember",
    "GroupMoved",
    "GroupRemoved",
    "LetterDiscarded",
    "LetterReplayed",
    "MessageAppended",
    "MessageDied",
    "MessageDropped",
    "MessageSettled",
    "Record",
    "SavedGroup",
    "SavedTopic",
    "TopicDeclared",
]

#: Memory of a kept message beside its texts and bytes: the record, its places in the log, its entry in a group.
RECORD_BYTES: Final = 800


@dataclass(slots=True, eq=False)
class Record:
    """A kept message. Times are instants of the broker's clock, but for `published_at`."""

    sequence: int
    topic: str
    body: bytes
    key: str | None
    id: str
    headers: Mapping[str, str]
    publisher: str | None
    published_at: datetime
    kept_at: float

    #: No delivery starts before.
    due: float

    #: Bytes that it counts for.
    size: int

    #: In a queue: the groups that have not handled it.
    groups_left: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """A message that its group has not handled, with its latest delivery; a further delivery has a new entry.

    It is the token of its delivery: the message is under way by it while the group's entry is this one.
    """

    record: Record
    deliveries: int
    due: float

    #: A replayed message is of its group alone, and does not need the log.
    is_replay: bool = False

    #: The member that has it; None: it waits, or is settled.
    member: "GroupMember | None" = None


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

    def letter(self) -> DeadLetter:
        """Return it as users see it."""
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


@dataclass(frozen=True, slots=True)
class TopicDeclared:
    """A topic was made, without its groups."""

    topic: TopicSettings


@dataclass(frozen=True, slots=True)
class MessageAppended:
    """A message was published; it is delivered only after `committed`."""

    topic: str
    record: Record

    #: Whether its publisher gave its id, by which duplicates are found.
    has_own_id: bool


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """A topic keeps a message no longer."""

    topic: str
    sequence: int


@dataclass(frozen=True, slots=True)
class GroupBegun:
    """A group was made; it gets the messages after a number."""

    group: str
    topic: str
    pattern: str
    position: int


@dataclass(frozen=True, slots=True)
class GroupMoved:
    """A group was sought: it gets the messages after a number, and nothing else of it is left but dead letters."""

    group: str
    position: int


@dataclass(frozen=True, slots=True)
class GroupRemoved:
    """A group was removed, with its dead letters."""

    group: str


@dataclass(frozen=True, slots=True)
class DeliveryCounted:
    """The number of started deliveries of a message; the next one starts at `due` at the earliest."""

    group: str
    sequence: int
    deliveries: int
    due: float


@dataclass(frozen=True, slots=True)
class MessageSettled:
    """A group has handled a message."""

    group: str
    sequence: int


@dataclass(frozen=True, slots=True)
class MessageDied:
    """A group delivers a message no more; `number` names the dead letter in its group."""

    group: str
    number: int
    death: Death


@dataclass(frozen=True, slots=True)
class LetterReplayed:
    """A dead letter is a message of its group again, counted from 1."""

    group: str
    number: int


@dataclass(frozen=True, slots=True)
class LetterDiscarded:
    """A dead letter was forgotten."""

    group: str
    number: int


Change: TypeAlias = (
    TopicDeclared
    | MessageAppended
    | MessageDropped
    | GroupBegun
    | GroupMoved
    | GroupRemoved
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
        records: by number.
        ids: each id that publishers gave, with number and instant of its latest message, by instant.
    """

    settings: TopicSettings
    last: int
    records: Sequence[Record]
    ids: Sequence[tuple[str, int, float]]


@dataclass(frozen=True, slots=True)
class SavedGroup:
    """A group as a journal kept it.

    Attributes:
        position: all messages up to it are handled.
        settled: the handled messages beyond.
        counted: deliveries of messages that are not settled, with the instant before which no other one starts.
        replayed: messages of this group alone, as counted ones.
    """

    name: str
    topic: str
    pattern: str
    position: int
    settled: Set[int]
    counted: Mapping[int, tuple[int, float]]
    dead: Sequence[tuple[int, Death]]
    replayed: Sequence[tuple[Record, int, float]]
