"""Takes that wait for messages, by group. The take that has waited longest gets the next message."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from fastrpc.brokers.base import Delivery
from fastrpc.brokers.local.core import BrokerCore
from fastrpc.brokers.local.group import MessageGroup
from fastrpc.brokers.local.records import GroupMember
from fastrpc.errors import BrokerError
from fastrpc.status import Status

__all__ = ["AwaitedTake", "Take", "Takes"]


class Take:
    """A request of a member for messages, which may wait for them.

    Args:
        on_end: called with the take once it has messages or an error.
    """

    __slots__ = ("_on_end", "error", "found", "member", "most")

    def __init__(self, member: GroupMember, most: int, on_end: "Callable[[Any], None]") -> None:
        self.member = member
        self.most = most
        self.found: list[Delivery] = []
        self.error: BrokerError | None = None
        self._on_end = on_end

    @property
    def is_cancelled(self) -> bool:
        """True if the waiting task was cancelled but has not run since."""
        return False

    def end(self, error: BrokerError | None = None) -> None:
        """End the wait, with the messages in `found` or with an error."""
        self.error = error
        self._on_end(self)


class AwaitedTake(Take):
    """A take that a task awaits."""

    __slots__ = ("_ended",)

    def __init__(self, member: GroupMember, most: int) -> None:
        super().__init__(member, most, AwaitedTake.wake)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_cancelled(self) -> bool:
        """True if the waiting task was cancelled but has not run since."""
        return self._ended.cancelled()

    async def result(self) -> list[Delivery]:
        """Wait for messages. BrokerError: the broker has stopped, or the group was removed."""
        await self._ended
        if self.error is not None:
            raise self.error
        return self.found

    def wake(self) -> None:
        """Resume the task."""
        if not self._ended.done():
            self._ended.set_result(None)


class Takes:
    """All waiting takes. A group has waiting takes only while it has no message that can be delivered."""

    def __init__(self, core: BrokerCore, clock: Callable[[], float]) -> None:
        self._core = core
        self._clock = clock
        # The takes of each group, in the order in which they started to wait.
        self._waiting: dict[MessageGroup, OrderedDict[Take, None]] = {}

    def add(self, group: MessageGroup, take: Take) -> None:
        """Let a take wait for messages."""
        self._waiting.setdefault(group, OrderedDict())[take] = None

    def remove(self, group: MessageGroup, take: Take) -> None:
        """Remove a take, so that it no longer waits."""
        takes = self._waiting.get(group)
        if takes is not None:
            takes.pop(take, None)
            if not takes:
                del self._waiting[group]

    def fail(self, error: BrokerError) -> None:
        """End all waits."""
        waiting = [take for takes in self._waiting.values() for take in takes]
        self._waiting.clear()
        for take in waiting:
            take.end(error)

    def serve(self) -> None:
        """Give messages to the waiting takes of groups that may have messages."""
        ended: dict[Take, BrokerError | None] = {}
        for group in self._core.roused():
            if group in self._waiting:
                self._serve(group, self._waiting[group], ended)
        for take, error in ended.items():
            take.end(error)

    def _serve(
        self,
        group: MessageGroup,
        takes: OrderedDict[Take, None],
        ended: dict[Take, BrokerError | None],
    ) -> None:
        """Give one message to each take, the longest wait first; then fill the takes that accept more."""
        if group.is_removed:
            text = f"the group {group.name} was removed"
            for take in takes:
                ended[take] = BrokerError(text, status=Status.NOT_FOUND, processed="no")
            takes.clear()
        now = self._clock()
        if len(takes) == 1 and self._serve_only(group, takes, ended, now):
            return
        hungry: deque[Take] = deque()
        while takes or hungry:
            take = next(iter(takes)) if takes else hungry.popleft()
            if not take.is_cancelled:
                found = self._core.take(group, take.member, 1, now)
                if not found:
                    break
                take.found += found
                ended[take] = None
                if len(take.found) < take.most:
                    hungry.append(take)
            takes.pop(take, None)
        if not takes:
            del self._waiting[group]

    def _serve_only(
        self,
        group: MessageGroup,
        takes: OrderedDict[Take, None],
        ended: dict[Take, BrokerError | None],
        now: float,
    ) -> bool:
        """Give the only take of a group its messages in one step; return False if its task was cancelled."""
        (take,) = takes
        if take.is_cancelled:
            return False
        take.found += self._core.take(group, take.member, take.most, now)
        if take.found:
            ended[take] = None
            del self._waiting[group]
        return True
