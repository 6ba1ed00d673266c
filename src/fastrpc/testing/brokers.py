"""A broker in memory whose clock is moved by the test."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastrpc.brokers.base import Delivery, OutgoingMessage, Published
from fastrpc.brokers.broker import Broker
from fastrpc.brokers.memory import MemoryBroker
from fastrpc.brokers.topic import Topic
from fastrpc.brokers.values import decoder_of, readable_headers
from fastrpc.errors import DecodeError
from fastrpc.testing.clock import FakeClock

__all__ = ["KeptMessage", "SteeredBroker", "broker"]

#: More loop iterations than pass from the moment when a message can be delivered to the start of its handler.
_TURNS: Final = 10

#: Loop iterations after which handlers are assumed to run in threads, which need real time.
_BUSY_TURNS: Final = 200
_PAUSE_SECONDS: Final = 0.001

_NANOSECOND: Final = 1e-9


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that was published."""

    topic: str

    #: The value as subscribers get it; bytes if it cannot be decoded.
    value: Any
    key: str | None
    id: str
    delay: float
    headers: Mapping[str, str]


class SteeredBroker(Broker):
    """A broker whose delays and retries elapse only by `advance`.

    Attributes:
        published: the messages that were published by this object, in their order, without duplicates.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._time = clock
        began = datetime.now(UTC) - timedelta(seconds=clock())
        self._memory = MemoryBroker(clock=clock, wall=lambda: began + timedelta(seconds=clock()))
        self.published: list[KeptMessage] = []
        super().__init__(self._memory)

    async def advance(self, seconds: float) -> None:
        """Move the clock, from one due message to the next. Each message is handled before the clock moves on."""
        end = self._time() + seconds
        while True:
            await self.settled()
            due = self._memory.next_due()
            if due is None or due > end:
                break
            self._move_to(due)
        self._move_to(end)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the subscribers of servers have nothing to do at the clock's present time."""
        quiet = turns = 0
        while quiet < _TURNS:
            turns += 1
            await asyncio.sleep(0 if turns < _BUSY_TURNS else _PAUSE_SECONDS)
            is_idle = all(one.is_idle for one in self.subscribers)
            quiet = quiet + 1 if is_idle and not await self._holds_any() else 0

    async def _holds_any(self) -> bool:
        """Return whether messages are assigned to subscribers that have not started to handle them."""
        groups = {one.group for one in self.subscribers}
        return any(state.under_way and state.name in groups for state in await self._memory.groups())

    def _move_to(self, instant: float) -> None:
        # The clock counts whole nanoseconds: add one, so that it passes the instant in any case.
        left = max(0.0, instant - self._time())
        if left:
            self._time.advance(math.ceil(left / _NANOSECOND) * _NANOSECOND + _NANOSECOND)
        self._memory.catch_up()

    async def keep(self, topic: Topic[Any] | str, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Store messages, and record them in `published`."""
        kept = await super().keep(topic, messages)
        decode = decoder_of(topic.type if isinstance(topic, Topic) else None)
        for message, published in zip(messages, kept, strict=True):
            if not published.is_duplicate:
                try:
                    value = decode(_delivery(message, published))
                except DecodeError:
                    value = message.body
                headers = readable_headers(message.headers)
                self.published.append(
                    KeptMessage(message.topic, value, message.key, published.id, message.delay, headers)
                )
        return kept


def _delivery(message: OutgoingMessage, published: Published) -> Delivery:
    return Delivery(
        topic=message.topic,
        body=message.body,
        key=message.key,
        id=published.id,
        sequence=published.sequence,
        headers=message.headers,
        publisher=message.publisher,
        published_at=datetime.now(UTC),
        delivery=1,
        token=None,
    )


@asynccontextmanager
async def broker(clock: FakeClock | None = None) -> AsyncIterator[SteeredBroker]:
    """Yield a broker in memory, with `advance`, `settled` and `published`.

    ::

        async with fastrpc.testing.broker() as broker, fastrpc.testing.connected(Billing(), broker=broker):
            await broker.publish(orders, Order("17", 40))
            await broker.settled()

    Args:
        clock: the clock of delays and retries; None: a new clock.
    """
    async with SteeredBroker(FakeClock() if clock is None else clock) as opened:
        yield opened
