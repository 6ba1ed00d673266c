"""The deliveries of one method: each message becomes a call, which the gate starts.

There is no protocol engine and no byte stream: messages come from a subscription, and the outcome of a call settles
its message.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from fastrpc._core.calls.call import current_call
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.delivering_connection import DeliveringConnection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc.brokers.base import Delivery
from fastrpc.brokers.message import Message
from fastrpc.brokers.subscribers.method import PROTOCOL, SubscribedMethod
from fastrpc.brokers.traces import metadata_of
from fastrpc.brokers.values import decoder_of
from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer

__all__ = ["Deliveries", "Settling"]

logger = logging.getLogger("fastrpc.broker")


class Settling(Protocol):
    """The interface that settles a message by the outcome of its call."""

    def handled(self, message: Message[Any]) -> None:
        """Settle a message whose handler has returned."""

    def failed(self, message: Message[Any], failure: Failure) -> None:
        """Settle a message whose handler or interceptor raised, or whose deadline has passed."""

    def refused(
        self, message: Message[Any], status: int, text: str, pushback_ms: int, is_faulty: bool
    ) -> None:
        """Settle a message whose call was not started. `is_faulty` means that it can never be started."""

    def left(self, message: Message[Any] | None) -> None:
        """Handle the end of a call whose message is not settled. None: the message is no longer known."""


class _Started(msgspec.Struct, eq=False):
    """A message whose call is in progress."""

    message: Message[Any]
    is_cancelled: bool = False

    #: The failure of a call whose handler continues in a thread after the deadline.
    failure: Failure | None = None

    #: `has_begun`: the handler has started in its thread. `has_returned`: it has returned.
    has_begun: bool = False
    has_returned: bool = False

    #: True if the deliveries have ended before the handler in the thread.
    outlasts: bool = False


class Deliveries(DeliveringConnection):
    """Starts the messages of one method.

    Args:
        handler: the method of the instance.
        limits: the most depth and the most items of values, for the route.
    """

    def __init__(
        self,
        gate: Gate,
        method: SubscribedMethod,
        handler: Callable[..., Any],
        settling: Settling,
        **limits: int,
    ) -> None:
        super().__init__(gate, PROTOCOL)
        topic = method.subscription.topic
        address = Address("memory", path=topic if isinstance(topic, str) else topic.name)
        self.peer_info = Peer(address, protocol=PROTOCOL)
        self._settling = settling
        self._takes_message = method.takes_message
        self._decode_value = decoder_of(method.type)
        self._loop = asyncio.get_running_loop()
        self._started: dict[ServerCall, _Started] = {}
        run = self._in_thread(handler) if method.runs_in_thread else handler
        self._route = method.route(run, self._decode, **limits)

    @property
    def under_way(self) -> int:
        """The number of messages whose calls are in progress."""
        return len(self._started)

    def start(self, message: Message[Any]) -> None:
        """Start the call of a message. The value of the message is its `Delivery`.

        Raises:
            TypeError, ValueError: its headers are not metadata.
        """
        delivery: Delivery = message.value
        call = self.gate.delivery(self, self._route, metadata_of(delivery.headers))
        self._started[call] = _Started(message)
        self.gate.deliver(call, delivery.body)

    def cancel(self) -> None:
        """Cancel all handlers, without settling their messages."""
        for call, started in list(self._started.items()):
            self._cancel(call, started)

    def cancel_lost(self) -> None:
        """Cancel the handlers of messages that other members may already have."""
        for call, started in list(self._started.items()):
            if not started.is_cancelled and started.message.is_lost:
                logger.warning("a handler of %r is cancelled: its message is lost", started.message)
                self._cancel(call, started)

    def _cancel(self, call: ServerCall, started: _Started) -> None:
        started.is_cancelled = True
        if started.failure is None:
            self.gate.cancel_call(call)

    def end(self) -> list[Message[Any]]:
        """Stop starting calls and reporting outcomes. Return the messages whose handlers continue in threads.

        These still count in `under_way`; `Settling.left` is called when their handlers return.
        """
        found = []
        for call, started in list(self._started.items()):
            # Set `outlasts` before checking `has_returned`: the thread sets and checks in the opposite order, so at
            # least one side sees the other.
            started.is_cancelled = started.outlasts = True
            if started.has_begun and not started.has_returned:
                found.append(started.message)
            else:
                del self._started[call]
        self.gate.connection_lost(self)
        return found

    # The interface for the gate

    def answer(self, call: ServerCall, payload: bytes) -> None:
        started = self._started.pop(call, None)
        if started is None or started.is_cancelled:
            self._settling.left(None if started is None else started.message)
        else:
            self._settling.handled(started.message)

    def fail(self, call: ServerCall, failure: Failure) -> None:
        started = self._started.get(call)
        if started is not None and failure.goes_on:
            # The message stays under way until the handler has returned in its thread.
            started.failure = failure
            if not started.has_returned:
                return
        self._fail(call, failure)

    def _fail(self, call: ServerCall, failure: Failure | None) -> None:
        started = self._started.pop(call, None)
        if started is None or started.is_cancelled or failure is None:
            self._settling.left(None if started is None else started.message)
        else:
            self._settling.failed(started.message, failure)

    def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
        started = self._started.pop(call, None)
        if started is None or started.is_cancelled:
            self._settling.left(None if started is None else started.message)
        else:
            self._settling.refused(started.message, status, text, call.pushback_ms, is_faulty)

    # Values and threads

    def _decode(self, body: bytes) -> Any:
        """Return the argument of the handler."""
        # The call holds the decoded value: both are freed together.
        call, self.decoded = self.decoded, None
        started = None if call is None else self._started.get(call)
        if started is None:
            raise ValueError("the message has ended")
        message = started.message
        value = self._decode_value(message.value)
        if not self._takes_message:
            return value
        message.value = value
        return message

    def _in_thread(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            call: Any = current_call()
            if (started := self._started.get(call)) is not None:
                started.has_begun = True
            try:
                return handler(*given, **named)
            finally:
                self._returned(call)

        return run

    def _returned(self, call: Any) -> None:
        """Record the end of a handler. Called in its thread."""
        started = self._started.get(call)
        if started is None:
            return
        # Set `has_returned` before checking the other flags: `fail` and `end` set and check in the opposite order, so
        # at least one side sees the other.
        started.has_returned = True
        if started.outlasts or started.failure is not None:
            # If the loop is closed, the group was left already.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end_late, call)

    def _end_late(self, call: ServerCall) -> None:
        if (started := self._started.get(call)) is not None:
            self._fail(call, started.failure)
