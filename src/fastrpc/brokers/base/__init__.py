"""The interface of a backend of publish and subscribe: topics, groups, deliveries, dead letters, all of bytes.

::

    outgoing ──publish──► topic: a log, or a queue ──► group ──take──► Delivery ──ack───────► settled
                                                         ▲                │ ├──nack(delay)──► again, counted
                                                         └── hand_back ───┘ └──reject────► DeadLetter ──replay──► group

A backend keeps, counts and orders messages. The facade adds types, pauses between retries, and the number of deliveries
after which a message is dead: it reads the number of each delivery, and settles the delivery by one of four verbs.
Values that are made for each message are structs, which cost a third of dataclasses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

import msgspec

from fastrpc.errors import BrokerError

__all__ = [
    "HEADER_BYTES",
    "MESSAGE_BYTES",
    "AcksTold",
    "BrokerBackend",
    "BrokerLimits",
    "DeadLetter",
    "Delivery",
    "GroupSettings",
    "GroupState",
    "Membership",
    "OutgoingMessage",
    "Place",
    "Published",
    "TellingMembership",
    "TopicSettings",
]

#: Most bytes of the value of a message.
MESSAGE_BYTES: Final = 1024 * 1024

#: Most bytes of the headers of a message, names and values together.
HEADER_BYTES: Final = 8 * 1024

#: The place where a group begins: "oldest", "new", an instant, or a sequence number.
Place: TypeAlias = str | datetime | int


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The declaration of a topic: one name, or a pattern of names."""

    name: str

    #: Seconds for which a log keeps messages, handled or not. None: a queue, kept until each of `groups` handled them.
    keep_seconds: float | None = 604_800.0

    #: The groups of a queue. They exist from the declaration on, and are kept without members, too.
    groups: tuple[str, ...] = ()

    #: The most bytes of all messages. Beyond this limit a log drops its oldest messages, and a queue refuses new ones.
    max_bytes: int = 1024 * 1024 * 1024

    #: Seconds within which a second message with the same id is a duplicate.
    dedupe_seconds: float = 120.0


class OutgoingMessage(msgspec.Struct, frozen=True, gc=False):
    """A message to be kept."""

    #: A name, never a pattern.
    topic: str
    body: bytes
    key: str | None = None

    #: The publisher's id, or None; a second message with the same id is a duplicate.
    id: str | None = None

    #: Seconds before its first delivery.
    delay: float = 0.0
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    #: The identity that publishes it, as the backend's server knows it.
    publisher: str | None = None

    #: The id of a message whose publisher gives none. All attempts of one publication share it, and no other message
    #: has it. None: the backend makes one.
    made_id: str | None = None

    #: If this is a repeat under `made_id`: seconds since the first attempt, whose message the broker may have kept. 0:
    #: this is the first attempt.
    age: float = 0.0


class Published(msgspec.Struct, frozen=True, gc=False):
    """The receipt for a message that the broker has kept."""

    id: str

    #: The number in its topic; later messages have greater numbers.
    sequence: int

    #: Whether the broker had kept an earlier message with this id, and so did not keep this one.
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The settings with which a member joins a group."""

    #: None: a broadcast, which is a separate group for this member: it begins now and ends when the member leaves.
    name: str | None

    #: A topic's name, or a pattern below one topic.
    pattern: str

    #: The place where the group begins if it does not exist yet.
    start: Place = "new"

    #: Whether at most one message of each key is under way at a time.
    is_ordered: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """A message that a member has to settle."""

    topic: str
    body: bytes
    key: str | None
    id: str
    sequence: int
    headers: Mapping[str, str]
    publisher: str | None

    #: UTC.
    published_at: datetime

    #: 1 for the first one; a delivery that was handed back is not counted.
    delivery: int

    #: Identifies this delivery to its membership.
    token: Any


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that its group no longer delivers."""

    topic: str
    body: bytes
    key: str | None
    id: str
    sequence: int
    headers: Mapping[str, str]
    publisher: str | None
    published_at: datetime

    #: Deliveries in all.
    deliveries: int

    #: Why, in a word or a sentence, such as "deliveries".
    reason: str

    #: The text of the last error.
    error: str
    died_at: datetime


@dataclass(frozen=True, slots=True)
class GroupState:
    """The state of a group at one moment."""

    name: str
    topic: str
    pattern: str
    is_ordered: bool
    members: int

    #: Messages that are neither settled nor dead, those under way included.
    lag: int

    #: Seconds since the oldest of these messages was published; 0 without messages.
    oldest_seconds: float
    under_way: int
    dead: int

    #: Messages that the log dropped before the group handled them, since the broker started.
    expired: int


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The abilities of a backend. An option that needs more raises ConfigError before anything is sent."""

    #: The scheme of its URL, for messages.
    scheme: str
    has_patterns: bool = True
    has_delay: bool = True
    has_order: bool = True
    has_max_bytes: bool = True

    #: Most messages that one member holds unsettled; None: any number.
    most_in_flight: int | None = None

    #: Most groups of a queue; None: any number.
    queue_groups: int | None = None

    #: Most messages of an ordered group under way at once, over all keys; None: one of each key.
    ordered_at_once: int | None = None

    #: Whether a delivery that was handed back is not counted.
    hands_back_uncounted: bool = True

    #: Whether a publication ends by itself at the caller's deadline, or without a deadline within 5 s.
    ends_in_time: bool = False

    #: Whether a publication ends by itself within 5 s; a caller with an earlier deadline cancels it.
    ends_by_itself: bool = False

    #: Whether it keeps only one message when a publication is repeated under its `made_id`.
    finds_repeats: bool = False


#: A function that is called with the result of `Membership.ack_many`, and with the error if it failed.
AcksTold: TypeAlias = Callable[[Sequence[bool], BrokerError | None], None]


class Membership(Protocol):
    """One member of one group. For one event loop.

    Each token is settled once, by the first of the four verbs. A verb returns False and changes nothing if another
    member may have the message by now: the group was sought or removed, or the lease of the delivery has ended.
    """

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages and return 1 to `most` of them; from then on they are under way.

        If the call is cancelled, it has put no message under way.

        Raises:
            BrokerError: the broker ended or is away, or the group was removed.
        """

    def is_lost(self, token: Any) -> bool:
        """Return whether another member may already have the message."""

    async def ack(self, token: Any) -> bool:
        """Settle a message; return once the broker has kept that."""

    async def ack_many(self, tokens: Sequence[Any]) -> Sequence[bool]:
        """Settle messages, in one step if that is cheaper; return for each whether it was under way here.

        Raises:
            BrokerError: some of them may be settled. Messages that are not lost can be settled again.
        """

    async def nack(self, token: Any, delay: float) -> bool:
        """Deliver a message again after `delay` seconds, counted.

        Raises:
            ConfigError: the delay is not a number of seconds from 0.
        """

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""

    async def hand_back(self, token: Any) -> bool:
        """Deliver a message again at once, uncounted."""

    async def close(self) -> None:
        """Leave the group: messages under way are delivered to others at once, counted. Closing twice is fine."""


class TellingMembership(Membership, Protocol):
    """A member whose acks need no task."""

    def begin_acks(self, tokens: Sequence[Any], tell: AcksTold, *, may_wait: bool) -> None:
        """Settle messages. Call `tell` with the result of `ack_many` once that is kept, or with an error.

        Args:
            may_wait: whether the broker may keep this together with later changes, at the latest after some 10 ms.

        Raises:
            BrokerError: nothing is settled, and `tell` is not called.
        """


class BrokerBackend(Protocol):
    """A broker of bytes. For one event loop.

    `processed` of a BrokerError is "no" if the broker did nothing; `retryable` says that the same request may succeed
    within seconds. A backend repeats no request; callers cancel their requests at their deadlines.
    """

    @property
    def limits(self) -> BrokerLimits: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def declare(self, topic: TopicSettings) -> None:
        """Make a topic, and the groups of a queue; do nothing if the topic exists with these settings.

        Raises:
            ConfigError: the topic exists with other settings, or overlaps with another topic.
            BrokerError: RESOURCE_EXHAUSTED: the backend has as many topics as it may have.
        """

    async def topics(self) -> Sequence[TopicSettings]:
        """Return the declared topics, sorted by name."""

    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that covers a name, or every name of a pattern; None if there is no such topic.

        Raises:
            ConfigError: the pattern is malformed.
        """

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Keep messages, all or none, in this order; return once they are kept.

        Raises:
            BrokerError: NOT_FOUND: no topic holds a name; INVALID_ARGUMENT: a message is out of bounds, or due after
                its log drops it; RESOURCE_EXHAUSTED: a queue or the disk is full, and `retry_after` says when to try
                again; FAILED_PRECONDITION: the broker cannot tell whether a repeated message was kept before.
        """

    async def join(self, group: GroupSettings) -> Membership:
        """Become a member of a group, which begins now if it does not exist.

        Raises:
            ConfigError: the group has another pattern or order, or no topic covers the pattern.
        """

    async def groups(self) -> Sequence[GroupState]:
        """Return all groups but broadcasts, sorted by name."""

    async def seek(self, group: str, to: Place) -> None:
        """Continue a group at another place; messages under way count as lost. BrokerError: NOT_FOUND."""

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters. BrokerError: NOT_FOUND, or FAILED_PRECONDITION for a queue's group."""

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first. BrokerError: NOT_FOUND."""

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group as delivery 1. Return their number."""

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
