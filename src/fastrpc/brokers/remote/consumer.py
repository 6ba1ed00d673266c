"""One member of a group, which a caller uses through one stream of `consume`."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from typing import Any, Final, Protocol

from fastrpc.brokers.base import Delivery, TellingMembership
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.base.texts import copied_headers
from fastrpc.brokers.embedded.takes import Take
from fastrpc.brokers.remote.faults import call_error
from fastrpc.brokers.remote.messages import (
    ConsumeRequest,
    ConsumeResult,
    DeliveredMessage,
    Settlement,
    SettlementFailure,
    delivered,
    weights_of,
)
from fastrpc.brokers.remote.taking import BATCH_BYTES, BatchSize, ended
from fastrpc.brokers.remote.task_signal import TaskSignal
from fastrpc.errors import BrokerError, CallError
from fastrpc.server.wakeup import ended_by_drain
from fastrpc.status import Status
from fastrpc.together import together

__all__ = ["MOST_UNDER_WAY", "Consumer", "ServedMembership"]

#: Most messages that a consumer may hold unsettled.
MOST_UNDER_WAY: Final = 100_000


@dataclass(slots=True)
class _News:
    """The content of a result that is not sent yet."""

    deliveries: list[DeliveredMessage] = field(default_factory=list)
    has_more: bool = False
    is_idle: bool = False
    kept: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    failures: list[SettlementFailure] = field(default_factory=list)

    def result(self) -> ConsumeResult:
        return ConsumeResult(
            self.deliveries, self.has_more, self.is_idle, self.kept, self.lost, self.failures
        )

    @property
    def numbers(self) -> int:
        """The number of settlements that the result reports."""
        return len(self.kept) + len(self.lost) + len(self.failures)


class ServedMembership(TellingMembership, Protocol):
    """A member whose takes need no task. For arguments and errors see `EmbeddedMembership`."""

    def begin_take(self, most: int, on_end: Callable[[Take], None]) -> Take: ...

    def withdraw(self, take: Take) -> None: ...


class Consumer:
    """Takes and settles messages for a caller.

    ::

        ConsumeRequest ──► read ──► take, acks: callbacks; others: tasks ──► news ──► ConsumeResult

    At most one take is open, and none while deliveries wait to be sent. So a caller that reads slowly gets no further
    messages.

    Args:
        membership: the membership, which `close` closes.
        check: raises an error if the caller's permission has ended.
    """

    def __init__(self, membership: ServedMembership, check: Callable[[], None]) -> None:
        self._membership = membership
        self._check = check
        # The tokens of unsettled deliveries, by the numbers that the caller knows.
        self._under_way: dict[int, Any] = {}
        self._numbers = count(1)
        self._size = BatchSize()
        self._wanted = 0
        self._taking: Take | None = None
        # The number of acks that the broker has not kept yet.
        self._acks = 0
        self._settling: set[asyncio.Task[None]] = set()
        self._news: deque[_News] = deque()
        # Set when `next` has to check its conditions again.
        self._wake = TaskSignal()
        self._reading: asyncio.Future[None] | None = None
        self._has_ended = False
        self._failure: BaseException | None = None
        self._context = copy_context()

    def begin(self, requests: AsyncIterator[ConsumeRequest], drain: asyncio.Future[None]) -> None:
        """Start to process the requests of the caller."""
        self._drain = drain
        drain.add_done_callback(self._wake.set)
        self._reading = asyncio.ensure_future(self._read(requests))
        self._reading.add_done_callback(self._on_read)

    async def next(self) -> ConsumeResult | None:
        """Wait for the next result; return None after the last request of the caller, once every delivery is settled.

        Raises:
            CallError: the broker or a request is at fault, or the connection drains.
        """
        while True:
            self._wake.clear()
            if self._news:
                return self._news.popleft().result()
            # The previous deliveries were sent, so the next take may start.
            self._begin_take()
            if self._failure is not None:
                raise self._failure
            if self._drain.done():
                raise ended_by_drain()
            if self._has_ended and not self._settling and not self._acks:
                return None
            await self._wake.wait()

    def note_losses(self) -> None:
        """Report to the caller which messages other members may already have."""
        lost = [number for number, token in self._under_way.items() if self._membership.is_lost(token)]
        for number in lost:
            del self._under_way[number]
        if lost:
            self._latest().lost += lost

    async def _read(self, requests: AsyncIterator[ConsumeRequest]) -> None:
        async for request in requests:
            if self._news and self._news[-1].numbers > MOST_UNDER_WAY:
                raise CallError(
                    Status.RESOURCE_EXHAUSTED,
                    f"more than {MOST_UNDER_WAY} settlements wait for the consumer to read their results",
                )
            for settlement in request.settlements:
                check_pause(settlement.delay)
            if request.settlements:
                self._spawn(self._settle(request.settlements))
            if request.acks:
                self._acknowledge(request.acks, may_wait=request.may_wait)
            if request.take is not None:
                self._ask(request.take)

    def _on_read(self, task: asyncio.Future[None]) -> None:
        self._has_ended = True
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._wake.set()

    # Messages to the caller

    def _ask(self, most: int) -> None:
        if most < 0:
            raise CallError(Status.INVALID_ARGUMENT, f"take is {most}, it must be a number from 0")
        if most and len(self._under_way) >= MOST_UNDER_WAY:
            raise CallError(
                Status.RESOURCE_EXHAUSTED,
                f"the consumer has {len(self._under_way)} messages to settle, the limit is {MOST_UNDER_WAY}",
            )
        self._wanted = most
        if most:
            self._begin_take()
        else:
            if self._taking is not None:
                self._membership.withdraw(self._taking)
                self._taking = None
            self._latest().is_idle = True

    def _begin_take(self) -> None:
        if (
            self._wanted
            and self._taking is None
            and self._failure is None
            and not any(one.deliveries for one in self._news)
        ):
            most, self._wanted = min(self._wanted, self._size.messages), 0
            try:
                take = self._membership.begin_take(most, self._on_taken)
            except BrokerError as error:
                self._fail(error)
                return
            if take.found:
                self._deliver(take.found)
            else:
                self._taking = take

    def _on_taken(self, take: Take) -> None:
        self._taking = None
        if take.error is not None:
            self._fail(take.error)
        else:
            # A step of another caller may end the take, but the check must run in the context of this caller.
            self._context.run(self._deliver, take.found)

    def _deliver(self, found: Sequence[Delivery]) -> None:
        weights = weights_of(found)
        self._size.note(weights)
        numbers = list(islice(self._numbers, len(found)))
        for number, one in zip(numbers, found, strict=True):
            self._under_way[number] = one.token
        try:
            # Check before each delivery: a permission may end before the stream does.
            self._check()
        except Exception as refusal:
            # Catch every error of a program's access check: this code may run in a step of another caller.
            self._fail(refusal)
            self._spawn(self._hand_back(numbers))
            return
        news, size = self._latest(), 0
        if news.is_idle:
            # Use another result: `is_idle` of the last result says that no delivery follows the messages in it.
            news = self._further()
        shared: Mapping[str, str] = {}
        headers: Mapping[str, str] | None = None
        for number, one, bytes_of_one in zip(numbers, found, weights, strict=True):
            if size + bytes_of_one > BATCH_BYTES and news.deliveries:
                news.has_more = True
                news, size = self._further(), 0
            size += bytes_of_one
            if one.headers is not headers:
                headers, shared = one.headers, copied_headers(one.headers)
            news.deliveries.append(delivered(number, one, shared))

    # The ends of deliveries

    def _acknowledge(self, numbers: Sequence[int], *, may_wait: bool) -> None:
        held: dict[int, Any] = {}
        for number in numbers:
            if (token := self._under_way.pop(number, None)) is not None:
                held[number] = token
            else:
                self._latest().lost.append(number)
        if not held:
            return
        self._acks += 1
        told = partial(self._on_acks, held)
        try:
            self._membership.begin_acks(list(held.values()), told, may_wait=may_wait)
        except BrokerError as error:
            told((), error)

    def _on_acks(self, held: dict[int, Any], settled: Sequence[bool], error: BrokerError | None) -> None:
        self._acks -= 1
        news = self._latest()
        if error is not None:
            self._under_way.update(held)
            news.failures += [_failure(number, error) for number in held]
        elif all(settled):
            news.kept += held
        else:
            for number, is_kept in zip(held, settled, strict=True):
                (news.kept if is_kept else news.lost).append(number)

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        ends: list[tuple[int, Any, Awaitable[bool]]] = []
        for one in settlements:
            if (token := self._under_way.pop(one.number, None)) is not None:
                ends.append((one.number, token, ended(self._membership, token, one)))
            else:
                self._latest().lost.append(one.number)
        outcomes = await asyncio.gather(*(end for _, _, end in ends), return_exceptions=True)
        news = self._latest()
        for (number, token, _), outcome in zip(ends, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                (news.kept if outcome else news.lost).append(number)
            elif isinstance(outcome, BrokerError):
                self._under_way[number] = token
                news.failures.append(_failure(number, outcome))
            else:
                raise outcome

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._on_settled)

    def _on_settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._wake.set()

    async def _hand_back(self, numbers: Sequence[int]) -> None:
        # Skip numbers that are settled already.
        tokens = [self._under_way.pop(number) for number in numbers if number in self._under_way]
        await together(map(self._membership.hand_back, tokens))

    # The end

    def _latest(self) -> _News:
        """Return the content of the last unsent result."""
        self._wake.set()
        return self._news[-1] if self._news else self._further()

    def _further(self) -> _News:
        """Append a further result and return its content."""
        self._news.append(_News())
        return self._news[-1]

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = call_error(error) or error
        self._wake.set()

    async def close(self) -> None:
        """Leave the group. Its messages are delivered again; only deliveries that were sent to the caller count."""
        self._wanted = 0
        if self._taking is not None:
            self._membership.withdraw(self._taking)
        tasks: list[asyncio.Future[Any]] = [*self._settling]
        if self._reading is not None:
            self._reading.cancel()
            tasks.append(self._reading)
        try:
            if tasks:
                await asyncio.wait(tasks)
            unsent = [one.number for news in self._news for one in news.deliveries]
            await self._hand_back(unsent)
        finally:
            await self._membership.close()


def _failure(number: int, error: BrokerError) -> SettlementFailure:
    return SettlementFailure(number, error.status.name, error.message, error.retryable)
