"""One member of a group of an embedded broker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from fastrpc.brokers.base import AcksTold, Delivery
from fastrpc.brokers.embedded.keeping import Tell
from fastrpc.brokers.embedded.takes import AwaitedTake, Take, Takes
from fastrpc.brokers.local.core import BrokerCore
from fastrpc.brokers.local.group import MessageGroup
from fastrpc.brokers.local.records import GroupMember
from fastrpc.errors import BrokerError

__all__ = ["EmbeddedMembership", "JoinedBroker"]


class JoinedBroker(Protocol):
    """The part of the broker that its members use."""

    core: BrokerCore
    takes: Takes
    is_open: bool
    wall: Callable[[], datetime]

    def now(self) -> float: ...

    def dispatch(self) -> bool: ...

    def kept(self) -> Awaitable[None]: ...

    def when_kept(self, tell: Tell, *, may_wait: bool = False) -> None: ...


class EmbeddedMembership:
    """One member."""

    def __init__(self, broker: JoinedBroker, group: MessageGroup, member: GroupMember) -> None:
        self._broker = broker
        self._group = group
        self._member = member
        self._takes: set[Take] = set()
        self._has_left = False

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages, and return at least one."""
        found: list[Delivery] = []
        while True:
            now = self._broker.now()
            if self._has_left:
                raise _left()
            # Add messages that arrived between the end of the wait and this turn of the loop.
            found += self._broker.core.take(self._group, self._member, most - len(found), now)
            if found:
                self._broker.dispatch()
                return found
            found = [one for one in await self._wait(most) if not self._group.is_lost(one.token)]

    def begin_take(self, most: int, on_end: Callable[[Take], None]) -> Take:
        """Return a take. It has messages, or it waits and calls `on_end` once it has messages or an error.

        The broker's service uses it.

        Raises:
            BrokerError: for the reasons of `take`.
        """
        now = self._broker.now()
        if self._has_left:
            raise _left()
        take = Take(self._member, most, on_end)
        take.found = self._broker.core.take(self._group, self._member, most, now)
        if not take.found:
            self._broker.takes.add(self._group, take)
        self._broker.dispatch()
        return take

    def withdraw(self, take: Take) -> None:
        """End the wait of a take that `begin_take` returned."""
        self._broker.takes.remove(self._group, take)

    async def _wait(self, most: int) -> list[Delivery]:
        take = AwaitedTake(self._member, most)
        self._takes.add(take)
        self._broker.takes.add(self._group, take)
        # `core.take` may have set an alarm for a delayed message.
        self._broker.dispatch()
        try:
            return await take.result()
        except asyncio.CancelledError:
            self._return(take.found)
            raise
        finally:
            self._takes.discard(take)
            self._broker.takes.remove(self._group, take)

    def is_lost(self, token: Any) -> bool:
        """Return whether another member may have the message by now."""
        return self._group.is_lost(token)

    async def ack(self, token: Any) -> bool:
        """Settle a message."""
        return await self._settled(self._group.settle(token, self._broker.now()))

    async def ack_many(self, tokens: Sequence[Any]) -> Sequence[bool]:
        """Settle messages."""
        settled = self._settle(tokens)
        await self._settled(any(settled))
        return settled

    def begin_acks(self, tokens: Sequence[Any], tell: AcksTold, *, may_wait: bool) -> None:
        """Settle messages."""
        settled = self._settle(tokens)
        self._broker.when_kept(partial(tell, settled), may_wait=may_wait)

    def _settle(self, tokens: Sequence[Any]) -> list[bool]:
        now = self._broker.now()
        return [self._group.settle(token, now) for token in tokens]

    async def nack(self, token: Any, delay: float) -> bool:
        """Deliver a message again after `delay` seconds. The current delivery counts."""
        return await self._settled(self._group.retry(token, delay, self._broker.now()))

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""
        now = self._broker.now()
        return await self._settled(self._group.reject(token, reason, error, now, self._broker.wall()))

    async def hand_back(self, token: Any) -> bool:
        """Deliver a message again immediately. The current delivery does not count."""
        return await self._settled(self._group.hand_back(token, self._broker.now()))

    async def close(self) -> None:
        """Leave the group."""
        if not self._has_left:
            self._has_left = True
            for take in self._takes:
                take.end(_left())
                self._broker.takes.remove(self._group, take)
            if self._broker.is_open:
                self._broker.core.leave(self._group, self._member, self._broker.now())
                self._broker.dispatch()

    async def _settled(self, is_done: bool) -> bool:
        if self._broker.dispatch() and is_done:
            await self._broker.kept()
        return is_done

    def _return(self, found: Sequence[Delivery]) -> None:
        """Hand back the messages of a cancelled take."""
        if found and self._broker.is_open:
            now = self._broker.now()
            for delivery in found:
                self._group.hand_back(delivery.token, now)
            self._broker.dispatch()


def _left() -> BrokerError:
    return BrokerError("the member has left its group", processed="no")
