"""A subscription: an asynchronous iterator of messages, which outlives the absence of its broker.

One task takes messages from the membership while there is room. While the broker is away it tries to join again;
messages of the former membership then count as lost.
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
from fastrpc.errors import BrokerError, DecodeError, copied_error
from fastrpc.hosted.verbs import PATIENCE_SECONDS, Verbs, pause_asked_by, pauses
from fastrpc.rpc.json_values import loggable
from fastrpc.time_limit import time_limit
from fastrpc.user_code import as_error

__all__ = ["Subscription", "cancelled"]

logger = logging.getLogger("fastrpc.broker")

T = TypeVar("T")

#: Turns of the loop in which the request of a take is sent.
_TURNS_TO_LEAVE: Final = 2

#: Seconds until a cancelled task that goes on is cancelled again; longer than its cleanup takes.
_AGAIN_SECONDS: Final = PATIENCE_SECONDS + 1.0

_finish: Final = Verbs(BrokerError).finish


async def cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, and wait for its end. A client of a broker may drop a cancellation, so it is repeated."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_SECONDS)


class Subscription(Generic[T]):
    """The messages of a group: an asynchronous context manager, and an iterator inside.

    Several tasks may iterate; each message is for one of them. The end of the block hands back all unsettled messages,
    uncounted. If an exception ends the block, messages that the iterator returned are counted.
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
        # The set belongs to the broker, which ends subscriptions that are left open.
        self._is_open = is_open
        self._member: MemberMessages | None = None
        self._task: asyncio.Task[None] | None = None
        # Messages that the iterator has not yielded yet.
        self._ready: deque[Message[T]] = deque()
        # Messages that are not handed back at the end.
        self._kept: Collection[Message[T]] = ()
        self._failure: Exception | None = None
        # Whether it takes no more messages, and whether it has left its group too.
        self._has_stopped = self._is_left = False
        # Iterators that wait, the longest wait first; each message wakes one.
        self._waiters: deque[asyncio.Future[None]] = deque()
        # A message was settled.
        self._room = asyncio.Event()
        #: Called when all returned messages count as lost, since the broker was away.
        self.on_lost: Callable[[], None] = lambda: None
        #: Is called when `next_now` has messages; unless it is set, iterators are woken.
        self.on_messages: Callable[[], None] = lambda: self._wake(len(self._ready))

    async def __aenter__(self) -> Self:
        self._check_unused()
        await self._begin(await _finish(f"the subscription to {self._name!r}", self._join))
        return self

    async def begin(self) -> None:
        """Enter it, in place of `async with`; if the broker is away, it joins the group when the broker is back.

        Raises:
            ConfigError: the broker cannot do it.
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
        """Take messages from now on; without a membership it joins first."""
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
        # The task outlasts a deadline of the caller.
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
        """Return the next message; after a retryable BrokerError, the following call continues.

        Raises:
            BrokerError: the broker has been away for 5 s, or the group was removed.
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
        """Return the next message that is here and still held, without a wait, or None."""
        while self._ready and not self._is_left:
            message = self._ready.popleft()
            if not message.is_lost:
                return message
            # Another member may already have it.
            if self._member is not None:
                self._member.forget(message)
        return None

    def put_back(self, message: Message[T]) -> None:
        """Let a message be returned again, before all others: its receiver was interrupted."""
        if not self._is_left:
            self._ready.appendleft(message)
            self._wake(1)

    def begin_acks(self, messages: Sequence[Message[T]], tell: Callable[[BrokerError | None], None]) -> bool:
        """Acknowledge messages without a task; return False if the backend cannot do so.

        Args:
            tell: is called as `acknowledge` would return, or with its error.
        """
        member = self._member
        if member is None:
            tell(None)
            return True
        return member.begin_acks(messages, tell)

    async def acknowledge(self, messages: Sequence[Message[T]]) -> None:
        """Acknowledge returned messages; lost messages are skipped.

        Raises:
            BrokerError: the broker is away; messages that are not lost can be acknowledged again.
        """
        if self._member is not None:
            await self._member.acknowledge(messages)

    async def stop_taking(self, refused: Sequence[Message[T]] = ()) -> None:
        """Take no more messages, and hand back unreturned ones; the others are settled as before.

        Args:
            refused: messages that came out, and are handed back too.
        """
        self._has_stopped = True
        await cancelled(self._task)
        back = [*self._ready, *refused]
        self._ready.clear()
        if self._member is not None:
            await self._member.hand_back([message for message in back if not message.is_lost])

    async def keep(self, messages: Collection[Message[T]]) -> None:
        """Take no more messages, and hand back all but some, which stay taken until they are settled.

        Messages that are not settled when it is closed are counted.
        """
        self._kept = messages
        await self.stop_taking()
        if self._member is not None:
            await self._member.hand_back(self._member.unsettled_but(messages))

    async def close(self) -> None:
        """Leave the group: hand back all messages that were not settled, and end the iteration."""
        await self._leave()

    aclose = close

    async def _leave(self, *, has_failed: bool = False) -> None:
        if self._is_left:
            return
        self._has_stopped = self._is_left = True
        self._wake(len(self._waiters))
        self._is_open.discard(self)
        try:
            await cancelled(self._task)
        finally:
            if self._member is not None:
                back = list(self._ready) if has_failed else self._member.unsettled_but(self._kept)
                await self._member.leave(back)
            self._ready.clear()

    async def _wait(self) -> None:
        """Wait for a message, a failure or the end."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
            else:
                # It was woken, and does not take the message for which it was woken.
                self._wake(1)
            raise

    def _wake(self, count: int) -> None:
        """Wake iterators that wait; a cancelled iterator does not count."""
        while count and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    async def _keep_taking(self) -> None:
        """Take messages until the block ends; join again if the broker was away."""
        absence = _Absence()
        # A client of a broker may raise an error in place of a cancellation.
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
        """Tell iterators that no message will come, for any cause of the end."""
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
        """Have the messages of deliveries come out of the iterator, and bury each whose value does not decode.

        The wait for further deliveries must not hold these messages.
        """
        faulty = [fault for one in found if (fault := self._read(one, member)) is not None]
        if len(found) > 1 and member.room() > 0:
            await ahead.begin()
        self.on_messages()
        for message, error in faulty:
            logger.warning("%r is a dead letter of its group: %s", message, loggable(error))
            await member.bury(message, str(error))

    def _read(self, delivery: Delivery, member: MemberMessages) -> tuple[Message[T], DecodeError] | None:
        """Make the message of a delivery, ready for the iterator; return it with its error if it does not decode."""
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
        """Give up a membership: the broker delivers its messages again, to this group's members."""
        member, self._member = self._member, None
        self._ready.clear()
        if member is not None:
            self.on_lost()
            await member.leave(())

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._wake(len(self._waiters))


class _TakeAhead:
    """A take that begins before the messages of the previous take are handled: the broker sends the next messages
    meanwhile.

    There is room for its messages: handlers that run meanwhile only make more.
    """

    def __init__(self, member: MemberMessages) -> None:
        self._member = member
        self._taking: asyncio.Task[Sequence[Delivery]] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a take is under way, or its messages are here."""
        return self._taking is not None

    async def begin(self) -> None:
        """Send a take to the broker before the handlers of the present messages run."""
        self._taking = asyncio.get_running_loop().create_task(self._member.take())
        for _ in range(_TURNS_TO_LEAVE):
            await asyncio.sleep(0)

    async def take(self) -> Sequence[Delivery]:
        """Return the messages of the take that has begun, or of a new one."""
        if self._taking is None:
            return await self._member.take()
        found = await self._taking
        self._taking = None
        return found

    async def end(self) -> None:
        """End the take that has begun, and hand back its messages."""
        taking, self._taking = self._taking, None
        if taking is None:
            return
        taking.cancel()
        await asyncio.wait([taking])
        if not taking.cancelled() and taking.exception() is None:
            await self._member.return_deliveries(taking.result())


class _Absence:
    """The time for which a broker has been away, from the first failure after the last message.

    A broker that lets a member join, and fails again, is still away; a membership that lasted for as long as a
    subscriber waits ends the absence as a message does.
    """

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._joined_at: float | None = self._now()
        self._since: float | None = None
        self._pause = pauses()
        #: Whether subscribers have waited long enough for an error.
        self.is_long = False

    def interrupt(self) -> None:
        """Note a new membership."""
        self._joined_at = self._now()

    def end(self) -> None:
        """Note messages."""
        if self._since is not None:
            self._since, self._pause = None, pauses()

    def note(self, error: BrokerError) -> float:
        """Note a failure; return the seconds until the next attempt, not less than the broker asks for."""
        now = self._now()
        if self._joined_at is not None and now - self._joined_at > PATIENCE_SECONDS:
            self.end()
        self._joined_at = None
        if self._since is None:
            self._since = now
        asked = pause_asked_by(error)
        self.is_long = now + asked - self._since > PATIENCE_SECONDS
        return max(self._pause(), asked)
