"""The interface of a publish-and-subscribe backend: topics, groups, deliveries and dead letters. Values are bytes.

::

    outgoing ──publish──► topic: a log, or a queue ──► group ──take──► Delivery ──ack───────► settled
                                                         ▲                │ ├──nack(delay)──► again, counted
                                                         └── hand_back ───┘ └──reject────► DeadLetter ──replay──► group

A backend stores messages, keeps their order and counts their deliveries. The facade, `Broker`, adds types, pauses
between retries, and a limit of deliveries after which a message becomes a dead letter. The facade settles each delivery
by one of four verbs: ack, nack, reject, hand_back. Objects that exist once per message are msgspec structs, which take
a third of the time of dataclasses.
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

#: The place in a topic at which a group starts: "oldest", "new", an instant, or a sequence number.
Place: TypeAlias = str | datetime | int


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The declaration of a topic: one name, or a pattern of names."""

    name: str

    #: Seconds for which a log keeps each message, handled or not. None makes the topic a queue, which keeps a message
    #: until each of `groups` has handled it.
    keep_seconds: float | None = 604_800.0

    #: The groups of a queue. They exist from the declaration on, even without members.
    groups: tuple[str, ...] = ()

    #: The most bytes of all messages. Beyond this limit a log drops its oldest messages, and a queue refuses new ones.
    max_bytes: int = 1024 * 1024 * 1024

    #: Seconds within which a second message with the same id is a duplicate.
    dedupe_seconds: float = 120.0


class OutgoingMessage(msgspec.Struct, frozen=True, gc=False):
    """A message to publish."""

    #: A name, never a pattern.
    topic: str
    body: bytes
    key: str | None = None

    #: The publisher's id, or None; a second message with the same id is a duplicate.
    id: str | None = None

    #: Seconds before its first delivery.
    delay: float = 0.0
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    #: The identity of the publisher, as the backend's server has authenticated it.
    publisher: str | None = None

    #: The id of a message whose publisher sets no `id`. It is unique to the publication, and all attempts share it.
    #: None: the backend makes an id.
    made_id: str | None = None

    #: 0 for the first attempt. For a repeat under `made_id`: seconds since the first attempt, whose message the broker
    #: may have kept.
    age: float = 0.0


class Published(msgspec.Struct, frozen=True, gc=False):
    """The receipt for a message that the broker has kept."""

    id: str

    #: The number of the message in its topic; later messages have greater numbers.
    sequence: int

    #: True if the broker had already kept a message with this id, and dropped this one.
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The settings with which a member joins a group."""

    #: None: a broadcast, which is a separate group for this member. It starts with the next message that is published
    #: and ends when the member leaves.
    name: str | None

    #: A topic's name, or a pattern that one topic covers.
    pattern: str

    #: The place at which a new group starts.
    start: Place = "new"

    #: True if at most one message of each key is under way at a time.
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

    #: The number of this delivery, from 1; deliveries that were handed back are not counted.
    delivery: int

    #: The argument that identifies this delivery in calls of its `Membership`.
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

    #: The number of its deliveries.
    deliveries: int

    #: The reason of its death, a word or a sentence, such as "deliveries".
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

    #: The number of messages that are neither settled nor dead, including messages under way.
    lag: int

    #: Seconds since the oldest message of `lag` was published; 0 without messages.
    oldest_seconds: float
    under_way: int
    dead: int

    #: Messages that the log dropped before the group handled them, since the broker started.
    expired: int


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The abilities of a backend. An option that it does not support raises ConfigError before anything is sent."""

    #: The scheme of its URL, for error texts.
    scheme: str
    has_patterns: bool = True
    has_delay: bool = True
    has_order: bool = True
    has_max_bytes: bool = True

    #: Most messages that one member holds unsettled; None: any number.
    most_in_flight: int | None = None

    #: Most groups of a queue; None: any number.
    queue_groups: int | None = None

    #: Most messages of an ordered group that are under way at the same time, for all keys; None: one of each key.
    ordered_at_once: int | None = None

    #: True if `hand_back` does not add to the number of deliveries.
    hands_back_uncounted: bool = True

    #: True if the backend itself ends a publication at the caller's deadline, or within 5 s without a deadline.
    ends_in_time: bool = False

    #: True if the backend itself ends a publication within 5 s; a caller with an earlier deadline cancels it.
    ends_by_itself: bool = False

    #: True if the backend keeps only one message when a publication is repeated under its `made_id`.
    finds_repeats: bool = False


#: A function that is called with the result of `Membership.ack_many`, and with the error if it failed.
AcksTold: TypeAlias = Callable[[Sequence[bool], BrokerError | None], None]


class Membership(Protocol):
    """One member of one group. It belongs to one event loop.

    A token is settled by the first call of a verb with it. A verb returns False and changes nothing if another member
    may have the message by now: the group was moved by `seek` or removed, or the lease of the delivery has expired.
    """

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages and return 1 to `most` of them; from then on they are under way.

        A cancelled call puts no message under way.

        Raises:
            BrokerError: the broker has stopped or is unreachable, or the group was removed.
        """

    def is_lost(self, token: Any) -> bool:
        """Return whether another member may already have the message."""

    async def ack(self, token: Any) -> bool:
        """Settle a message as handled; return once the broker has stored this."""

    async def ack_many(self, tokens: Sequence[Any]) -> Sequence[bool]:
        """Settle messages as handled, in one step if that is cheaper; return for each whether this member held it.

        Raises:
            BrokerError: some of them may be settled. Messages that are not lost can be settled again.
        """

    async def nack(self, token: Any, delay: float) -> bool:
        """Deliver a message again after `delay` seconds. The current delivery counts.

        Raises:
            ConfigError: the delay is not a number of seconds from 0.
        """

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""

    async def hand_back(self, token: Any) -> bool:
        """Deliver a message again immediately. The current delivery does not count."""

    async def close(self) -> None:
        """Leave the group. Other members get its messages immediately; its deliveries count. Closing twice is fine."""


class TellingMembership(Membership, Protocol):
    """A member that can report acks to a callback, without a task."""

    def begin_acks(self, tokens: Sequence[Any], tell: AcksTold, *, may_wait: bool) -> None:
        """Start to settle messages. Call `tell` with the result of `ack_many` once it is stored, or with an error.

        Args:
            may_wait: whether the broker may store the acks together with later changes, after at most some 10 ms.

        Raises:
            BrokerError: nothing is settled, and `tell` is not called.
        """


class BrokerBackend(Protocol):
    """A broker whose messages are bytes. It belongs to one event loop.

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
        """Create a topic, and the groups of a queue; do nothing if the topic exists with these settings.

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
        """Store messages, all or none, in this order; return once they are stored.

        Raises:
            BrokerError: NOT_FOUND: no topic covers a name. INVALID_ARGUMENT: a message is too large, or its log would
                drop it before it is due. RESOURCE_EXHAUSTED: a queue or the disk is full; `retry_after` says when to
                try again. FAILED_PRECONDITION: the broker cannot tell whether a repeated message was kept before.
        """

    async def join(self, group: GroupSettings) -> Membership:
        """Become a member of a group. Create the group if it does not exist.

        Raises:
            ConfigError: the group has another pattern or order, or no topic covers the pattern.
        """

    async def groups(self) -> Sequence[GroupState]:
        """Return all groups but broadcasts, sorted by name."""

    async def seek(self, group: str, to: Place) -> None:
        """Move a group to another place; its members lose their messages under way. BrokerError: NOT_FOUND."""

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters. BrokerError: NOT_FOUND, or FAILED_PRECONDITION for a queue's group."""

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first. BrokerError: NOT_FOUND."""

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group as delivery 1. Return their number."""

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
