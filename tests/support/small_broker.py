"""A backend of the facade's tests: groups in memory, with planned failures and a record of settlements."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from msgspec.structs import replace

from fastrpc.brokers.base import (
    AcksTold,
    BrokerLimits,
    DeadLetter,
    Delivery,
    GroupSettings,
    GroupState,
    OutgoingMessage,
    Place,
    Published,
    TopicSettings,
)
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.embedded.takes import Take
from fastrpc.brokers.local.records import GroupMember
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status

__all__ = ["PUBLISHED_AT", "SmallBroker", "SmallMembership", "away"]

PUBLISHED_AT = datetime(2026, 1, 2, tzinfo=UTC)


def away(processed: Any = "no", **options: Any) -> BrokerError:
    """Return the error of a broker that is away for now."""
    return BrokerError("the broker is away", processed=processed, retryable=True, **options)


class SmallMembership:
    """A member whose messages are given by `deliver`."""

    def __init__(self, group: GroupSettings) -> None:
        self.group = group
        self.waiting: deque[Delivery] = deque()
        #: The most messages of each take, from its begin on, and of each take with messages.
        self.asked: list[int] = []
        self.taken: list[int] = []
        self.lost: set[Any] = set()
        self.failure: BrokerError | None = None
        #: The verbs that settled, with their arguments.
        self.settled: list[tuple[Any, ...]] = []
        self.settle_failures: deque[BrokerError] = deque()
        #: The tokens of each `ack_many` and `begin_acks`.
        self.batches: list[Sequence[Any]] = []
        self.close_failures: deque[Exception] = deque()
        self.is_closed = False
        #: Seconds of a commit.
        self.commit_seconds = 0.0
        self._news = asyncio.Event()

    def deliver(self, *deliveries: Delivery) -> None:
        self.waiting.extend(deliveries)
        self._news.set()

    def fail(self, error: BrokerError) -> None:
        self.failure = error
        self._news.set()

    async def take(self, most: int) -> Sequence[Delivery]:
        self.asked.append(most)
        while not self.waiting:
            if self.failure is not None:
                raise self.failure
            self._news.clear()
            await self._news.wait()
        self.taken.append(most)
        return [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]

    def begin_take(self, most: int, on_end: Callable[[Take], None]) -> Take:
        """Return the messages that have arrived; none come later."""
        take = Take(GroupMember(), most, on_end)
        if self.waiting:
            self.taken.append(most)
        take.found = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        return take

    def withdraw(self, take: Take) -> None:
        assert not take.found

    def begin_acks(self, tokens: Sequence[Any], tell: AcksTold, *, may_wait: bool) -> None:
        self.batches.append(tokens)
        tell([self._settle("ack", token) for token in tokens], None)

    def is_lost(self, token: Any) -> bool:
        return token in self.lost

    async def ack(self, token: Any) -> bool:
        return self._settle("ack", token)

    async def ack_many(self, tokens: Sequence[Any]) -> Sequence[bool]:
        self.batches.append(tokens)
        return [await self.ack(token) for token in tokens]

    async def nack(self, token: Any, delay: float) -> bool:
        return self._settle("nack", token, delay)

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        return self._settle("reject", token, reason, error)

    async def hand_back(self, token: Any) -> bool:
        if self.commit_seconds:
            await asyncio.sleep(self.commit_seconds)
        return self._settle("hand_back", token)

    async def close(self) -> None:
        self.is_closed = True
        if self.close_failures:
            raise self.close_failures.popleft()

    def _settle(self, verb: str, token: Any, *arguments: Any) -> bool:
        if self.settle_failures:
            raise self.settle_failures.popleft()
        if token in self.lost:
            return False
        self.settled.append((verb, token, *arguments))
        return True


class SmallBroker:
    """Keeps its messages; `failures` come before a publication is kept, `late_failures` after."""

    def __init__(self, limits: BrokerLimits | None = None) -> None:
        self._limits = limits or BrokerLimits("small")
        self.declared: dict[str, TopicSettings] = {}
        self.declarations: list[str] = []
        self.kept: dict[str, OutgoingMessage] = {}
        self.failures: deque[BrokerError] = deque()
        self.late_failures: deque[BrokerError] = deque()
        #: The messages of each publication that was asked for.
        self.attempts: list[Sequence[OutgoingMessage]] = []
        self.join_failures: deque[Exception] = deque()
        self.members: list[SmallMembership] = []
        self._joins = asyncio.Event()
        #: The names and patterns for which a covering topic was requested.
        self.covering_asked: list[str] = []
        self.asked: list[tuple[Any, ...]] = []
        self.is_open = False

    @property
    def limits(self) -> BrokerLimits:
        return self._limits

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_open = False

    async def declare(self, topic: TopicSettings) -> None:
        self.declarations.append(topic.name)
        if self.declared.setdefault(topic.name, topic) != topic:
            raise ConfigError(f"the topic {topic.name!r} has other settings")

    async def topics(self) -> Sequence[TopicSettings]:
        return [self.declared[name] for name in sorted(self.declared)]

    async def covering(self, pattern: str) -> TopicSettings | None:
        self.covering_asked.append(pattern)
        wanted = TopicPattern(pattern)
        found = (topic for name, topic in self.declared.items() if wanted.is_below(TopicPattern(name)))
        return next(found, None)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        self.attempts.append(messages)
        if self.failures:
            raise self.failures.popleft()
        for message in messages:
            if not any(TopicPattern(name).matches(message.topic) for name in self.declared):
                raise BrokerError("no topic", status=Status.NOT_FOUND, processed="no")
        published = []
        for message in messages:
            id = message.id or message.made_id or f"made-{len(self.kept)}"
            is_duplicate = id in self.kept
            self.kept.setdefault(id, message)
            published.append(Published(id, list(self.kept).index(id) + 1, is_duplicate))
        if self.late_failures:
            raise self.late_failures.popleft()
        return published

    async def join(self, group: GroupSettings) -> SmallMembership:
        if self.join_failures:
            raise self.join_failures.popleft()
        self.members.append(SmallMembership(group))
        self._joins.set()
        return self.members[-1]

    async def joined(self, count: int) -> SmallMembership:
        """Wait until `count` members have joined; return the last of them."""
        while len(self.members) < count:
            self._joins.clear()
            await self._joins.wait()
        return self.members[count - 1]

    def delivery(self, token: Any, body: bytes = b"1", **fields: Any) -> Delivery:
        """Return a delivery of JSON; `fields` replace other fields."""
        headers = {"content-type": "application/json"}
        made = Delivery("orders.new", body, None, f"id-{token}", 1, headers, None, PUBLISHED_AT, 1, token)
        return replace(made, **fields)

    async def groups(self) -> Sequence[GroupState]:
        return [GroupState("audit", "orders.new", "orders.new", False, 1, 3, 2.5, 1, 0, 0)]

    async def seek(self, group: str, to: Place) -> None:
        self.asked.append(("seek", group, to))

    async def remove_group(self, group: str) -> None:
        self.asked.append(("remove_group", group))

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        self.asked.append(("dead_letters", group))
        return ()

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        self.asked.append(("replay", group, tuple(ids)))
        return len(ids)

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        self.asked.append(("discard", group, tuple(ids)))
        return len(ids)
