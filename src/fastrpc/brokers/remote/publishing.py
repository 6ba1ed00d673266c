"""Publications over `fastrpc.broker`: messages that are published at about the same time share a call."""

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

#: Messages that share a call. With fewer, a commit of the broker has fewer rows, each of which costs more; with more,
#: the broker is idle while a client with 64 publications under way prepares the next ones.
_MOST_MESSAGES: Final = 32

#: Bytes of the values that share a call: a longer call would delay the others.
_MOST_BYTES: Final = 256 * 1024

#: Turns of the loop in which woken publishers publish again and their call is sent.
_TURNS_BETWEEN: Final = 2

#: Seconds for which a message waits for others that share a call: the woken publishers of a call that ends publish
#: again within this time, and a broker far away takes longer to answer.
_HELD_SECONDS: Final = 0.001

#: A message is held if a call that others share is expected to end within this time. It is longer than the hold, since
#: a call may end earlier than the latest one took. A call with a longer rest would not end within the hold.
_REST_SECONDS: Final = 2 * _HELD_SECONDS

#: Statuses of a refusal whose cause may be a single message.
_OF_ONE: Final = frozenset(
    {
        Status.FAILED_PRECONDITION,
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.PERMISSION_DENIED,
        Status.RESOURCE_EXHAUSTED,
    }
)


#: The wait of a publisher; None as its result means that the message is sent in a separate call.
_Wait: TypeAlias = "asyncio.Future[Published | None]"


class _Batch:
    """Messages that will share a call."""

    __slots__ = ("has_begun", "is_held", "messages", "size", "waits")

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []
        #: One wait for each message.
        self.waits: list[_Wait] = []
        #: Bytes of the values.
        self.size = 0
        self.has_begun = False
        #: Whether its turn is over and it waits for the publishers of a call.
        self.is_held = False

    def add(self, message: OutgoingMessage) -> _Wait:
        """Add a message."""
        wait: _Wait = get_running_loop().create_future()
        self.messages.append(message)
        self.waits.append(wait)
        self.size += len(message.body)
        return wait


class Publications:
    """Messages that a client publishes one by one.

    ::

        alone so far ──────────────────────────────────────────────► publish
        others ──► a batch, until the next turn ──► one message ───► publish
                        ▲ │                     └── several ───────► publish_many ──refused──► each by `publish`
                        │ ▼ one message, beside a call of several
                        held for a millisecond

    A message is alone so far if no other one is under way and the latest batch had one message: it is sent at once. All
    others wait until the next turn of the loop for the messages that are published in this turn.

    A message that is alone in its batch while others share a call is held until the publishers of a call are woken and
    have published again, for a millisecond at most: their messages join it. Otherwise it would repeatedly have a
    separate commit of the broker, and the others would wait for that commit. A call that is not expected to end soon,
    since the latest one took longer, holds no message. The end of one wait ends neither the call nor the other waits.

    Messages are sent in the order in which they were published, also during `publish_many` and publications with a
    deadline. After `finish` has begun each message is sent alone, and the closed client refuses it.

    `publish_many` keeps all messages or none, so after a refusal each message is sent alone, and its error names its
    own fault. A publication with a deadline is sent alone as well: its call carries the deadline.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # The batch that takes messages.
        self._batch: _Batch | None = None
        # Whether the latest batch had several messages.
        self._comes_together = False
        # The number of messages that are sent alone.
        self._lone = 0
        # The tasks of all calls with batches; of calls with several messages, with the instant at which each began, the
        # earliest first; and of calls that have not begun.
        self._calls: set[asyncio.Task[None]] = set()
        self._shared: dict[asyncio.Task[None], float] = {}
        self._due: set[asyncio.Task[None] | None] = set()
        # Seconds that the latest call took that several messages shared.
        self._took = 0.0
        self._is_ending = False
        # Calls whose publishers are woken in one of the next turns.
        self._answered: deque[tuple[Sequence[_Wait], Sequence[Published]]] = deque()

    async def publish(self, message: OutgoingMessage) -> tuple[Published]:
        """Keep a message; return its answer. BrokerError: it may not be kept."""
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
            # There is no room in a batch that is held.
            self._begin_held()
            batch = self._batch = _Batch()
            wait = batch.add(message)
            if not await self._is_shared(batch):
                return (await self._alone(message),)
        published = await wait
        return (await self._alone(message) if published is None else published,)

    async def finish(self) -> None:
        """Begin no further batch, and return once the calls of all batches have ended; the client ends them before."""
        self._is_ending = True
        self._begin_waiting()
        while self._calls:
            # Behind the batch that took messages another batch of the same turn may begin, and then no further batch.
            await asyncio.wait(self._calls)

    async def _is_shared(self, batch: _Batch) -> bool:
        """Wait for the other messages of this turn, and begin their call; return False if there are none.

        Cancelled: the others are sent without the first one. While others share a call a single message is held.
        """
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            batch.waits[0].cancel()
            # The call leaves it out.
            if not batch.has_begun and len(batch.waits) > 1:
                self._begin(batch)
            self._close(batch)
            raise
        self._comes_together = len(batch.waits) > 1
        # A message after others that have not been sent is sent like them, not before them.
        if not batch.has_begun and (self._comes_together or self._due):
            self._begin(batch)
        elif self._batch is batch and self._shared and self._is_end_near():
            batch.is_held = True
            get_running_loop().call_later(_HELD_SECONDS, self._end_hold, batch, context=Context())
        else:
            self._close(batch)
        return batch.has_begun or batch.is_held

    def _is_end_near(self) -> bool:
        """Return whether the earliest call that messages share is expected to end soon."""
        began = next(iter(self._shared.values()))
        return began + self._took - get_running_loop().time() <= _REST_SECONDS

    async def release(self) -> None:
        """Let all messages leave that have not left: a call that shares nothing with them is to follow."""
        self._begin_waiting()
        if self._due:
            # Their calls are sent in the next turn.
            await asyncio.sleep(0)

    def _begin_waiting(self) -> None:
        """Begin the call of the batch that takes messages, whether its turn is over or not."""
        if self._batch is not None:
            self._begin(self._batch)

    def _begin_held(self) -> None:
        """Begin the call of a batch that is held."""
        if self._batch is not None and self._batch.is_held:
            self._begin(self._batch)

    def _end_hold(self, batch: _Batch) -> None:
        """Begin the call of a batch that was held for as long as may be."""
        if not batch.has_begun:
            self._begin(batch)

    def _close(self, batch: _Batch) -> None:
        """Let a batch accept no more messages."""
        if self._batch is batch:
            self._batch = None

    async def _alone(self, one: OutgoingMessage) -> Published:
        # The server checks the other messages: a message that it refuses in the batch is then sent alone.
        check_outgoing(one)
        self._lone += 1
        try:
            with BROKER_ERRORS:
                if one.made_id is not None:
                    # A server of an earlier version skips a field that it does not know, and refuses an argument.
                    (kept,) = await self._client.call(BrokerService.publish_many, [sent(one)])
                    return kept
                headers, trace = sent_headers(one.headers)
                return await self._client.call(
                    BrokerService.publish, one.topic, one.body, one.key, one.id, one.delay, headers, trace
                )
        finally:
            self._lone -= 1

    def _begin(self, batch: _Batch) -> None:
        """Publish messages, in a task that no cancelled publisher ends."""
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
        # Nothing is published for callers that were cancelled until now.
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
        """Wake the publishers of one call, and later the publishers of the next call, when its messages are sent.

        Otherwise client and broker would work in turn: each would wait for all messages that are under way.
        """
        for wait, published in zip(*self._answered[0], strict=True):
            if not wait.done():
                wait.set_result(published)
        get_running_loop().call_soon(self._wake_next, _TURNS_BETWEEN, context=Context())

    def _wake_next(self, turns: int) -> None:
        """Wake the publishers of the next call when some turns of the loop have passed, this one included."""
        if turns == _TURNS_BETWEEN:
            # The woken publishers have published again in this turn.
            self._begin_held()
        if turns > 1:
            get_running_loop().call_soon(self._wake_next, turns - 1, context=Context())
            return
        self._answered.popleft()
        if self._answered:
            self._wake()

    def _on_end(self, waits: Sequence[_Wait], task: asyncio.Task[None]) -> None:
        """Note the end of a call, and tell the publishers of a failed call."""
        self._calls.discard(task)
        self._due.discard(task)
        began = self._shared.pop(task, None)
        if began is not None:
            self._took = get_running_loop().time() - began
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._tell(waits, error)
        if not self._answered:
            # No answer is about to wake publishers; after a failure its publishers publish again in the next turn.
            get_running_loop().call_soon(self._begin_held, context=Context())

    def _tell(self, waits: Sequence[_Wait], error: BaseException) -> None:
        """Give publishers the error of their call."""
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
