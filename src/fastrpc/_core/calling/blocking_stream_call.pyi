from collections.abc import Awaitable, Callable
from typing import Any

from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.streams.stream_channel import StreamChannel

class BlockingChannel(StreamChannel):
    """The messages of one stream, and the threads that wait for them."""

    @property
    def is_open(self) -> bool:
        """Whether an attempt was sent."""

    @property
    def has_sign(self) -> bool:
        """Whether a message or the initial metadata came."""

    @property
    def attempt_ended(self) -> bool:
        """Whether the attempt ended, well or not."""

    @property
    def _is_waited_for(self) -> bool:
        """Whether a thread waits for a message, or for room to send."""

class BlockingStreamCall(PendingCall):
    """A call of a `SyncClient` that streams, as interceptors see it, and each attempt of it."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    def wrap_sent(self, function: Callable[[Any], Any]) -> None:
        """Have a function make something else of each message sent; the one given first is called first.

        Raises:
            RuntimeError: the call has begun.
        """

    def wrap_received(self, function: Callable[[Any], Any]) -> None:
        """Have a function make something else of each message received; the one given first is called last.

        Raises:
            RuntimeError: the call has begun.
        """

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments as they were given, without the stream."""

    @property
    def endpoint(self) -> Any:
        """Where it went last, or None."""

    @property
    def retry_policy(self) -> Any:
        """The rules and the budget of its client."""

    @property
    def draining(self) -> Awaitable[Any]:
        """Awaitable that is done once the server drains: on this side never, a call ends by itself."""

    async def sleep(self, seconds: float) -> None:
        """Wait, in an interceptor: blocks the thread, as everything here does."""

    # For the runner

    @property
    def _options(self) -> ViewOptions:
        """Those of the client or view that made it."""

    @property
    def _stream(self) -> BlockingChannel | None:
        """The stream that it is the call of, or None."""

    @property
    def _failure(self) -> BaseException | None:
        """The error of an attempt that is over, or None."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings, as a call does."""

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt; raises when no time is left."""

    def _attempt_on(
        self, session: BlockingSession, number: int, pick: Any = None
    ) -> BlockingStreamCall | None:
        """Start attempt `number` of this call on a connection; None when that takes no calls any more."""

    def _end_pick(self, error: BaseException | None) -> None:
        """Tell the endpoint set what became of the attempt, if it was not told yet."""

    def _adopt(self, attempt: BlockingStreamCall) -> None:
        """Take over what an attempt learned: metadata, where it came from, when it ended."""

    def _answer(self) -> Any:
        """Return the one answer of a method that streams its input only."""
