"""The broker in memory, `memory://name`: one for all that open this name in the process, until the last closes it."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from datetime import UTC, datetime
from logging import getLogger
from math import inf
from types import TracebackType
from typing import Any, Final, Self

from fastrpc.brokers.base import (
    BrokerBackend,
    BrokerLimits,
    DeadLetter,
    Delivery,
    GroupSettings,
    GroupState,
    Membership,
    OutgoingMessage,
    Place,
    Published,
    TopicSettings,
)
from fastrpc.brokers.local.core import BrokerCore
from fastrpc.brokers.local.group import MessageGroup
from fastrpc.brokers.local.records import GroupMember
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.hosted.backend_urls import NamedBackends
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status

__all__ = ["MemoryBroker", "open_memory"]

#: Seconds after which a timer looks anew: loops take no instants that are very far.
_LONGEST_TIMER: Final = 86_400.0

_logger = getLogger("fastrpc.broker")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryBroker:
    """Keeps messages in this process alone, for one event loop.

    Args:
        clock: returns an instant in seconds that never decreases. One that does not follow the loop's time needs
            `catch_up` after each move.
        wall: returns the time of day, in UTC.
    """

    limits: Final = BrokerLimits("memory")

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], datetime] = _utc_now
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._core = BrokerCore(tell=_logger.error)
        #: Whether it takes requests.
        self.is_open = False
        # Takes that wait, by group, the longest one first. While there is one its group has no message that can start.
        self._waiting: dict[MessageGroup, OrderedDict[_Take, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = inf

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for takes in self._waiting.values():
            for take in takes:
                take.fail(_closed())
        self._waiting.clear()

    async def declare(self, topic: TopicSettings) -> None:
        """Make a topic, and its groups."""
        self._core.declare(topic, self.now())
        self.dispatch()

    async def topics(self) -> Sequence[TopicSettings]:
        """Return the declared topics, sorted by name."""
        return sorted((topic.settings for topic in self._core.topics), key=lambda topic: topic.name)

    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that holds every name of a pattern; None without one."""
        self.now()
        return self._core.covering(pattern)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Keep messages, all or none of them, in this order."""
        now = self.now()
        published, records = self._core.publish(messages, now, self._wall())
        self._core.committed(records, now)
        self.dispatch()
        return published

    async def join(self, group: GroupSettings) -> Membership:
        """Become a member of a group."""
        found, member = self._core.join(group, self.now(), self._wall())
        self.dispatch()
        return _MemoryMembership(self, self._core, found, member)

    async def groups(self) -> Sequence[GroupState]:
        """Return all groups but broadcasts, sorted by name."""
        return self._core.groups(self.now())

    async def seek(self, group: str, to: Place) -> None:
        """Let a group go on from a place."""
        self._core.seek(group, to, self.now(), self._wall())
        self.dispatch()

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters."""
        self.now()
        self._core.remove_group(group)
        self.dispatch()

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        self.now()
        return self._core.dead_letters(group)

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Deliver dead letters to their group again; no ids: all."""
        count = self._core.group(group).replay(ids, self.now())
        self.dispatch()
        return count

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Forget dead letters; no ids: all."""
        self.now()
        count = self._core.group(group).discard(ids)
        self.dispatch()
        return count

    def catch_up(self) -> None:
        """Do all that is due by now; the loop's timer does so as well."""
        now = self._clock()
        while (due := self._core.next_due()) is not None and due <= now:
            self._core.advance(now)
        self.dispatch()

    # For the memberships

    def now(self) -> float:
        """Return the instant, with all done that is due by then. BrokerError: the broker is closed."""
        if not self.is_open:
            raise _closed()
        now = self._clock()
        if now >= self._timer_due:
            self._core.advance(now)
            self.dispatch()
        return now

    def died_at(self) -> datetime:
        """Return the time of day."""
        return self._wall()

    def dispatch(self) -> None:
        """Give messages to takes that wait for them, and set the timer, after a change."""
        for group in self._core.roused():
            if group in self._waiting:
                self._serve(group, self._waiting[group])
        due = self._core.next_due()
        if due is not None and due < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            delay = min(max(0.0, due - self._clock()), _LONGEST_TIMER)
            # Not in the context of the caller, which the timer would keep.
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer, context=Context())

    def _on_timer(self) -> None:
        self._timer, self._timer_due = None, inf
        self._core.advance(self._clock())
        self.dispatch()

    def wait(self, group: MessageGroup, take: "_Take") -> None:
        """Have a take wait for messages."""
        self._waiting.setdefault(group, OrderedDict())[take] = None

    def give_up(self, group: MessageGroup, take: "_Take") -> None:
        """Have a take wait no longer."""
        takes = self._waiting.get(group)
        if takes is not None:
            takes.pop(take, None)
            if not takes:
                del self._waiting[group]

    def _serve(self, group: MessageGroup, takes: "OrderedDict[_Take, None]") -> None:
        """Give one message to each take in turn, the longest wait first, then more to those that want more."""
        if group.is_removed:
            for take in takes:
                take.fail(
                    BrokerError(
                        f"the group {group.name} was removed", status=Status.NOT_FOUND, processed="no"
                    )
                )
            takes.clear()
        now = self._clock()
        hungry: deque[_Take] = deque()
        while takes or hungry:
            take = next(iter(takes)) if takes else hungry.popleft()
            if not take.is_cancelled:
                found = self._core.take(group, take.member, 1, now)
                if not found:
                    break
                take.give(found)
                if len(take.found) < take.most:
                    hungry.append(take)
            takes.pop(take, None)
        if not takes:
            del self._waiting[group]


class _Take:
    """A take that waits."""

    __slots__ = ("_ended", "_error", "found", "member", "most")

    def __init__(self, member: GroupMember, most: int) -> None:
        self.member = member
        self.most = most
        self.found: list[Delivery] = []
        self._error: BrokerError | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_cancelled(self) -> bool:
        """Whether its task has been cancelled, and will find out."""
        return self._ended.cancelled()

    async def result(self) -> list[Delivery]:
        """Wait for messages. BrokerError: none will come."""
        await self._ended
        if self._error is not None:
            raise self._error
        return self.found

    def give(self, found: list[Delivery]) -> None:
        """End the wait with messages, or add more of them."""
        self.found += found
        if not self._ended.done():
            self._ended.set_result(None)

    def fail(self, error: BrokerError) -> None:
        """End the wait without messages."""
        self._error = error
        if not self._ended.done():
            self._ended.set_result(None)


class _MemoryMembership:
    """One member."""

    def __init__(
        self, broker: MemoryBroker, core: BrokerCore, group: MessageGroup, member: GroupMember
    ) -> None:
        self._broker = broker
        self._core = core
        self._group = group
        self._member = member
        self._takes: set[_Take] = set()
        self._has_left = False

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages, and return at least one."""
        found: list[Delivery] = []
        while True:
            now = self._broker.now()
            if self._has_left:
                raise _left()
            # After a wait: the messages that came in the turns between.
            found += self._core.take(self._group, self._member, most - len(found), now)
            if found:
                return found
            found = [one for one in await self._wait(most) if not self._group.is_lost(one.token)]

    async def _wait(self, most: int) -> list[Delivery]:
        take = _Take(self._member, most)
        self._takes.add(take)
        self._broker.wait(self._group, take)
        # The look for messages may have set an alarm for a delayed one.
        self._broker.dispatch()
        try:
            return await take.result()
        except asyncio.CancelledError:
            self._return(take.found)
            raise
        finally:
            self._takes.discard(take)
            self._broker.give_up(self._group, take)

    def is_lost(self, token: Any) -> bool:
        """Return whether another member may have the message by now."""
        return self._group.is_lost(token)

    async def ack(self, token: Any) -> bool:
        """Settle a message."""
        return self._settled(self._group.settle(token, self._broker.now()))

    async def nack(self, token: Any, delay: float) -> bool:
        """Deliver a message again after `delay` seconds, counted."""
        return self._settled(self._group.retry(token, delay, self._broker.now()))

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""
        now = self._broker.now()
        return self._settled(self._group.reject(token, reason, error, now, self._broker.died_at()))

    async def hand_back(self, token: Any) -> bool:
        """Deliver a message again at once, uncounted."""
        return self._settled(self._group.hand_back(token, self._broker.now()))

    async def close(self) -> None:
        """Leave the group."""
        if not self._has_left:
            self._has_left = True
            for take in self._takes:
                take.fail(_left())
                self._broker.give_up(self._group, take)
            if self._broker.is_open:
                self._core.leave(self._group, self._member, self._broker.now())
                self._broker.dispatch()

    def _settled(self, is_done: bool) -> bool:
        self._broker.dispatch()
        return is_done

    def _return(self, found: Sequence[Delivery]) -> None:
        """Hand back the messages of a cancelled take."""
        if found and self._broker.is_open:
            now = self._broker.now()
            for delivery in found:
                self._group.hand_back(delivery.token, now)
            self._broker.dispatch()


_NAMED: Final = NamedBackends[BrokerBackend]("broker", MemoryBroker)


def open_memory(url: RegistryURL) -> AbstractAsyncContextManager[BrokerBackend]:
    """Return the broker `memory://name`, to be entered.

    Raises:
        ConfigError: the URL has no name, a path or an option.
    """
    for sync in url.take_all("sync"):
        raise ConfigError(
            f"{url} keeps nothing on a disk, sync={sync} is refused", hint="leave the option sync out"
        )
    return _NAMED.open(url)


def _closed() -> BrokerError:
    return BrokerError("the broker is closed", processed="no")


def _left() -> BrokerError:
    return BrokerError("the member has left its group", processed="no")
