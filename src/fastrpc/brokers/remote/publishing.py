"""Publications over `fastrpc.broker`: messages of one turn of the loop share a call."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Final, NamedTuple

from fastrpc._core.calls.call import scope_deadline
from fastrpc.brokers.base import OutgoingMessage, Published
from fastrpc.brokers.remote.faults import BROKER_ERRORS, broker_error
from fastrpc.brokers.remote.messages import sent, sent_headers
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.client.client import Client
from fastrpc.errors import BrokerError, FastRPCError, copied_error
from fastrpc.status import Status
from fastrpc.user_code import as_error

__all__ = ["Publications"]

#: Messages that share a call. With more of them the broker would have nothing to do while a client with 64 publications
#: under way prepares the next ones.
_MOST_MESSAGES: Final = 16

#: Bytes of the values that share a call: a long one would hold up the others.
_MOST_BYTES: Final = 256 * 1024

#: Statuses of a refusal that may be due to one message alone.
_OF_ONE: Final = frozenset(
    {
        Status.FAILED_PRECONDITION,
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.PERMISSION_DENIED,
        Status.RESOURCE_EXHAUSTED,
    }
)


class _Waiting(NamedTuple):
    """A message, and the wait of its publisher, which ends with None where the message is to go alone."""

    message: OutgoingMessage
    ended: "asyncio.Future[Published | None]"


class _Batch:
    """Messages that will share a call."""

    __slots__ = ("rest", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        #: The messages beside the first one, whose publisher begins the call.
        self.rest: list[_Waiting] = []


class Publications:
    """The messages that a client publishes one by one.

    ::

        first of a turn ──► a turn later: is it alone? ──yes──────────────────────────► publish
        others of the turn ──► its batch ─────────────────no──► publish_many ──refused──► each by `publish`

    The end of one wait ends neither the call nor the other waits. `publish_many` keeps all messages or none, so after a
    refusal each message goes alone, and tells its own fault. A publication with a deadline goes alone as well: its call
    carries the deadline.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # The batch that takes messages.
        self._batch: _Batch | None = None
        # Calls under way, and those of them that have not begun.
        self._calls: set[asyncio.Task[None]] = set()
        self._due: set[asyncio.Task[None] | None] = set()
        # Calls whose publishers are woken in one of the next turns.
        self._answered: deque[tuple[Sequence[_Waiting], Sequence[Published]]] = deque()

    async def publish(self, message: OutgoingMessage) -> Published:
        """Keep a message. BrokerError: it may not be kept."""
        if scope_deadline() is not None:
            return await self._alone(message)
        size = len(message.body)
        batch = self._batch
        if batch is not None and batch.size + size <= _MOST_BYTES:
            waiting = _waiting(message)
            batch.size += size
            batch.rest.append(waiting)
            if len(batch.rest) == _MOST_MESSAGES - 1:
                self._batch = None
        else:
            batch = self._batch = _Batch(size)
            await self._gathered(batch)
            if not batch.rest:
                return await self._alone(message)
            waiting = _waiting(message)
            self._begin([waiting, *batch.rest])
        return await waiting.ended or await self._alone(message)

    async def finish(self) -> None:
        """Return once no call is under way; the client ends them before."""
        if self._calls:
            await asyncio.wait(self._calls)

    async def _gathered(self, batch: _Batch) -> None:
        """Wait for the other messages of this turn. Cancelled: they go without the first one."""
        try:
            await asyncio.sleep(0)
            while self._due and not batch.rest:
                # Earlier messages go first.
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if batch.rest:
                self._begin(batch.rest)
            raise
        finally:
            if self._batch is batch:
                self._batch = None

    async def _alone(self, one: OutgoingMessage) -> Published:
        headers, trace = sent_headers(one.headers)
        with BROKER_ERRORS:
            return await self._client.call(
                BrokerService.publish, one.topic, one.body, one.key, one.id, one.delay, headers, trace
            )

    def _begin(self, batch: Sequence[_Waiting]) -> None:
        """Publish messages, in a task that no cancelled publisher ends."""
        task = asyncio.get_running_loop().create_task(self._together(batch), context=Context())
        self._calls.add(task)
        self._due.add(task)
        task.add_done_callback(partial(self._on_end, batch))

    async def _together(self, batch: Sequence[_Waiting]) -> None:
        self._due.discard(asyncio.current_task())
        published = await self._client.call(BrokerService.publish_many, [sent(one.message) for one in batch])
        if len(published) != len(batch):
            raise BrokerError(f"the broker has answered {len(published)} of {len(batch)} messages")
        self._answered.append((batch, published))
        if len(self._answered) == 1:
            self._wake()

    def _wake(self) -> None:
        """Wake the publishers of one call, and in later turns the others: they go on while others are still woken."""
        for one, published in zip(*self._answered[0], strict=True):
            if not one.ended.done():
                one.ended.set_result(published)
        self._answered.popleft()
        if self._answered:
            asyncio.get_running_loop().call_soon(self._wake, context=Context())

    def _on_end(self, batch: Sequence[_Waiting], task: asyncio.Task[None]) -> None:
        """Tell the publishers of a failed call."""
        self._calls.discard(task)
        self._due.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        told = broker_error(error) if isinstance(error, FastRPCError) else error
        failure = as_error(told, "a publication")
        is_of_one = isinstance(failure, FastRPCError) and failure.processed == "no" and failure.status in _OF_ONE
        for one in batch:
            if one.ended.done():
                continue
            if is_of_one:
                one.ended.set_result(None)
            else:
                one.ended.set_exception(copied_error(failure))


def _waiting(message: OutgoingMessage) -> _Waiting:
    return _Waiting(message, asyncio.get_running_loop().create_future())
