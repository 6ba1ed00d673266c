"""A member that gets all messages from now on. Only this process knows its place and its retries."""

import heapq
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastrpc.brokers.base import Delivery, GroupSettings, TopicSettings
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.redis.bells import TopicBell
from fastrpc.brokers.redis.entries import Fields, delivery_of, fields_of
from fastrpc.brokers.redis.link import ANSWER_ROOM
from fastrpc.brokers.redis.member_scripts import LOOK
from fastrpc.brokers.redis.membership import GroupOwner, left
from fastrpc.errors import BrokerError

__all__ = ["Broadcast"]


@dataclass(slots=True, eq=False)
class _Held:
    entry: bytes
    fields: Fields
    number: int
    is_settled: bool = False


class Broadcast:
    """One broadcast. Call `begin` first."""

    def __init__(self, owner: GroupOwner, topic: TopicSettings, key: str, group: GroupSettings) -> None:
        self.key, self.group = key, group
        #: Rung when the topic may have messages.
        self.bell = TopicBell()
        self._owner = owner
        self._topic = topic
        self._counts = owner.counts[topic.name]
        # The id of the last entry that was read.
        self._after = b"$"
        # A heap of messages to deliver again: instant, a number that orders equal instants, message.
        self._again: list[tuple[float, int, _Held]] = []
        self._numbers = itertools.count()
        self._has_left = False

    async def begin(self) -> None:
        """Set the start of the broadcast to the next message."""
        self._after = (await self._look(1))[0]

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages, and return at least one."""
        while True:
            if self._has_left:
                raise left()
            since = self.bell.count
            found = self._due(most)
            if len(found) < most:
                # There is no await between the answer and the return, so no message is lost if the take is cancelled.
                found += await self._new(most - len(found), found)
            if found:
                return found
            longest = self._owner.lease / 3
            due = self._again[0][0] - time.monotonic() if self._again else longest
            await self.bell.wait(since, max(min(due, longest), 0.0))

    def _due(self, most: int) -> list[Delivery]:
        found: list[Delivery] = []
        while self._again and len(found) < most and self._again[0][0] <= time.monotonic():
            _, _, held = heapq.heappop(self._again)
            found.append(self._delivery(held.entry, held.fields, held.number))
        return found

    async def _new(self, most: int, due: Sequence[Delivery]) -> list[Delivery]:
        before = self._after
        try:
            told = await self._look(most)
        except BaseException:
            for one in due:
                self._repeat(one.token, 0.0, one.token.number)
            raise
        if self._after != before:
            # A concurrent take has read these messages.
            return []
        found = [self._delivery(entry, fields_of(words), 1) for entry, words, *_ in told[3]]
        if found:
            self._after = found[-1].token.entry
        return found

    def _delivery(self, entry: bytes, fields: Fields, number: int) -> Delivery:
        return delivery_of(self._topic.name, entry, fields, number, _Held(entry, fields, number))

    async def _look(self, most: int) -> list[Any]:
        words = self._after, most, self._owner.channel, ANSWER_ROOM
        told: list[Any] = await self._owner.link.run(list, LOOK, (self.key,), words)
        if not told:
            raise BrokerError(
                f"the server has lost the topic {self._topic.name}", processed="no", retryable=True
            )
        return told

    def is_lost(self, token: _Held) -> bool:
        """Return whether the member has left the group with this message unsettled."""
        return self._has_left and not token.is_settled

    async def ack(self, token: _Held) -> bool:
        """Settle a message."""
        is_ours = self._settle(token)
        self._counts.acked += is_ours
        return is_ours

    async def ack_many(self, tokens: Sequence[_Held]) -> Sequence[bool]:
        """Settle messages."""
        settled = [self._settle(token) for token in tokens]
        self._counts.acked += sum(settled)
        return settled

    async def nack(self, token: _Held, delay: float) -> bool:
        """Deliver a message again after `delay` seconds. The current delivery counts."""
        check_pause(delay)
        is_ours = self._settle(token)
        if is_ours:
            self._counts.retried += 1
            self._repeat(token, delay, token.number + 1)
        return is_ours

    async def reject(self, token: _Held, reason: str, error: str) -> bool:
        """Settle a message: a broadcast keeps no dead letters."""
        is_ours = self._settle(token)
        self._counts.dead += is_ours
        return is_ours

    async def hand_back(self, token: _Held) -> bool:
        """Deliver a message again immediately. The current delivery does not count."""
        is_ours = self._settle(token)
        if is_ours:
            self._repeat(token, 0.0, token.number)
        return is_ours

    def _settle(self, token: _Held) -> bool:
        if token.is_settled or self._has_left:
            return False
        token.is_settled = True
        return True

    def _repeat(self, token: _Held, delay: float, number: int) -> None:
        held = _Held(token.entry, token.fields, number)
        heapq.heappush(self._again, (time.monotonic() + delay, next(self._numbers), held))
        self.bell.ring()

    async def renew(self) -> None:
        """Do nothing: the messages of a broadcast have no lease."""

    def lose_all(self) -> None:
        """Do nothing: a broadcast cannot be moved by `seek`."""

    async def close(self) -> None:
        """End."""
        self._has_left = True
        self._owner.forget(self)
        self.bell.ring()
