"""Run one method for messages: pass them from the subscription to the gate, and settle them by the outcomes."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from fastrpc._core.link.failure import Failure
from fastrpc._core.server.gate import Gate
from fastrpc.brokers.base import BrokerLimits, Delivery
from fastrpc.brokers.broker import Broker
from fastrpc.brokers.member_messages import UNREADABLE
from fastrpc.brokers.message import Message
from fastrpc.brokers.subscribers.deliveries import Deliveries
from fastrpc.brokers.subscribers.method import SubscribedMethod
from fastrpc.brokers.subscription import Subscription
from fastrpc.brokers.topic import Topic
from fastrpc.cancelling import cancelled
from fastrpc.config.delays import pause_after
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.handlers.life import MinuteLog
from fastrpc.hosted.verbs import pauses
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["Subscriber"]

logger = logging.getLogger("fastrpc.broker")

#: Reasons of dead letters. EXHAUSTED: the last allowed delivery has failed. TOO_LARGE: the message exceeds a limit of
#: the server.
EXHAUSTED: Final = "deliveries"
TOO_LARGE: Final = "the message is over a limit of the server"

#: Most characters of an error that are kept with a dead letter.
_ERROR_CHARACTERS: Final = 2_000

#: The push-back that tells clients not to retry. It is ignored here: the broker delivers the message again.
_NO_PUSHBACK: Final = 0xFFFFFFFF

#: Statuses of a call that did not start because the server is overloaded or shutting down.
_OF_LOAD: Final = frozenset(
    {Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED}
)

#: Seconds between checks for messages that were lost while their handlers run: the lease has expired, or the group was
#: moved.
_LOOK_SECONDS: Final = 1.0

#: Seconds within which cancelled handlers should end, before their messages are handed back.
_CLEANUP_SECONDS: Final = 1.0


class Subscriber:
    """Runs one method for the messages of its group.

    Args:
        handler: the method of the instance.
        limits: the most depth and the most items of values.

    Raises:
        ConfigError: the broker lacks a feature that an option requires, or the values of the topic cannot be decoded.
    """

    def __init__(
        self, broker: Broker, gate: Gate, method: SubscribedMethod, handler: Callable[..., Any], **limits: int
    ) -> None:
        self._broker = broker
        self._method = method
        self._rules = method.subscription
        self._deliveries = Deliveries(gate, method, handler, self, **limits)
        self._subscription = self._subscribe()
        # The growing pauses before refused messages are handed back; reset when a message is handled.
        self._pause: Callable[[], float] | None = None
        # The growing pauses before subscribing again; reset when a message arrives.
        self._renewal = pauses()
        # `_handled`: messages that are handled and not acknowledged yet. `_acks`: ack requests without an answer.
        self._handled: list[Message[Any]] = []
        self._acks = 0
        # True while the messages of a batch are being started: handlers that return during this are acknowledged at its
        # end.
        self._is_starting = False
        self._absences = MinuteLog(
            lambda _, text: logger.warning("%s", text), lambda: asyncio.get_running_loop().time()
        )
        self._task: asyncio.Task[None] | None = None
        # `_settling`: tasks that settle messages. `_holding`: refused messages that wait before they are handed back.
        self._settling: set[asyncio.Task[None]] = set()
        self._holding: dict[Message[Any], asyncio.TimerHandle] = {}
        self._waiter: asyncio.Future[None] | None = None
        # The timer of the next check for lost messages, while messages are under way.
        self._look: asyncio.TimerHandle | None = None
        self._is_leaving = False
        # Messages whose handlers continue in threads after `stop`; the group is left once they have returned.
        self._outlasting: set[Message[Any]] = set()
        broker.subscribers.add(self)

    @property
    def is_idle(self) -> bool:
        """True if the subscriber has joined its group and has no message under way."""
        is_joining = self._task is None and not self._is_leaving
        return not (is_joining or self._is_under_way or self._holding)

    @property
    def _is_under_way(self) -> bool:
        """True if a call is in progress, or the broker has not kept the outcome of a call yet."""
        return bool(self._deliveries.under_way or self._settling or self._handled or self._acks)

    @property
    def group(self) -> str | None:
        """The name of the group; None for a broadcast."""
        return self._method.group

    async def begin(self) -> None:
        """Join the group, now or once the broker is reachable, and handle its messages from then on.

        Raises:
            ConfigError: the broker lacks a feature, or has the group with other settings.
            BrokerError: the broker refuses it.
        """
        try:
            # The service may be removed before this starts, or while it joins.
            if not self._is_leaving:
                await self._subscription.begin()
        except BaseException:
            self._broker.subscribers.discard(self)
            raise
        if self._is_leaving:
            return
        self._task = asyncio.get_running_loop().create_task(
            self._keep(), name=f"subscriber {self._method.name}", context=contextvars.Context()
        )

    async def stop_taking(self) -> None:
        """Stop taking messages."""
        self._is_leaving = True
        if self._task is not None:
            await cancelled([self._task])
            self._task = None
        self._deliveries.note_drain()
        # Hand back refused messages without a further pause.
        refused = list(self._holding)
        self._stop_holding()
        await self._subscription.stop_taking(refused)

    async def stop(self, seconds: float | None) -> bool:
        """Wait for handlers, then cancel the rest and hand back their messages. Return True if none was cancelled."""
        is_clean = True
        try:
            await self.stop_taking()
            is_clean = await self._rests(seconds)
            if not is_clean:
                self._deliveries.cancel()
                await self._rests(_CLEANUP_SECONDS)
        finally:
            self._broker.subscribers.discard(self)
            self._outlasting.update(one for one in self._deliveries.end() if not one.is_lost)
            if self._look is not None:
                self._look.cancel()
            self._stop_holding()
            for task in self._settling:
                task.cancel()
            if self._outlasting:
                logger.warning(
                    "%s leaves its group later: the threads of %d messages have not returned",
                    self._method.name,
                    len(self._outlasting),
                )
                await self._subscription.keep(self._outlasting)
            else:
                await self._subscription.close()
        return is_clean

    # Messages

    def _subscribe(self) -> Subscription[Any]:
        rules, topic = self._rules, self._rules.topic
        self._check_order(self._broker.backend.limits)
        # Pass the delivery as the value of the message: the call decodes it later.
        subscription = self._broker.subscription(
            topic if isinstance(topic, Topic | str) else topic.name,
            _as_it_is,
            self._method.group,
            rules.start,
            rules.is_ordered,
            rules.concurrency,
        )
        subscription.on_lost = self._deliveries.cancel
        subscription.on_messages = self._start_ready
        return subscription

    def _check_order(self, limits: BrokerLimits) -> None:
        """Raise ConfigError if `concurrency` exceeds the ordered messages that the broker delivers at a time."""
        rules, most = self._rules, limits.ordered_at_once
        if rules.is_ordered and most is not None and rules.concurrency > most:
            raise ConfigError(
                f"{self._method.name} has ordered=True and concurrency={rules.concurrency}, and {limits.scheme}:// "
                f"starts {most} ordered message of a group at a time, for any key",
                hint=f"give concurrency={most}, or use a broker with order by key",
            )

    async def _keep(self) -> None:
        """Keep the subscription going: subscribe again after an error."""
        while not self._is_leaving:
            try:
                # Most messages are started by `_start_ready`, when they arrive.
                async for message in self._subscription:
                    self._start(message)
            except BrokerError as error:
                if error.retryable:
                    # Leave out the hint, which is meant for callers.
                    self._absences.note(f"{self._method.name} gets no messages", error.message)
                    continue
                logger.error(
                    "%s subscribes again, as its subscription has ended: %s", self._method.name, error
                )
            except Exception as error:
                text = "%s subscribes again, as its subscription has ended"
                logger.error(text, self._method.name, exc_info=error)
            await self._renew()

    async def _renew(self) -> None:
        """Subscribe again; retry until it succeeds."""
        self._deliveries.cancel()
        # Check the flag, since the client library of a broker may replace a cancellation by another error.
        while not self._is_leaving:
            await self._subscription.close()
            await asyncio.sleep(self._renewal())
            try:
                self._subscription = self._subscribe()
                await self._subscription.begin()
                return
            except Exception as error:
                logger.error("%s cannot subscribe: %s", self._method.name, error)

    def _start_ready(self) -> None:
        """Start the messages that have arrived, then acknowledge messages whose handlers have returned already."""
        if self._is_leaving:
            return
        self._renewal = pauses()
        self._is_starting = True
        try:
            while (message := self._subscription.next_now()) is not None:
                self._start(message)
        finally:
            self._is_starting = False
            self._acknowledge()

    def _start(self, message: Message[Any]) -> None:
        if self._look is None:
            self._look_later()
        try:
            self._deliveries.start(message)
        except (TypeError, ValueError) as error:
            self._bury(message, UNREADABLE, f"its headers are not metadata: {error}")

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(_LOOK_SECONDS, self._cancel_lost, context=contextvars.Context())

    def _cancel_lost(self) -> None:
        """Cancel handlers whose messages other members may have. Check again later while handlers run."""
        self._look = None
        self._deliveries.cancel_lost()
        if self._deliveries.under_way:
            self._look_later()

    # The ends of their calls

    def handled(self, message: Message[Any]) -> None:
        """Acknowledge a message together with others of this iteration of the loop or of this batch."""
        self._pause = None
        self._handled.append(message)
        if len(self._handled) == 1 and not self._is_starting:
            asyncio.get_running_loop().call_soon(self._acknowledge, context=contextvars.Context())

    def _acknowledge(self) -> None:
        """Acknowledge the handled messages."""
        if not self._handled:
            return
        messages, self._handled = self._handled, []
        self._acks += 1
        if not self._subscription.begin_acks(messages, partial(self._on_acks, messages)):
            self._acks -= 1
            self._spawn(self._acknowledged(messages))

    def _on_acks(self, messages: Sequence[Message[Any]], error: BrokerError | None) -> None:
        self._acks -= 1
        if error is not None:
            self._spawn(self._acknowledged(messages, error))
        self._wake()

    def failed(self, message: Message[Any], failure: Failure) -> None:
        """Let the broker deliver a message again, or make it a dead letter after its last delivery."""
        rules, pushback_ms = self._rules, failure.pushback_ms
        has_pushback = 0 < pushback_ms < _NO_PUSHBACK
        if not failure.has_run and failure.status in _OF_LOAD:
            self._hand_back(message, pushback_ms if has_pushback else 0)
        elif failure.status == Status.INVALID_ARGUMENT and not has_pushback:
            self._bury(message, failure.text, failure.text)
        elif rules.deliveries is not None and message.delivery >= rules.deliveries:
            self._bury(message, EXHAUSTED, failure.text)
        else:
            delay = pushback_ms / 1000 if has_pushback else pause_after(rules.backoff, message.delivery)
            logger.info("%r comes to %s again in %.3g s", message, self._method.name, delay)
            self._settle(message, lambda: message.nack(delay))

    def refused(
        self, message: Message[Any], status: int, text: str, pushback_ms: int, is_faulty: bool
    ) -> None:
        """Hand back a message whose call could not start now; make it a dead letter if it never can."""
        if is_faulty:
            self._bury(message, TOO_LARGE if status == Status.RESOURCE_EXHAUSTED else UNREADABLE, text)
        else:
            self._hand_back(message, pushback_ms)

    def left(self, message: Message[Any] | None) -> None:
        """Handle the end of a call whose message is lost, or is handed back with the subscription."""
        if message is not None and message in self._outlasting:
            self._spawn(self._end_outlasting(message))
        elif message is not None:
            message.forget()
        self._wake()

    async def _end_outlasting(self, message: Message[Any]) -> None:
        """Settle a message whose handler ran on after `stop`: its delivery counts, as the work may be done."""
        await self._settled(message, lambda: message.nack(0.0))
        self._outlasting.discard(message)
        if not self._outlasting:
            await self._subscription.close()

    def _bury(self, message: Message[Any], reason: str, error: str) -> None:
        logger.warning("%r is a dead letter of %s: %.200s", message, self._method.name, reason)
        reason, error = reason[:_ERROR_CHARACTERS] or EXHAUSTED, error[:_ERROR_CHARACTERS]
        self._settle(message, lambda: message.reject(reason, error))

    def _hand_back(self, message: Message[Any], pushback_ms: int) -> None:
        """Hand a message back after a pause, since otherwise it would return immediately. Until then it stays taken."""
        if self._is_leaving:
            self._settle(message, message.hand_back)
            return
        if self._pause is None:
            self._pause = pauses()
        seconds = max(self._pause(), pushback_ms / 1000)
        loop = asyncio.get_running_loop()
        self._holding[message] = loop.call_later(
            seconds, self._end_hold, message, context=contextvars.Context()
        )

    def _end_hold(self, message: Message[Any]) -> None:
        del self._holding[message]
        self._settle(message, message.hand_back)

    def _stop_holding(self) -> None:
        for timer in self._holding.values():
            timer.cancel()
        self._holding.clear()

    def _settle(self, message: Message[Any], settle: Callable[[], Awaitable[bool]]) -> None:
        self._spawn(self._settled(message, settle))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # In an empty context: this may run in the step of a handler, whose deadline must not apply.
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        task.add_done_callback(self._wake)

    async def _acknowledged(self, messages: Sequence[Message[Any]], error: BrokerError | None = None) -> None:
        """Acknowledge messages; retry while they are held.

        Args:
            error: the error of an attempt that was made before.
        """
        pause = pauses()
        while messages:
            try:
                if error is not None:
                    raise error
                await self._subscription.acknowledge(messages)
                return
            except BrokerError as failure:
                logger.warning("the ends of %s are not kept yet: %s", _shown(messages), failure)
                error = None
            except Exception:
                # A single message may have caused the error, so settle each separately from here on.
                for message in messages:
                    self._settle(message, message.ack)
                return
            await asyncio.sleep(pause())
            messages = [message for message in messages if not message.is_lost]

    async def _settled(self, message: Message[Any], settle: Callable[[], Awaitable[bool]]) -> None:
        """Settle a message; retry while it is held."""
        pause = pauses()
        while not message.is_lost:
            try:
                await settle()
                return
            except BrokerError as error:
                logger.warning("the outcome of %r is not kept yet: %s", message, error)
            except Exception as error:
                # Another attempt would also fail, for example if the backend refuses the pause: hand the message back.
                logger.error("%r is handed back, as its outcome cannot be kept", message, exc_info=error)
                settle = message.hand_back
            await asyncio.sleep(pause())
        message.forget()

    # The end

    async def _rests(self, seconds: float | None) -> bool:
        """Wait until no call is in progress and all outcomes are kept; return False on timeout."""
        try:
            async with time_limit(seconds):
                while self._is_under_way:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        except TimeoutError:
            return False
        return True

    def _wake(self, _: Any = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _shown(messages: Sequence[Message[Any]]) -> str:
    """Return a text about messages for the log."""
    return f"{messages[0]!r}" if len(messages) == 1 else f"{messages[0]!r} and {len(messages) - 1} others"


def _as_it_is(delivery: Delivery) -> Delivery:
    return delivery
