"""The run of a stream of a `SyncClient` from its first attempt to its end.

The thread that begins a stream sends the first attempt and does not wait for a sign of the server: the initial metadata
or a message. If that attempt fails before a sign arrives, the receiving thread makes the next attempts, by the fail
mode, and waits for a sign after each. A stream that sends is attempted once. Interceptors surround the whole stream:
while the stream is used they are suspended in `proceed`, and they continue in the thread that detects its end.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, cast

from fastrpc._core.balancing.endpoint_set import Pick
from fastrpc._core.calls.call import MethodRoute, enter_call
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc.client.blocking.attempting import SyncAttempting
from fastrpc.client.blocking.driving import advance, drive
from fastrpc.client.blocking.pool import SyncPool
from fastrpc.client.blocking.stream import SyncStream
from fastrpc.client.stream_runner import BaseStreamRunner, answer_of, unbegun
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import FailMode
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.peers.stream_arguments import takes_stream
from fastrpc.peers.stream_maker import BaseStreamMaker

__all__ = ["SyncStreamRunner"]


class SyncStreamRunner(BaseStreamRunner, BaseStreamMaker[SyncStream[Any, Any]]):
    """Runs the streams of one blocking client."""

    _pool: SyncPool

    def __init__(self, pool: SyncPool, mode: FailMode, routes: RouteMaker) -> None:
        BaseStreamRunner.__init__(self, pool, mode)
        BaseStreamMaker.__init__(self, routes, pool.config.timeouts.stream_idle or 0.0)

    def _stream(
        self, options: ViewOptions, hash_key: Any, route: MethodRoute, given: Any, messages: Any
    ) -> SyncStream[Any, Any]:
        if messages is not None and not hasattr(messages, "__iter__"):
            raise TypeError(
                f"{route.method} takes a stream: a SyncClient sends plain iterables, not {type(messages).__name__}"
            )
        return SyncStream(options, hash_key, route, given, messages=messages)

    def call(
        self, view: Any, route: MethodRoute, args: tuple[Any, ...], kwargs: dict[str, Any], wants_reply: bool
    ) -> Any:
        """Call a method that streams its input only, and return its one answer."""
        method = route.definition.function if takes_stream(route) else route.method
        with self.make("call", view, method, args, kwargs) as stream:
            value = stream.receive()
            return stream.reply if wants_reply else value

    # Attempts

    def open(self, stream: SyncStream[Any, Any]) -> None:
        """Return once an attempt is in progress, or raise the error that prevents it."""
        stream.start_clock(self._idle_seconds)
        if self.proceed is None:
            self._attempt(stream, None)
            return
        interception = _Interception(self.proceed(stream.origin), stream.origin)
        stream.intercept(interception)
        interception.begin()
        if interception.is_over:
            stream.conclude(None, interception.value)

    async def run(self, call: BlockingCall) -> Any:
        """Begin a stream and return at its end. The `proceed` of the innermost interceptor calls this."""
        # No local variable refers to the stream. The stream refers to this coroutine, which is cancelled when nothing
        # else refers to the stream.
        self._attempt(unbegun(call), None)
        await _AtTheEnd()
        return answer_of(call)

    def retry(self, stream: SyncStream[Any, Any], error: FastRPCError) -> bool:
        """Make another attempt after one failed with `error`; return whether it received a sign of the server."""
        if not self._goes_on(stream, error):
            return False
        self._attempt(stream, error)
        return True

    def _attempt(self, stream: SyncStream[Any, Any], error: FastRPCError | None) -> None:
        """Make the attempts of the fail mode; `error` is the error of an attempt that was already made."""
        drive(_StreamAttempting(self._pool, stream, error).run(self._mode_of(stream.origin)))


class _StreamAttempting(SyncAttempting):
    """The attempts of one stream, for a fail mode; all but the first wait for a sign of the server."""

    is_stream = True

    def __init__(self, pool: SyncPool, stream: SyncStream[Any, Any], made: FastRPCError | None) -> None:
        super().__init__(pool, stream.origin, made)
        self._stream = stream

    async def _outcome(self, attempt: BlockingCall) -> None:
        stream = self._stream
        if self._number > 1:
            stream._await_sign_of_attempt()
        failure = attempt._failure
        try:
            if failure is not None and stream.attempt_ended and not stream.has_sign:
                raise failure
        finally:
            # The traceback leads to this frame, which must not lead back to the error.
            del failure

    def _conclude(self, attempt: BlockingCall, pick: Pick | None, error: BaseException | None) -> None:
        # An attempt keeps its pick until it ends, which may be now.
        if isinstance(error, FastRPCError):
            attempt._end_pick(error)


_END = object()


class _AtTheEnd:
    """An awaitable on which the innermost interceptor waits for the end of the stream."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield _END


class _Interception:
    """The interceptors around one stream. They run up to `proceed`, and continue from there when the stream ends."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], call: BlockingCall) -> None:
        self._coroutine = coroutine
        self._call = call
        self._context = contextvars.copy_context()
        self._context.run(enter_call, call)
        self.is_over = False
        self.value: Any = None

    def begin(self) -> None:
        """Run the interceptors until the stream has begun, or until they end."""
        self._step(partial(self._coroutine.send, None))

    def end(self, error: BaseException | None) -> Any:
        """Let the interceptors continue at the end of the stream; return or raise their outcome."""
        if not self.is_over:
            step: Callable[[], Any] = partial(self._coroutine.send, None)
            if error is not None:
                step = _Throw(self._coroutine, error)
            # The error's traceback refers to this frame, so this frame must not refer to the error.
            del error
            self._step(step)
        return self.value

    def leave(self) -> None:
        """Cancel the interceptors, because the program dropped the stream."""
        with suppress(asyncio.CancelledError):
            self.end(asyncio.CancelledError())
        if self._call.error is not None:
            # The traceback's frames refer to the stream.
            self._call.error.with_traceback(None)

    def _step(self, step: Callable[[], Any]) -> None:
        try:
            value = self._context.run(advance, self._coroutine, step, pause=_END)
        except BaseException:
            self.is_over = True
            raise
        if value is not _END:
            self.is_over = True
            self.value = value


class _Throw:
    """The step that throws an error into a coroutine."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], error: BaseException) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = error

    def __call__(self) -> Any:
        error, self._error = cast(BaseException, self._error), None
        try:
            return self._coroutine.throw(error)
        finally:
            del error
