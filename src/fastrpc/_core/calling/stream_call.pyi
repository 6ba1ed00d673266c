from collections.abc import Awaitable, Callable, Coroutine
from logging import Logger
from typing import Any

from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.native.connection import Connection
from fastrpc._core.streams.stream_channel import StreamChannel
from fastrpc.compressors.base import Compressor
from fastrpc.errors import DeadlineExceededError, EncodeError

logger: Logger
REOPEN_HINT: str
FEED_FAILED: str
DEADLINE_HINT: str

class CallerChannel(StreamChannel):
    """The messages of one stream, and its attempts."""

    @property
    def is_open(self) -> bool:
        """Whether an attempt was sent."""

    @property
    def is_chosen(self) -> bool:
        """Whether it takes the messages of one of its attempts."""

    @property
    def has_sign(self) -> bool:
        """Whether a message or the initial metadata came."""

class StreamCall(PendingCall):
    """A call that streams, as interceptors see it, and each attempt of it."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def is_chosen(self) -> bool:
        """Whether its stream takes its messages."""

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

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait, in an interceptor."""

    # For the runner

    @property
    def _options(self) -> ViewOptions:
        """Those of the client or view that made it."""

    @property
    def _stream(self) -> CallerChannel | None:
        """The stream that it is the call of, or None."""

    @property
    def _failure(self) -> BaseException | None:
        """The error of an attempt that is over, or None."""

    @property
    def _is_over(self) -> bool:
        """Whether the attempt ended, by its answer or otherwise."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings, as a call does."""

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt; raises when no time is left."""

    def _to_pack(self) -> tuple[Compressor, bytes] | None:
        """Return compressor and encoded arguments where these are to be compressed in slices before it begins."""

    def _take_packed(self, payload: bytes, is_smaller: bool) -> None:
        """Have the arguments as they are now.

        Raises:
            UnavailableError: its connection takes no calls any more.
        """

    def _overdue(self, handed: bool = False) -> DeadlineExceededError:
        """Return the error of an attempt whose deadline passed."""

    def _unpackable(self, error: Exception) -> EncodeError:
        """Return the error of arguments that cannot be compressed."""

    def _attempt_on(self, session: Connection, number: int) -> StreamCall:
        """Return attempt `number` of this call on a connection, within the call's deadline; it is not started."""

    def _begin(self, stream: CallerChannel, sign: Any = None, pick: Any = None) -> None:
        """Send the attempt; `sign`, a future, is done at the first sign of the server."""

    def _give_up(self, error: BaseException | None = None) -> None:
        """End the attempt, if it is not over: nobody waits for it."""

    def _lose(self) -> None:
        """Note that another attempt was faster: when this one is given up, the server is told why."""

    def _adopt(self, attempt: StreamCall) -> None:
        """Take over what an attempt learned: metadata, where it came from, when it ended."""

    def _answer(self) -> Any:
        """Return the one answer of a method that streams its input only."""

    async def _feed(self, messages: Any) -> None:
        """Send every message of an iterable, then the end; an exception in it ends the stream and is its error.

        A generator is closed at the end, an iterable of another kind is left to the program. Whoever waits here holds
        the stream by no reference.
        """
