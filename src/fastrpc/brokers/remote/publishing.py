"""Publish over `fastrpc.broker`: messages that are published at about the same time share a call."""

import asyncio
from asyncio import get_running_loop
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Final, TypeAlias

from fastrpc._core.calls.call import scope_deadline
from fastrpc.brokers.base import OutgoingMessage, Published
from fastrpc.brokers.base.checks import check_outgoing
from fastrpc.brokers.remote.faults import BROKER_ERRORS
from fastrpc.brokers.remote.messages import sent, sent_headers
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.client.client import Client
from fastrpc.errors import BrokerError, FastRPCError, copied_error
from fastrpc.status import Status
from fastrpc.user_code import as_error

__all__ = ["Publications"]

#: Most messages of a call. With a smaller limit, each commit of the broker has fewer rows, each of which takes longer.
#: With a greater limit, the broker is idle while a client with 64 publications under way prepares the next messages.
_MOST_MESSAGES: Final = 32

#: Most bytes of the values of a call: a longer call would delay other calls.
_MOST_BYTES: Final = 256 * 1024

#: Iterations of the loop that woken publishers need to publish again and to have their call sent.
_TURNS_BETWEEN: Final = 2

#: Most seconds for which a message is held for the publishers of a call that is about to end: they publish again within
#: this time after they are woken. A distant broker takes longer to answer.
_HELD_SECONDS: Final = 0.001

#: A message is held only if a shared call is expected to end within this time, in seconds. It is longer than
#: `_HELD_SECONDS`, since a call may be faster than the latest call.
_REST_SECONDS: Final = 2 * _HELD_SECONDS

#: Statuses of refusals that a single message of a call may cause.
_OF_ONE: Final = frozenset(
    {
        Status.FAILED_PRECONDITION,
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.PERMISSION_DENIED,
        Status.RESOURCE_EXHAUSTED,
    }
)


#: The future for which a publisher waits. The result None means that the message is sent in a separate call.
_Wait: TypeAlias = "asyncio.Future[Published | None]"


class _Batch:
    """Messages that will share a call."""

    __slots__ = ("has_begun", "is_held", "messages", "size", "waits")

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []
        #: The futures of the publishers, one per message.
        self.waits: list[_Wait] = []
        #: Bytes of the values.
        self.size = 0
        self.has_begun = False
        #: True if the batch is held: its iteration of the loop is over, and it waits for publishers of another call.
        self.is_held = False

    def add(self, message: OutgoingMessage) -> _Wait:
        """Add a message."""
        wait: _Wait = get_running_loop().create_future()
        self.messages.append(message)
        self.waits.append(wait)
        self.size += len(message.body)
        return wait


class Publications:
    """Publishes single messages of a client in shared calls.

    ::

        lone message ──────────────────────────────────────────────► publish
        others ──► a batch, for one iteration ──► one message ─────► publish
                        ▲ │                    └─ several ─────────► publish_many ──refused──► each by `publish`
                        │ ▼ one message, during a shared call
                        held for a millisecond

    A message is sent immediately if no other message is under way and the latest batch had only one message. Every
    other message joins a batch, which is sent in the next iteration of the loop.

    If a batch has only one message while a call with several messages is under way, the batch is held: until the
    publishers of that call were woken and have published again, or for at most a millisecond. Their messages join the
    batch. Otherwise the single message would cause a separate commit of the broker, for which the others would wait. A
    batch is not held if the call is expected to last too long, judged by the latest call. Cancelling one publisher
    cancels neither the call nor the other publishers.

    Messages are sent in the order in which they were published, even if `publish_many` and publications with a deadline
    are called in between. Once `finish` was called, each message is sent alone, and the closed client refuses it.

    `publish_many` keeps all messages or none. So after a refusal each message is sent alone, and each gets its own
    error. A publication with a deadline is sent alone, too, since its call has the deadline.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # The batch to which messages are added.
        self._batch: _Batch | None = None
        # True if the latest batch had several messages.
        self._comes_together = False
        # The number of messages under way that were sent alone.
        self._lone = 0
        # `_calls`: the tasks of all calls of batches. `_shared`: the tasks with several messages, by start time.
        # `_due`: the tasks that have not started.
        self._calls: set[asyncio.Task[None]] = set()
        self._shared: dict[asyncio.Task[None], float] = {}
        self._due: set[asyncio.Task[None] | None] = set()
        # The duration of the latest call with several messages, in seconds.
        self._took = 0.0
        self._is_ending = False
        # Ended calls whose publishers are woken in one of the next iterations of the loop.
        self._answered: deque[tuple[Sequence[_Wait], Sequence[Published]]] = deque()

    async def publish(self, message: OutgoingMessage) -> tuple[Published]:
        """Publish a message; return the answer. BrokerError: the message may not be kept."""
        batch = self._batch
        is_alone = not (self._comes_together or self._lone or batch or self._calls or self._answered)
        has_deadline = scope_deadline() is not None
        if has_deadline:
            await self.release()
        if is_alone or has_deadline or self._is_ending:
            return (await self._alone(message),)
        if batch is not None and batch.size + len(message.body) <= _MOST_BYTES:
            wait = batch.add(message)
            if len(batch.waits) == _MOST_MESSAGES:
                self._begin(batch)
        else:
            # The held batch is full.
            self._begin_held()
            batch = self._batch = _Batch()
            wait = batch.add(message)
            if not await self._is_shared(batch):
                return (await self._alone(message),)
        published = await wait
        return (await self._alone(message) if published is None else published,)

    async def finish(self) -> None:
        """Start no further batches, and wait for the calls of all batches, which the client has ended before."""
        self._is_ending = True
        self._begin_waiting()
        while self._calls:
            # One more batch of the same iteration may start after the current batch, but no further batch.
            await asyncio.wait(self._calls)

    async def _is_shared(self, batch: _Batch) -> bool:
        """Wait for the other messages of this iteration and start their call; return False if there are no others.

        If this is cancelled, the others are sent without the first message. A single message may be held.
        """
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            batch.waits[0].cancel()
            # The call leaves the cancelled message out.
            if not batch.has_begun and len(batch.waits) > 1:
                self._begin(batch)
            self._close(batch)
            raise
        self._comes_together = len(batch.waits) > 1
        # Send this message by a task, too, so that it does not overtake messages that are not sent yet.
        if not batch.has_begun and (self._comes_together or self._due):
            self._begin(batch)
        elif self._batch is batch and self._shared and self._is_end_near():
            batch.is_held = True
            get_running_loop().call_later(_HELD_SECONDS, self._end_hold, batch, context=Context())
        else:
            self._close(batch)
        return batch.has_begun or batch.is_held

    def _is_end_near(self) -> bool:
        """Return whether the earliest shared call is expected to end soon."""
        began = next(iter(self._shared.values()))
        return began + self._took - get_running_loop().time() <= _REST_SECONDS

    async def release(self) -> None:
        """Send all waiting messages now, so that a separate call that follows does not overtake them."""
        self._begin_waiting()
        if self._due:
            # Their calls are sent in the next iteration of the loop.
            await asyncio.sleep(0)

    def _begin_waiting(self) -> None:
        """Start the call of the current batch immediately."""
        if self._batch is not None:
            self._begin(self._batch)

    def _begin_held(self) -> None:
        """Start the call of the current batch if it is held."""
        if self._batch is not None and self._batch.is_held:
            self._begin(self._batch)

    def _end_hold(self, batch: _Batch) -> None:
        """Start the call of a batch that was held for the longest time."""
        if not batch.has_begun:
            self._begin(batch)

    def _close(self, batch: _Batch) -> None:
        """Stop adding messages to a batch."""
        if self._batch is batch:
            self._batch = None

    async def _alone(self, one: OutgoingMessage) -> Published:
        # Only lone messages are checked here. If the server refuses a batch, each message is sent alone.
        check_outgoing(one)
        self._lone += 1
        try:
            with BROKER_ERRORS:
                if one.made_id is not None:
                    # Use `publish_many`: a server of an earlier version ignores an unknown field `age` of a message,
                    # but it would refuse an unknown argument of `publish`.
                    (kept,) = await self._client.call(BrokerService.publish_many, [sent(one)])
                    return kept
                headers, trace = sent_headers(one.headers)
                return await self._client.call(
                    BrokerService.publish, one.topic, one.body, one.key, one.id, one.delay, headers, trace
                )
        finally:
            self._lone -= 1

    def _begin(self, batch: _Batch) -> None:
        """Publish a batch in a separate task, which no cancelled publisher cancels."""
        batch.has_begun = True
        self._close(batch)
        loop = get_running_loop()
        task = loop.create_task(self._together(batch), context=Context())
        self._calls.add(task)
        if len(batch.waits) > 1:
            self._shared[task] = loop.time()
        self._due.add(task)
        task.add_done_callback(partial(self._on_end, batch.waits))

    async def _together(self, batch: _Batch) -> None:
        self._due.discard(asyncio.current_task())
        # Leave out messages whose callers were cancelled.
        pairs = zip(batch.messages, batch.waits, strict=True)
        messages = [sent(message) for message, wait in pairs if not wait.done()]
        waits = [wait for wait in batch.waits if not wait.done()]
        if not waits:
            return
        published = await self._client.call(BrokerService.publish_many, messages)
        if len(published) != len(waits):
            raise BrokerError(f"the broker has answered {len(published)} of {len(waits)} messages")
        self._answered.append((waits, published))
        if len(self._answered) == 1:
            self._wake()

    def _wake(self) -> None:
        """Wake the publishers of one call. When they have sent their next messages, wake the next call's publishers.

        If all were woken together, client and broker would alternate, each waiting for all messages of the other.
        """
        for wait, published in zip(*self._answered[0], strict=True):
            if not wait.done():
                wait.set_result(published)
        get_running_loop().call_soon(self._wake_next, _TURNS_BETWEEN, context=Context())

    def _wake_next(self, turns: int) -> None:
        """Wake the publishers of the next call after `turns` iterations of the loop, including this one."""
        if turns == _TURNS_BETWEEN:
            # The woken publishers have published again in this iteration of the loop.
            self._begin_held()
        if turns > 1:
            get_running_loop().call_soon(self._wake_next, turns - 1, context=Context())
            return
        self._answered.popleft()
        if self._answered:
            self._wake()

    def _on_end(self, waits: Sequence[_Wait], task: asyncio.Task[None]) -> None:
        """Handle the end of a call; pass the error of a failed call to its publishers."""
        self._calls.discard(task)
        self._due.discard(task)
        began = self._shared.pop(task, None)
        if began is not None:
            self._took = get_running_loop().time() - began
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._tell(waits, error)
        if not self._answered:
            # No answer will wake publishers who join a held batch. Start it in the next iteration of the loop: after a
            # failure, publishers publish again by then.
            get_running_loop().call_soon(self._begin_held, context=Context())

    def _tell(self, waits: Sequence[_Wait], error: BaseException) -> None:
        """Pass the error of a call to its publishers."""
        told = BROKER_ERRORS.of(error) if isinstance(error, FastRPCError) else error
        failure = as_error(told, "a publication")
        is_of_one = (
            isinstance(failure, FastRPCError) and failure.processed == "no" and failure.status in _OF_ONE
        )
        for wait in waits:
            if wait.done():
                continue
            if is_of_one:
                wait.set_result(None)
            else:
                wait.set_exception(copied_error(failure))
