"""The run of a stream from its first attempt to its end: connecting, another attempt, interceptors.

With one connected address, the first attempt is sent immediately. Otherwise the fail mode runs in a separate task until
an attempt shows a sign of the server: its initial metadata, or a message. From then on there are no retries. A stream
that sends is attempted once. Interceptors surround the whole stream, in a task too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastrpc._core.balancing.endpoint_set import Pick
from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.client_call import ClientCall
from fastrpc.client.attempting import Attempting, may_retry, mode_of, plain_connection
from fastrpc.client.placing import AttemptPool
from fastrpc.client.pool import ConnectionPool
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import Attempt, AttemptedCall, FailMode, is_sequential
from fastrpc.peers.outcomes import AROUND_CALL
from fastrpc.peers.packing import pack_arguments
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.peers.stream import Stream
from fastrpc.peers.stream_arguments import takes_stream
from fastrpc.peers.stream_maker import StreamMaker
from fastrpc.protocols.base import ClientEngine
from fastrpc.user_code import contained, plain_error

__all__ = ["BaseStreamRunner", "StreamRunner", "answer_of", "unbegun"]


class _Once:
    """The fail mode of a stream that sends: its messages cannot be sent again."""

    async def run(self, call: AttemptedCall, pick: Callable[[], Endpoint], attempt: Attempt) -> Any:
        return await attempt(pick())


_ONCE = _Once()


class _Answering:
    """The fail mode of one stream: it raises if the program's mode returns without a successful attempt.

    A unary call would return the value of the mode. A stream cannot do that.
    """

    def __init__(self, mode: FailMode, call: ClientCall) -> None:
        self._mode = mode
        self._call = call
        self._attempt: Attempt | None = None
        self._has_succeeded = False
        # A copy of the last attempt's error: the traceback of a raised error would hold the stream.
        self._failure: FastRPCError | None = None

    async def run(self, call: AttemptedCall, pick: Callable[[], Endpoint], attempt: Attempt) -> None:
        self._attempt = attempt
        await self._mode.run(call, pick, self._noted)
        if self._has_succeeded or _goes_on_without(self._call):
            return
        failure: Exception | None
        failure, self._failure = self._failure, None
        try:
            raise failure or RuntimeError(
                f"{type(self._mode).__name__}.run returned for the stream {call.method} without a successful "
                "attempt; raise the error"
            )
        finally:
            del failure

    async def _noted(self, endpoint: Endpoint) -> Any:
        try:
            value = await cast(Attempt, self._attempt)(endpoint)
        except FastRPCError as error:
            stream = _stream_of(self._call)
            self._failure = None if stream is None else stream._kept(error)
            raise
        self._has_succeeded = True
        return value


class BaseStreamRunner:
    """The part of a stream runner that both clients share."""

    def __init__(self, pool: AttemptPool, mode: FailMode) -> None:
        self._pool = pool
        self._mode = mode
        #: The `proceed` of the interceptors around streams, or None.
        self.proceed: Callable[[Any], Coroutine[Any, Any, Any]] | None = None

    def _mode_of(self, call: ClientCall) -> FailMode:
        return _ONCE if takes_stream(call.route) else _Answering(mode_of(call, self._mode), call)

    def _goes_on(self, stream: Any, error: FastRPCError) -> bool:
        """Return whether another attempt follows a failed one; if so, the call has adopted the failed one's figures."""
        call = stream.origin
        if stream.takes_stream or not may_retry(call, error, mode_of(call, self._mode)):
            return False
        return bool(stream.adopt_attempt())


class StreamRunner(BaseStreamRunner, StreamMaker):
    """Runs the streams of one client."""

    _pool: ConnectionPool

    def __init__(self, pool: ConnectionPool, mode: FailMode, routes: RouteMaker) -> None:
        BaseStreamRunner.__init__(self, pool, mode)
        StreamMaker.__init__(self, routes, pool.config.timeouts.stream_idle or 0.0)
        self._begins_plainly = pool.endpoint_set is None and is_sequential(mode)

    # Attempts

    async def open(self, stream: Stream[Any, Any]) -> None:
        stream.enter_loop(self._idle_seconds)
        if self.proceed is None:
            await self._begin(stream.origin)
        else:
            await stream.wait_open(stream.intercept(self._intercepted(stream.origin)))

    # These coroutines refer to the call, which refers to its stream only weakly: a dropped stream can be freed.

    async def _intercepted(self, call: AwaitedCall) -> None:
        """Run the interceptors around the whole stream, the first one outermost."""
        token = enter_call(call)
        try:
            value = await cast(Any, self.proceed)(call)
        except (asyncio.CancelledError, GeneratorExit) as error:
            # Either error ends the reader of the stream, as it ends the caller of a method without a stream.
            _give_up(call)
            _conclude(call, error)
            raise
        except BaseException as error:
            _give_up(call)
            _conclude(call, plain_error(error, "an interceptor"))
        else:
            _give_up(call)
            _conclude(call, None, value)
        finally:
            leave_scope(token)

    async def run(self, call: AwaitedCall) -> Any:
        """Begin a stream and return at its end. The `proceed` of the innermost interceptor calls this."""
        unbegun(call)
        try:
            await self._begin(call)
            while (change := _until_told(call)) is not None:
                await change
            failure = _failure_of(call)
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure
        except BaseException:
            _give_up(call)
            raise
        finally:
            _adopt(call)
        return answer_of(call)

    async def _begin(self, call: AwaitedCall) -> None:
        connection = plain_connection(self._pool, call) if self._begins_plainly else None
        if connection is not None:
            _start(await self._first_attempt(call, connection), call)
        elif takes_stream(call.route):
            await self._run_mode(call, None)
        else:
            stream = _wanted(call)
            await stream.wait_open(stream.attempt(self._attempts(call, None)))

    def retry(self, stream: Stream[Any, Any], error: FastRPCError) -> bool:
        if not self._goes_on(stream, error):
            return False
        stream.attempt(self._attempts(stream.origin, error))
        return True

    async def _attempts(self, call: AwaitedCall, error: FastRPCError | None) -> None:
        """Run the fail mode; its failure ends the stream. `error` is the error of an attempt that was already made."""
        try:
            with contained(AROUND_CALL):
                await self._run_mode(call, error)
        except Exception as failure:
            _finish(call, failure)

    async def _run_mode(self, call: AwaitedCall, error: FastRPCError | None) -> None:
        """Make attempts by the fail mode until the stream accepts one; if it accepts none, raise the call's error."""
        await _StreamAttempting(self._pool, call, error).run(self._mode_of(call))


class _StreamAttempting(Attempting):
    """The attempts of one stream, for a fail mode. An attempt succeeds once it shows a sign of the server."""

    is_stream = True

    def __init__(self, pool: ConnectionPool, call: AwaitedCall, made: FastRPCError | None) -> None:
        super().__init__(pool, call, made)
        #: The futures of the signs for which attempts wait.
        self._signs: dict[AwaitedCall, asyncio.Future[None]] = {}

    async def _attempt_on(self, connection: ClientEngine, pick: Pick | None) -> AwaitedCall:
        call = self._call
        # Check before the attempt counts as sent: the stream may no longer be wanted.
        _wanted(call)
        attempt = call._attempt_on(connection, self._number)
        await pack_arguments(attempt)
        self._note_sent()
        sign = self._signs[attempt] = asyncio.get_running_loop().create_future()
        _start(attempt, call, sign, pick)
        return attempt

    async def _outcome(self, attempt: AwaitedCall) -> None:
        sign = self._signs.pop(attempt)
        if takes_stream(self._call.route):
            # A call that sends a stream has one attempt, which the stream owns.
            return
        await sign
        failure = None if attempt._is_chosen else attempt._failure
        if failure is not None:
            try:
                raise failure
            finally:
                # The traceback leads to this frame, so the frame must not lead back to the error.
                del failure

    def _conclude(self, attempt: AwaitedCall, pick: Pick | None, error: BaseException | None) -> None:
        # An attempt keeps its pick until it ends, which may be now.
        if error is not None:
            attempt._give_up()


# The stream of a call. None of the following functions waits, so each refers to the stream only briefly.


def _stream_of(call: ClientCall) -> Any:
    """Return the stream of a call, or None once the program has released it."""
    return call._stream


def unbegun(call: ClientCall) -> Any:
    """Return the stream of a call for which `proceed` was called.

    Raises:
        RuntimeError: the stream began before, or was dropped.
    """
    stream = _stream_of(call)
    if stream is None or stream.is_open:
        raise RuntimeError(
            f"{call.method}: `proceed` of a stream can be called once, while the stream is wanted"
        )
    return stream


def _goes_on_without(call: ClientCall) -> bool:
    """Return whether a stream needs no successful attempt: it has one already, has ended, or was dropped."""
    stream = _stream_of(call)
    return stream is None or stream.needs_no_attempt


def _wanted(call: AwaitedCall) -> Stream[Any, Any]:
    """Return the stream of a call, if the stream is still wanted."""
    stream: Stream[Any, Any] | None = _stream_of(call)
    if stream is None:
        raise RuntimeError(f"{call.method}: the stream was dropped")
    # The stream may have been cancelled during the wait for a connection: then nothing is sent.
    stream.check_wanted()
    return stream


def _start(
    attempt: AwaitedCall,
    call: AwaitedCall,
    sign: asyncio.Future[None] | None = None,
    pick: Pick | None = None,
) -> None:
    """Send an attempt."""
    _wanted(call).start_attempt(attempt, sign, pick)


def _until_told(call: AwaitedCall) -> asyncio.Future[None] | None:
    stream = _stream_of(call)
    return None if stream is None else stream.until_told()


def _failure_of(call: AwaitedCall) -> BaseException | None:
    stream = _stream_of(call)
    return None if stream is None else stream.failure


def answer_of(call: ClientCall) -> Any:
    """Return the result for the innermost interceptor: the one answer of a method that streams its input only."""
    stream = _stream_of(call)
    return None if stream is None else stream.answer_of_attempt()


def _adopt(call: AwaitedCall) -> None:
    stream = _stream_of(call)
    if stream is not None:
        stream.adopt_attempt()


def _give_up(call: AwaitedCall) -> None:
    """End the attempt of a stream that is not continued."""
    stream = _stream_of(call)
    if stream is not None:
        stream.give_up_attempt()


def _finish(call: AwaitedCall, error: BaseException) -> None:
    stream = _stream_of(call)
    if stream is not None:
        stream.finish(error)


def _conclude(call: AwaitedCall, error: BaseException | None, *value: Any) -> None:
    stream = _stream_of(call)
    if stream is not None:
        stream.conclude(error, *value)
