from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.client_session import ClientSession
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.calls.call import Route
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.payload.metadata import Metadata
from fastrpc._core.streams.stream_channel import StreamChannel
from fastrpc.errors import FastRPCError

REOPEN_HINT: str
DEADLINE_HINT: str
IDLE_HINT: str

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
    def _stream(self) -> CalledStream | None:
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

    def _attempt_on(self, session: ClientSession, number: int) -> StreamCall:
        """Return attempt `number` of this call on a connection, within the call's deadline; it is not started."""

    def _begin(self, stream: CalledStream, sign: Any = None, pick: Any = None) -> None:
        """Send the attempt; `sign`, a future, is done at the first sign of the server."""

    def _give_up(self, error: BaseException | None = None) -> None:
        """End the attempt, if it is not over: nobody waits for it."""

    def _lose(self) -> None:
        """Note that another attempt was faster: when this one is given up, the server is told why."""

    def _adopt(self, attempt: StreamCall) -> None:
        """Take over what an attempt learned: metadata, where it came from, when it ended."""

    def _answer(self) -> Any:
        """Return the one answer of a method that streams its input only."""

class CalledStream(StreamChannel):
    """The messages of a call of ours.

    Args:
        options: those of the client or view.
        hash_key: what the call is placed by, or None.
        route: the method.
        args, kwargs: its arguments, without the stream.
    """

    #: Whether an iterable is sent, so that nobody else may send.
    is_fed: bool
    #: Whether the end of the attempt is not yet the end of the stream: interceptors stand around the call.
    is_intercepted: bool

    def __init__(
        self,
        options: ViewOptions,
        hash_key: str | bytes | int | None,
        route: Route,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None: ...
    def __del__(self) -> None: ...
    @property
    def origin(self) -> StreamCall:
        """The call as interceptors see it."""

    @property
    def takes_stream(self) -> bool: ...
    @property
    def gives_stream(self) -> bool: ...
    @property
    def is_open(self) -> bool:
        """Whether an attempt was sent."""

    @property
    def is_chosen(self) -> bool:
        """Whether it takes the messages of one of its attempts."""

    @property
    def has_sign(self) -> bool:
        """Whether a message or the initial metadata came."""

    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def receive(self) -> Coroutine[Any, Any, Any]:
        """Return the next message; of a method that streams its input only, the one answer."""

    def receive_many(self, limit: int = 4096) -> Coroutine[Any, Any, list[Any]]:
        """Return the messages that are there, at least one and at most `limit`."""

    async def send(self, message: Any, /) -> None:
        """Send a message, as soon as the server's window has room for it."""

    async def end(self) -> None:
        """Say that nothing more will be sent; the server may go on answering."""

    async def begin(self) -> None:
        """Start the call, if it did not begin yet."""

    # What whoever runs it does

    def on_sign(self) -> None:
        """The server showed a sign: a message or the initial metadata."""

    def tries_again(self, error: FastRPCError) -> bool:
        """Return whether another attempt follows the first one, which failed."""

    def unpack_message(self, call: StreamCall, payload: bytes, most: int) -> Generator[None, None, bytes]:
        """Return a generator that decompresses a message in short steps."""

    def finish(self, error: BaseException | None) -> None:
        """End the stream: its last attempt is over, or none could be made."""

    def _end(self, error: BaseException | None) -> None:
        """Let messages that are there be taken, then raise the error; None is a clean end."""

    def _end_sending(self, error: BaseException | None) -> None:
        """Tell senders that nothing can be sent any more."""

    def _drop(self, error: BaseException | None) -> None:
        """End the stream at once: messages that are there are dropped, everybody who waits gets the error."""

    def _set_loop(self, state: LoopState, idle_seconds: float) -> None:
        """Belong to a loop; a wait for a message may take so many seconds, 0: any."""

    @property
    def _attempt(self) -> StreamCall | None:
        """The attempt it takes messages of, or took last; None before there is one."""

    @property
    def _window_bytes(self) -> int:
        """The bytes that the server may send before messages are taken; 0 before there is an attempt."""

    @property
    def _first_metadata(self) -> Metadata | None:
        """The initial metadata, or None as long as neither HEAD nor a message came."""

    def _message(self) -> Coroutine[Any, Any, Any]: ...
    def _messages(self, limit: int) -> Coroutine[Any, Any, list[Any]]: ...
    async def _feed(self, messages: Any) -> None:
        """Send every message of an iterable, then the end; an exception in it ends the stream and is its error."""
