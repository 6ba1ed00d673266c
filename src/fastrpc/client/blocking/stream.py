"""A stream in a blocking program: `SyncClient.stream` and `SyncClient.open` return it.

::

    begin ──► SyncStreamRunner.open ──► an attempt ──► messages … ──► settle_attempt ──► conclude
                                                                            │
                                                            another attempt, or interceptors

A thread that receives, closes the stream or asks for its reply detects the end of the attempt and does the next step.
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.blocking_called_stream import BlockingCalledStream
from fastrpc._core.client.call_errors import mark_own_call
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import FastRPCError, StreamEndedError
from fastrpc.peers.stream_outcome import NO_VALUE, StreamOutcome
from fastrpc.rpc.reply import Reply

if TYPE_CHECKING:
    from fastrpc._core.client.blocking_state import BlockingState

__all__ = ["Interception", "SyncStream", "SyncStreamStarter"]

S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class SyncStreamStarter(Protocol):
    """The maker of a stream's attempts."""

    def open(self, stream: "SyncStream[Any, Any]") -> None:
        """Return once an attempt is in progress, or raise the error that prevents it."""

    def retry(self, stream: "SyncStream[Any, Any]", error: FastRPCError) -> bool:
        """Make another attempt after a failed one; return whether the server answered it with metadata or a message."""


class Interception(Protocol):
    """The interceptors around a stream. They are suspended until the stream ends."""

    def end(self, error: BaseException | None) -> Any:
        """Let the interceptors continue at the end of the stream; return or raise their outcome."""

    def leave(self) -> None:
        """Cancel the interceptors, because the program dropped the stream."""


class SyncStream(StreamOutcome, BlockingCalledStream, Generic[S_contra, T_co]):
    """A call whose messages are streamed in one direction or both, in blocking code.

    ::

        with client.stream(Arith.count, 3) as numbers:
            for number in numbers:
                print(number)

    Leaving the block before the end cancels the handler. One thread at a time may send, and one may receive.
    """

    def __init__(
        self,
        options: ViewOptions,
        hash_key: Any,
        route: MethodRoute,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        *,
        messages: Any = None,
    ) -> None:
        super().__init__(options, hash_key, route, *given)
        self._state = cast("BlockingState", options.shared)
        self._messages = messages
        self.is_fed = messages is not None
        self._starter: SyncStreamStarter | None = None
        #: Held while the stream begins or ends, which several threads may notice at the same time.
        self._turn = threading.RLock()
        self._interception: Interception | None = None

    def __repr__(self) -> str:
        state = "over" if self._is_over else "open" if self.is_open else "new"
        return f"<SyncStream of {self.origin.method}, {state}>"

    def __del__(self) -> None:
        super().__del__()
        interception, self._interception = self._interception, None
        if interception is not None:
            interception.leave()

    def __enter__(self) -> Self:
        if self._is_over:
            raise RuntimeError(f"{self.origin.method}: this stream is over: make another one")
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Receiving and sending are compiled.

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[T_co]: ...
        def __next__(self) -> T_co: ...
        def send(self, message: S_contra, /) -> None: ...
        def send_many(self, messages: Iterable[S_contra], /) -> None: ...
        def receive(self) -> T_co: ...  # type: ignore[override]
        def receive_many(self, limit: int = 4096) -> list[T_co]: ...  # type: ignore[override]

    else:
        # `await`, `async for` and `async with` are refused with a specific message.
        def __aiter__(self):
            raise TypeError("a stream of a SyncClient is read by `for`, and entered by `with`")

        __aenter__ = __aexit__ = __await__ = __aiter__

    def _receive_answer(self) -> T_co:
        """Return the one answer to a stream, once."""
        with suppress(StreamEndedError):
            # The method has one answer and no messages: the next event is the end.
            self._await_messages()
        return cast(T_co, self._answer_once())

    # State

    @property
    def metadata(self) -> Metadata:
        """The first metadata; LookupError until it or a message has arrived."""
        return self._known_metadata("stream.headers()")

    def headers(self) -> Metadata:
        """Return the first metadata; wait until it or a message has arrived."""
        self.begin()
        while not self.has_sign and not self._is_over:
            self._await_sign()
            if self.attempt_ended and not self.has_sign:
                self.settle_attempt()
        if not self.has_sign:
            self._check_failure()
        return self.metadata

    @property
    def reply(self) -> Reply[T_co]:
        """The reply, known at the end, after the last message.

        Raises:
            LookupError: the stream has not ended yet.
            FastRPCError: the stream failed.
        """
        if self.attempt_ended and not self.waiting:
            self.settle_attempt()
        if not self._is_over:
            raise LookupError(f"{self.origin.method}: the stream has not ended yet")
        return self._made_reply()

    # Its life

    def begin(self) -> None:
        """Start the call, unless it has begun; `with`, sending and receiving do so.

        Raises:
            UnavailableError: no endpoint could be reached.
            TypeError: arguments do not fit the method's signature; nothing was sent.
            EncodeError: an argument cannot be encoded.
        """
        if self.is_open or self._is_over:
            return
        with self._turn:
            if self._starter is not None or self._is_over:
                return
            self._state.use()
            starter = self._starter = cast(SyncStreamStarter, self._state.runner.streams)
            try:
                if self._messages is not None:
                    self._set_source(self._messages)
                starter.open(self)
            except BaseException as error:
                mark_own_call(error)
                self.conclude(self._kept(error) if isinstance(error, Exception) else self._cancelled())
                raise
            finally:
                self._messages = None

    def cancel(self) -> None:
        """End the stream now, without waiting: the handler is cancelled, received messages are dropped."""
        cancelled = self._cancelled()
        if not self._is_over:
            self._cancel_attempt(cancelled)
        with self._turn:
            error: BaseException | None = None
            is_clean = self._is_over and self._failure is None
            if not self._is_over:
                # Another thread may have started the stream or another attempt meanwhile.
                self._cancel_attempt(cancelled)
                error = self._attempt_failure if self._attempt is not None else cancelled
                is_clean = error is None
            if is_clean and self.waiting:
                # The received messages are dropped, so the stream must not seem to end cleanly.
                error = cancelled
            try:
                if self._is_over:
                    self._failure = self._failure or error
                else:
                    self._finish(error, was_left=error is cancelled)
            finally:
                self._drop(error)

    def close(self) -> None:
        """End the stream, like the end of its `with` block: a handler that has not ended is cancelled."""
        self.cancel()

    def aclose(self) -> None:
        """End the stream; the same as `close`."""
        self.close()

    def fail(self, error: BaseException) -> None:
        with self._turn:
            if self._is_over:
                return
            self._cancel_attempt(error if isinstance(error, FastRPCError) else self._cancelled())
            self._finish(error)

    def intercept(self, interception: Interception) -> None:
        """Put interceptors around the stream."""
        self._interception = interception

    def start_clock(self, idle_seconds: float) -> None:
        """Start the call's deadline. Waits for a message take at most `idle_seconds`; 0: no limit.

        Raises:
            DeadlineExceededError: no time is left for the call.
        """
        self._set_idle(idle_seconds)
        self._start_clock()

    def settle_attempt(self) -> None:
        with self._turn:
            if self._is_over or self._attempt is None or not self.attempt_ended:
                return
            error = self._kept(self._attempt_failure)
            self._end_pick(error)
            if isinstance(error, FastRPCError) and not self.has_sign and self._starter is not None:
                try:
                    if self._starter.retry(self, error):
                        return
                except Exception as final:
                    # Drop the traceback: its frames refer to the stream.
                    error = final.with_traceback(None)
            self._finish(error)

    def _finish(self, error: BaseException | None, *, was_left: bool = False) -> None:
        """End the stream after its last attempt: the interceptors continue, and the stream ends with their outcome."""
        interception, self._interception = self._interception, None
        self._end_pick(asyncio.CancelledError() if was_left else error)
        self._count_end(error)
        self.adopt_attempt()
        value = NO_VALUE
        if interception is not None:
            try:
                value = interception.end(asyncio.CancelledError() if was_left else self._kept(error))
            except asyncio.CancelledError as final:
                error = error if was_left else final.with_traceback(None)
            except Exception as final:
                error = final
            except BaseException:
                self.conclude(self._cancelled())
                raise
            else:
                error = error if was_left else None
        try:
            self.conclude(error, value)
        finally:
            # The traceback refers to this frame, so this frame must not refer to the error.
            del error

    def _end_pick(self, error: BaseException | None) -> None:
        """Report the outcome of the attempt to the endpoint set, once."""
        if self._attempt is not None:
            self._attempt._end_pick(error)

    def conclude(self, error: BaseException | None, value: Any = NO_VALUE) -> None:
        """End the stream: received messages are returned first, then the error is raised; None: a clean end."""
        if self._is_over:
            return
        self._keep_outcome(error, value)
        self._end(error)
        self._drop_source()
