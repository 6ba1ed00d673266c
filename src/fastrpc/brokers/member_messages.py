"""The messages that were delivered to one membership and are not settled yet."""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from fastrpc.brokers.base import Delivery, Membership
from fastrpc.brokers.base.texts import kept_text
from fastrpc.brokers.message import Message, acknowledge
from fastrpc.errors import BrokerError
from fastrpc.hosted.verbs import PATIENCE_SECONDS, Verbs
from fastrpc.time_limit import time_limit
from fastrpc.together import together

__all__ = ["UNREADABLE", "MemberMessages", "absence_in", "logged_absence"]

logger = logging.getLogger("fastrpc.broker")

#: The reason of a dead letter whose value cannot be decoded.
UNREADABLE: Final = "the value does not decode"

#: Most messages of one take if `in_flight` is small. Otherwise a take gets at most half of `in_flight`, so that the
#: broker prepares the other half in parallel.
_LEAST_AT_ONCE: Final = 16

_finish: Final = Verbs(BrokerError).finish


class MemberMessages:
    """The unsettled messages of one membership.

    Args:
        in_flight: the most messages of this member, not counting messages whose acks are being sent.
        on_room: called when there may be room for another message.
    """

    def __init__(self, membership: Membership, in_flight: int, on_room: Callable[[], None]) -> None:
        self.membership = membership
        self._in_flight = in_flight
        #: The unsettled messages, in the order in which they were taken.
        self.unsettled: dict[Message[Any], None] = {}
        self._on_room = on_room
        # The number of messages whose acks `begin_acks` is sending.
        self._acks = 0
        # True if the membership has ended, so that other members may already have the messages.
        self._is_over = False

    def room(self) -> int:
        """Return how many more messages may arrive.

        At most `in_flight` messages are unsettled, plus at most `in_flight` messages whose acks are being sent.
        """
        return self._in_flight - len(self.unsettled) + min(self._acks, self._in_flight)

    def take(self) -> Coroutine[Any, Any, Sequence[Delivery]]:
        """Wait for messages, at most `room` of them. `room` must be above 0."""
        return self.membership.take(min(self.room(), max(self._in_flight // 2, _LEAST_AT_ONCE)))

    def is_lost(self, message: Message[Any]) -> bool:
        is_held = not self._is_over and message in self.unsettled
        return not is_held or self.membership.is_lost(message.token)

    def unsettled_but(self, messages: Collection[Message[Any]]) -> list[Message[Any]]:
        """Return the unsettled messages except the given messages."""
        return [one for one in self.unsettled if one not in messages]

    async def settle(
        self, message: Message[Any], verb: str, work: Callable[[Membership], Awaitable[bool]]
    ) -> bool:
        async def attempt() -> bool:
            return not self.is_lost(message) and await work(self.membership)

        is_ours = await _finish(
            f"{verb} of the message {message.id!r}", attempt, writes=True, idempotent=True
        )
        self.forget(message)
        return is_ours

    def begin_acks(
        self,
        messages: Sequence[Message[Any]],
        tell: Callable[[BrokerError | None], None],
    ) -> bool:
        """Start to acknowledge the messages that are still held; see `Subscription.begin_acks`.

        While acks are being sent, up to `in_flight` further messages may arrive. So acks may wait for the broker's next
        commit, until their number reaches `in_flight`.
        """
        begin: Callable[..., None] | None = getattr(self.membership, "begin_acks", None)
        if begin is None:
            # This backend needs a task for its acks.
            return False
        held = [message for message in messages if not self.is_lost(message)]
        self._acks += len(messages)

        def told(settled: Sequence[bool], error: BrokerError | None) -> None:
            self._acks -= len(messages)
            if error is None:
                for message, is_ours in zip(held, settled, strict=True):
                    message.note_ack(is_ours)
                self._forget_all(messages)
            tell(error)

        try:
            begin([message.token for message in held], told, may_wait=self._acks < self._in_flight)
        except BrokerError as error:
            told((), error)
        self._on_room()
        return True

    async def acknowledge(self, messages: Sequence[Message[Any]]) -> None:
        """Acknowledge the messages that are still held."""

        async def attempt() -> None:
            held = [message for message in messages if not self.is_lost(message)]
            if held:
                await acknowledge(held, self.membership)

        await _finish(f"ack of {len(messages)} messages", attempt, writes=True, idempotent=True)
        self._forget_all(messages)

    async def bury(self, message: Message[Any], error: str) -> None:
        """Make a dead letter of a message that cannot be decoded, in one attempt."""
        await self.membership.reject(message.token, UNREADABLE, kept_text(error))
        self.forget(message)

    async def leave(self, handed_back: Sequence[Message[Any]]) -> None:
        """Leave the group; the broker counts the deliveries of messages that are not handed back."""
        self._is_over = True
        try:
            await self.hand_back(handed_back)
        finally:
            async with logged_absence():
                await self.membership.close()

    async def hand_back(self, messages: Sequence[Message[Any]]) -> None:
        """Hand messages back to other members; their deliveries do not count."""

        async def hand_back(message: Message[Any]) -> None:
            await self.membership.hand_back(message.token)
            self.unsettled.pop(message, None)

        async with logged_absence():
            # Concurrently, so that the broker keeps all outcomes in one commit.
            await together(map(hand_back, messages))

    async def return_deliveries(self, found: Sequence[Delivery]) -> None:
        """Hand back deliveries that no subscriber has seen; they do not count."""
        async with logged_absence():
            await together(self.membership.hand_back(one.token) for one in found)

    def forget(self, message: Message[Any]) -> None:
        """Remove a message that is settled or lost, which makes room for another."""
        self._forget_all((message,))

    def _forget_all(self, messages: Sequence[Message[Any]]) -> None:
        for message in messages:
            self.unsettled.pop(message, None)
        self._on_room()


@contextlib.asynccontextmanager
async def logged_absence() -> AsyncIterator[None]:
    """Log an error of a broker that is unreachable or too slow while a subscriber leaves its group."""
    try:
        async with time_limit(PATIENCE_SECONDS):
            yield
    except (BrokerError, TimeoutError) as error:
        logger.warning("messages are delivered again later, as the broker is away: %s", absence_in(error))


def absence_in(error: Exception) -> str:
    """Return the text of a broker's error; a timeout has no text and gets one here."""
    return str(error) or f"no answer within {PATIENCE_SECONDS:g} s"
