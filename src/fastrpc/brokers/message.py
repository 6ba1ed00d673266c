"""A message as its subscriber sees it. It is settled once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from fastrpc.brokers.base import Delivery, Membership
from fastrpc.brokers.base.seconds import is_seconds, shown
from fastrpc.brokers.base.texts import kept_text
from fastrpc.brokers.values import readable_headers
from fastrpc.errors import ConfigError

__all__ = ["MessageHolder", "Message", "acknowledge", "check_delay", "retry_pause"]

T_co = TypeVar("T_co", covariant=True)

#: The longest pause before another delivery, in seconds, unless the subscriber sets the pause.
_LONGEST_PAUSE: Final = 300.0


class MessageHolder(Protocol):
    """The member of a group that holds a message."""

    def is_lost(self, message: "Message[Any]") -> bool:
        """Return whether another member may have a message that this member has not settled."""

    async def settle(
        self, message: "Message[Any]", verb: str, work: Callable[[Membership], Awaitable[bool]]
    ) -> bool:
        """Settle a message by a verb of the membership; return whether it was still held."""

    def forget(self, message: "Message[Any]") -> None:
        """Remove a lost message, which makes room for another."""


class Message(Generic[T_co]):
    """A message of a group. Its subscriber settles it once: by `ack`, `nack`, `reject` or `hand_back`.

    These methods return True once the broker has kept the outcome. They return False and do nothing if the message was
    settled before, or if another member may have it.

    Attributes:
        topic: the name to which it was published.
        value: decoded to the type of the topic or of the subscription.
        id: identifies the message to the broker and to idempotent handlers.
        sequence: the message's number in the topic.
        headers: the headers that the publisher gave, and `content-type`.
        publisher: the identity of the publisher, as the broker's server knows it, or None.
        published_at: the time of publication, in UTC.
        delivery: the number of this delivery: 1 for the first one; each failure adds 1.
    """

    __slots__ = (
        "_holder",
        "_is_settled",
        "delivery",
        "headers",
        "id",
        "key",
        "published_at",
        "publisher",
        "sequence",
        "token",
        "topic",
        "value",
    )

    def __init__(self, delivery: Delivery, value: T_co, holder: MessageHolder) -> None:
        self.topic: str = delivery.topic
        self.value = value
        self.key: str | None = delivery.key
        self.id: str = delivery.id
        self.sequence: int = delivery.sequence
        self.headers: Mapping[str, str] = readable_headers(delivery.headers)
        self.publisher: str | None = delivery.publisher
        self.published_at: datetime = delivery.published_at
        self.delivery: int = delivery.delivery
        #: Identifies the delivery to the backend.
        self.token = delivery.token
        self._holder = holder
        self._is_settled = False

    @property
    def is_lost(self) -> bool:
        """True if another member may already have the message; False after this member has settled it."""
        return not self._is_settled and self._holder.is_lost(self)

    async def ack(self) -> bool:
        """Acknowledge the message: the group has handled it.

        Raises:
            BrokerError: the broker is unreachable; the message may be delivered again.
        """
        return await self._settle("ack", lambda membership: membership.ack(self.token))

    async def nack(self, delay: float | None = None) -> bool:
        """Let the broker deliver the message again, with the next number of `delivery`.

        Args:
            delay: seconds until the next delivery; None: 1 s after the first delivery, doubled after each further
                delivery, at most 300 s.

        Raises:
            ConfigError: the delay is not a number of seconds from 0.
            BrokerError: the broker is unreachable; the message is delivered again, perhaps earlier.
        """
        if delay is None:
            delay = retry_pause(self.delivery)
        check_delay(delay)
        pause = float(delay)
        return await self._settle("nack", lambda membership: membership.nack(self.token, pause))

    async def reject(self, reason: str, error: str = "") -> bool:
        """Make the message a dead letter: its group gets it again only by a replay.

        Args:
            reason: a text that is kept with the dead letter.
            error: the text of the error that caused it, which is kept as well.

        Raises:
            BrokerError: the broker is unreachable; the message may be delivered again.
        """
        if not isinstance(reason, str) or not reason:
            raise ConfigError(f"the reason of a rejected message is {reason!r}, it must be a text")
        if not isinstance(error, str):
            raise ConfigError(f"the error of a rejected message is {error!r}, it must be a text")
        texts = kept_text(reason), kept_text(error)
        return await self._settle("reject", lambda membership: membership.reject(self.token, *texts))

    async def hand_back(self) -> bool:
        """Return the message to the broker: any member may get it immediately, and this delivery is not counted.

        Raises:
            BrokerError: the broker is unreachable; the message may be delivered again.
        """
        return await self._settle("hand back", lambda membership: membership.hand_back(self.token))

    def forget(self) -> None:
        """Make room for another message in place of this lost message, without settling it."""
        if self.is_lost:
            self._holder.forget(self)

    def note_ack(self, is_ours: bool) -> None:
        """Record the outcome of an ack that was sent with others: whether the message was still held."""
        self._is_settled = self._is_settled or is_ours

    async def _settle(self, verb: str, work: Callable[[Membership], Awaitable[bool]]) -> bool:
        if self._is_settled:
            return False
        # Another method may have settled the message in the meantime.
        is_ours = await self._holder.settle(self, verb, work)
        self._is_settled = self._is_settled or is_ours
        return is_ours

    def __repr__(self) -> str:
        return f"<Message {self.id!a} of {self.topic!a}, delivery {self.delivery}>"


async def acknowledge(messages: Sequence[Message[Any]], membership: Membership) -> None:
    """Acknowledge messages of one membership, in one attempt. BrokerError: some may be acknowledged, some not."""
    settled = await membership.ack_many([message.token for message in messages])
    for message, is_ours in zip(messages, settled, strict=True):
        message.note_ack(is_ours)


def retry_pause(delivery: int) -> float:
    """Return the seconds to wait after a failed delivery with this number."""
    # 2 to the power of 9 is above the longest pause.
    return min(2.0 ** min(delivery - 1, 9), _LONGEST_PAUSE)


def check_delay(delay: Any) -> None:
    """Raise ConfigError unless the delay is a number of seconds from 0."""
    if not is_seconds(delay):
        raise ConfigError(f"delay is {shown(delay)}, it must be a number of seconds from 0")
