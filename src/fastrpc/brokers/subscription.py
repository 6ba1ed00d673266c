"""A subscription: an asynchronous iterator of messages, which survives outages of its broker.

One task takes messages from the membership while there is room. If the broker becomes unreachable, the task tries to
join again; messages of the former membership count as lost.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

from fastrpc.brokers.base import Delivery, Membership
from fastrpc.brokers.member_messages import MemberMessages, absence_in, logged_absence
from fastrpc.brokers.message import Message
from fastrpc.cancelling import cancelled
from fastrpc.errors import BrokerError, DecodeError, copied_error
from fastrpc.hosted.verbs import PATIENCE_SECONDS, Verbs, pause_asked_by, pauses
from fastrpc.rpc.json_values import loggable
from fastrpc.time_limit import time_limit
from fastrpc.user_code import as_error

__all__ = ["Subscription"]

logger = logging.getLogger("fastrpc.broker")

T = TypeVar("T")

#: Iterations of the loop within which the request of a take is sent.
_TURNS_TO_LEAVE: Final = 2

_finish: Final = Verbs(BrokerError).finish


class Subscription(Generic[T]):
    """The messages of a group: an asynchronous context manager, and an iterator inside.

    Several tasks may iterate; each message is returned to one of them. The end of the block hands back all unsettled
    messages. Their deliveries do not count, except if an exception ends the block: then deliveries of messages that the
    iterator has returned count.
    """

    def __init__(
        self,
        name: str,
        join: Callable[[], Awaitable[Membership]],
        decode: Callable[[Delivery], T],
        in_flight: int,
        is_open: set["Subscription[Any]"],
    ) -> None:
        self._name = name
        self._join = join
        self._decode = decode
        self._in_flight = in_flight
        # The set belongs to the broker, which closes all subscriptions in it when it is closed.
        self._is_open = is_open
        self._member: MemberMessages | None = None
        self._task: asyncio.Task[None] | None = None
        # Messages that have arrived and that the iterator has not returned yet.
        self._ready: deque[Message[T]] = deque()
        # Messages that `close` does not hand back.
        self._kept: Collection[Message[T]] = ()
        self._failure: Exception | None = None
        # `_has_stopped`: whether the subscription takes no more messages; `_is_left`: whether it has left its group.
        self._has_stopped = self._is_left = False
        # Futures of waiting iterators, the longest wait first; each message wakes one iterator.
        self._waiters: deque[asyncio.Future[None]] = deque()
        # Set when there may be room for more messages.
        self._room = asyncio.Event()
        #: Called when all returned messages count as lost, because the membership has ended.
        self.on_lost: Callable[[], None] = lambda: None
        #: Called when `next_now` has messages. By default it wakes waiting iterators.
        self.on_messages: Callable[[], None] = lambda: self._wake(len(self._ready))

    async def __aenter__(self) -> Self:
        self._check_unused()
        await self._begin(await _finish(f"the subscription to {self._name!r}", self._join))
        return self

    async def begin(self) -> None:
        """Start without `async with`. If the broker is unreachable, join the group once it can be reached.

        Raises:
            ConfigError: the broker lacks a feature that an option requires.
            BrokerError: the broker refuses it.
        """
        self._check_unused()
        membership: Membership | None = None
        try:
            async with time_limit(PATIENCE_SECONDS):
                membership = await self._join()
        except (BrokerError, TimeoutError) as error:
            if isinstance(error, BrokerError) and not error.retryable:
                raise
            text = "the subscription to %r begins later, as the broker is away: %s"
            logger.warning(text, self._name, absence_in(error))
        await self._begin(membership)

    def _check_unused(self) -> None:
        if self._task is not None or self._has_stopped:
            raise RuntimeError("a subscription is entered once; make another one with subscribe(…)")

    async def _begin(self, membership: Membership | None) -> None:
        """Start the task that takes messages. If `membership` is None, the task joins the group first."""
        if self._has_stopped:
            # While it joined.
            if membership is not None:
                async with logged_absence():
                    await membership.close()
            return
        self._member = (
            None if membership is None else MemberMessages(membership, self._in_flight, self._room.set)
        )
        self._is_open.add(self)
        # The task has an empty context, since it runs longer than the caller's deadline.
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._keep_taking(), context=contextvars.Context())
        self._task.add_done_callback(self._on_end)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave(has_failed=isinstance(error, Exception))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T]:
        """Return the next message. After a retryable BrokerError the iteration can be continued.

        Raises:
            BrokerError: the broker has been unreachable for 5 s, or the group was removed.
        """
        while (message := self.next_now()) is None:
            if self._is_left:
                raise StopAsyncIteration
            if self._task is None:
                raise RuntimeError("a subscription is entered by `async with` first")
            if (failure := self._failure) is not None:
                if not self._task.done():
                    self._failure = None
                raise copied_error(failure)
            await self._wait()
        return message

    def next_now(self) -> Message[T] | None:
        """Return the next message that has arrived and is still held, or None; do not wait."""
        while self._ready and not self._is_left:
            message = self._ready.popleft()
            if not message.is_lost:
                return message
            # Skip the message: another member may already have it.
            if self._member is not None:
                self._member.forget(message)
        return None

    def put_back(self, message: Message[T]) -> None:
        """Put a message back at the front, so that it is returned again: its receiver was interrupted."""
        if not self._is_left:
            self._ready.appendleft(message)
            self._wake(1)

    def begin_acks(self, messages: Sequence[Message[T]], tell: Callable[[BrokerError | None], None]) -> bool:
        """Acknowledge messages without a task; return False if the backend does not support this.

        Args:
            tell: called with None when `acknowledge` would return, or with the error that it would raise.
        """
        member = self._member
        if member is None:
            tell(None)
            return True
        return member.begin_acks(messages, tell)

    async def acknowledge(self, messages: Sequence[Message[T]]) -> None:
        """Acknowledge returned messages; skip lost messages.

        Raises:
            BrokerError: the broker is unreachable; messages that are not lost can be acknowledged again.
        """
        if self._member is not None:
            await self._member.acknowledge(messages)

    async def stop_taking(self, refused: Sequence[Message[T]] = ()) -> None:
        """Stop taking messages, and hand back messages that were not returned yet. The others can still be settled.

        Args:
            refused: returned messages that are handed back, too.
        """
        self._has_stopped = True
        if self._task is not None:
            await cancelled([self._task])
        back = [*self._ready, *refused]
        self._ready.clear()
        if self._member is not None:
            await self._member.hand_back([message for message in back if not message.is_lost])

    async def keep(self, messages: Collection[Message[T]]) -> None:
        """Stop taking messages, and hand back all except the given messages, which can still be settled.

        If a given message is unsettled when the subscription is closed, its delivery counts.
        """
        self._kept = messages
        await self.stop_taking()
        if self._member is not None:
            await self._member.hand_back(self._member.unsettled_but(messages))

    async def close(self) -> None:
        """Leave the group: hand back all unsettled messages, and end the iteration."""
        await self._leave()

    aclose = close

    async def _leave(self, *, has_failed: bool = False) -> None:
        if self._is_left:
            return
        self._has_stopped = self._is_left = True
        self._wake(len(self._waiters))
        self._is_open.discard(self)
        try:
            if self._task is not None:
                await cancelled([self._task])
        finally:
            if self._member is not None:
                back = list(self._ready) if has_failed else self._member.unsettled_but(self._kept)
                await self._member.leave(back)
            self._ready.clear()

    async def _wait(self) -> None:
        """Wait until there is a message, a failure or the end."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
            else:
                # This cancelled iterator was woken for a message: wake another iterator.
                self._wake(1)
            raise

    def _wake(self, count: int) -> None:
        """Wake this many waiting iterators, not counting cancelled iterators."""
        while count and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    async def _keep_taking(self) -> None:
        """Take messages until the block ends; join again after an outage of the broker."""
        absence = _Absence()
        # Check the flag, since the client library of a broker may replace a cancellation by another error.
        while not self._has_stopped:
            try:
                if self._member is None:
                    self._member = MemberMessages(await self._join(), self._in_flight, self._room.set)
                    self._failure = None
                    logger.info("the subscription to %r has joined, as the broker is back", self._name)
                    absence.interrupt()
                await self._take_from(self._member, absence)
            except Exception as error:
                await self._lose_member()
                if not isinstance(error, BrokerError) or not error.retryable:
                    raise
                pause = absence.note(error)
                if absence.is_long:
                    self._fail(error)
                if not self._has_stopped:
                    await asyncio.sleep(pause)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """End waiting iterators with an error, since no more messages arrive."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            error = BrokerError(
                f"the subscription to {self._name!r} has ended, as its task was cancelled", processed="no"
            )
        self._fail(as_error(error, f"the subscription to {self._name!r}"))

    async def _take_from(self, member: MemberMessages, absence: "_Absence") -> None:
        """Take messages until the membership ends with an error."""
        ahead = _TakeAhead(member)
        try:
            while True:
                while not ahead.has_begun and member.room() <= 0:
                    self._room.clear()
                    await self._room.wait()
                await self._pass_on(await ahead.take(), member, ahead)
                absence.end()
        finally:
            await ahead.end()

    async def _pass_on(self, found: Sequence[Delivery], member: MemberMessages, ahead: "_TakeAhead") -> None:
        """Decode deliveries and pass them to the iterator; make undecodable messages dead letters.

        This is a separate function so that the wait for further deliveries has no references to these messages.
        """
        faulty = [fault for one in found if (fault := self._read(one, member)) is not None]
        if len(found) > 1 and member.room() > 0:
            await ahead.begin()
        self.on_messages()
        for message, error in faulty:
            logger.warning("%r is a dead letter of its group: %s", message, loggable(error))
            await member.bury(message, str(error))

    def _read(self, delivery: Delivery, member: MemberMessages) -> tuple[Message[T], DecodeError] | None:
        """Decode a delivery and queue its message for the iterator; return it with its error if it is undecodable."""
        try:
            value = self._decode(delivery)
        except DecodeError as error:
            message = Message(delivery, cast(T, None), member)
            member.unsettled[message] = None
            return message, error
        message = Message(delivery, value, member)
        member.unsettled[message] = None
        self._ready.append(message)
        return None

    async def _lose_member(self) -> None:
        """Leave a failed membership. The broker delivers its messages again to members of the group."""
        member, self._member = self._member, None
        self._ready.clear()
        if member is not None:
            self.on_lost()
            await member.leave(())

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._wake(len(self._waiters))


class _TakeAhead:
    """A take that starts before the messages of the previous take are handled, so that the broker sends the next ones.

    There is room for its messages: handlers that run in the meantime only free more room.
    """

    def __init__(self, member: MemberMessages) -> None:
        self._member = member
        self._taking: asyncio.Task[Sequence[Delivery]] | None = None

    @property
    def has_begun(self) -> bool:
        """True if a take is in progress, or has messages."""
        return self._taking is not None

    async def begin(self) -> None:
        """Send a take to the broker before the handlers of the present messages run."""
        self._taking = asyncio.get_running_loop().create_task(self._member.take())
        for _ in range(_TURNS_TO_LEAVE):
            await asyncio.sleep(0)

    async def take(self) -> Sequence[Delivery]:
        """Return the messages of the take that was started, or of a new take."""
        if self._taking is None:
            return await self._member.take()
        found = await self._taking
        self._taking = None
        return found

    async def end(self) -> None:
        """Cancel the take that was started, and hand back its messages."""
        taking, self._taking = self._taking, None
        if taking is None:
            return
        await cancelled([taking])
        if not taking.cancelled() and taking.exception() is None:
            await self._member.return_deliveries(taking.result())


class _Absence:
    """The duration of an outage, from the first failure after the last message.

    If the broker lets a member join but fails again soon, the outage continues. It ends with a message, or after a
    membership that lasted as long as a subscriber waits for an error.
    """

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._joined_at: float | None = self._now()
        self._since: float | None = None
        self._pause = pauses()
        #: True if the outage has lasted so long that subscribers get an error.
        self.is_long = False

    def interrupt(self) -> None:
        """Record a new membership."""
        self._joined_at = self._now()

    def end(self) -> None:
        """Note messages."""
        if self._since is not None:
            self._since, self._pause = None, pauses()

    def note(self, error: BrokerError) -> float:
        """Record a failure; return the seconds until the next attempt, at least as long as the broker asks for."""
        now = self._now()
        if self._joined_at is not None and now - self._joined_at > PATIENCE_SECONDS:
            self.end()
        self._joined_at = None
        if self._since is None:
            self._since = now
        asked = pause_asked_by(error)
        self.is_long = now + asked - self._since > PATIENCE_SECONDS
        return max(self._pause(), asked)
