"""The run of a stream from its first attempt to its end: connecting, another attempt, interceptors.

Where there is one address, connected, the first attempt is sent at once. Else the fail mode runs in a task of its own,
until an attempt shows a sign of the server: from then on nothing is tried again. A stream that sends is attempted once.
Interceptors stand around the whole of it, in a task too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastrpc._core.balancing.endpoint_set import Pick
from fastrpc._core.calling.awaited_call import AwaitedCall
from fastrpc._core.calling.caller_state import CallerState
from fastrpc._core.calling.client_call import ClientCall
from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.loop.loop_state import loop_state
from fastrpc.calling.outcomes import status_of
from fastrpc.calling.packing import pack_arguments
from fastrpc.calling.route_maker import RouteMaker
from fastrpc.calling.stream import Stream
from fastrpc.calling.stream_arguments import takes_stream
from fastrpc.calling.stream_maker import StreamMaker
from fastrpc.client.attempting import Attempting, may_retry
from fastrpc.client.pool import Pool
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import FailMode, is_sequential

__all__ = ["BaseStreamRunner", "StreamRunner", "answer_of"]


class BaseStreamRunner:
    """The part of running streams that both clients share."""

    def __init__(self, pool: Any, mode: FailMode) -> None:
        self._pool = pool
        self._mode = mode
        #: `proceed` of the interceptors around streams; None where there are none.
        self.proceed: Callable[[Any], Coroutine[Any, Any, Any]] | None = None

    def _mode_of(self, call: ClientCall) -> FailMode:
        mode: FailMode = call._options.fail_mode or self._mode
        return mode

    def _goes_on(self, stream: Any, error: FastRPCError) -> bool:
        """Return whether another attempt follows the one that failed; the call has learned from it then."""
        call, attempt = stream.origin, stream._attempt
        if attempt is None or stream.takes_stream or not may_retry(call, error, self._mode_of(call)):
            return False
        call._adopt(attempt)
        return True


class StreamRunner(BaseStreamRunner, StreamMaker):
    """Runs the streams of one client."""

    def __init__(self, pool: Pool, mode: FailMode, routes: RouteMaker) -> None:
        BaseStreamRunner.__init__(self, pool, mode)
        StreamMaker.__init__(self, routes, pool.config.timeouts.stream_idle or 0.0)
        self._begins_plainly = pool.endpoint_set is None and is_sequential(mode)

    # Attempts

    async def open(self, stream: Stream[Any, Any]) -> None:
        cast(CallerState, stream.origin._options.shared).use()
        stream._set_loop(loop_state(asyncio.get_running_loop()), self._idle_seconds)
        stream.origin._start_clock()
        if self.proceed is None:
            await self._begin(stream.origin)
        else:
            await stream.wait_open(stream.intercept(self._intercepted(stream.origin)))

    # From here on the stream is known by its call, which holds it by no reference.

    async def _intercepted(self, call: AwaitedCall) -> None:
        """Run the interceptors, the first of them outermost, around the whole stream."""
        token = enter_call(call)
        try:
            value = await cast(Any, self.proceed)(call)
        except BaseException as error:
            _give_up(call)
            _conclude(call, error)
            if not isinstance(error, Exception):
                raise
        else:
            _give_up(call)
            _conclude(call, None, value)
        finally:
            leave_scope(token)

    async def run(self, call: AwaitedCall) -> Any:
        """Begin a stream and return at its end: what the innermost interceptor proceeds to."""
        _check_wanted(call)
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
        options = call._options
        is_plain = self._begins_plainly and options.fail_mode is None and options.endpoint is None
        session = self._pool.at_once(ready=call._needs_ready) if is_plain else None
        if session is not None:
            attempt = call._attempt_on(session, 0)
            call._may_have_run = True
            await pack_arguments(attempt)
            _start(attempt, call)
        elif takes_stream(call.route):
            await self._attempt_once(call)
        else:
            stream = _wanted(call)
            await stream.wait_open(stream.attempt(self._attempts(call, None)))

    async def _attempt_once(self, call: AwaitedCall) -> None:
        attempts = _StreamAttempting(self._pool, call, None)
        try:
            await attempts.prepare()
            await attempts.begin(attempts.pick(), None)
        except BaseException as error:
            if not attempts.was_sent:
                call._count_unsent(status_of(error))
            raise

    def retry(self, stream: Stream[Any, Any], error: FastRPCError) -> bool:
        if not self._goes_on(stream, error):
            return False
        stream.attempt(self._attempts(stream.origin, error))
        return True

    async def _attempts(self, call: AwaitedCall, error: FastRPCError | None) -> None:
        """Attempt as the fail mode says, until one shows a sign. `error` is that of an attempt already made."""
        attempts = _StreamAttempting(self._pool, call, error)
        try:
            await attempts.prepare()
            await self._mode_of(call).run(call, attempts.pick, attempts.attempt)
        except BaseException as failure:
            if not attempts.was_sent:
                call._count_unsent(status_of(failure))
            if not isinstance(failure, Exception):
                raise
            _finish(call, failure)


class _StreamAttempting(Attempting):
    """The attempts of one stream, for a fail mode: one succeeds once it shows a sign."""

    is_stream = True

    def __init__(self, pool: Pool, call: AwaitedCall, made: FastRPCError | None) -> None:
        super().__init__(pool, call, made)
        self._origin = call

    async def attempt(self, endpoint: Endpoint) -> Any:
        if self._made is not None:
            return self._fail_again(endpoint)
        sign: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        attempt, session, pick = await self.begin(endpoint, sign)
        self._running.append((attempt, pick))
        try:
            await sign
            if not attempt._is_chosen and attempt._failure is not None:
                raise attempt._failure
        except BaseException as error:
            attempt._give_up()
            self._end(attempt, session, pick, error)
            raise
        self._running.remove((attempt, pick))
        self._origin._adopt(attempt)
        for other, _ in self._running:
            other._lose()
        return None

    async def begin(
        self, endpoint: Endpoint, sign: asyncio.Future[None] | None
    ) -> tuple[AwaitedCall, Any, Pick | None]:
        """Send an attempt."""
        session, pick = await self._connection(endpoint)
        call = self._origin
        try:
            # Before it counts as sent: it may be wanted no more.
            _wanted(call)
            attempt = call._attempt_on(session, self._number)
            await pack_arguments(attempt)
            self._number += 1
            self.was_sent = call._may_have_run = True
            _start(attempt, call, sign, pick)
        except BaseException:
            if pick is not None:
                pick.dropped()
            raise
        return attempt, session, pick


# The stream of a call. None of these waits, so none of them holds it for longer than a moment.


def _stream_of(call: AwaitedCall) -> Stream[Any, Any] | None:
    return cast("Stream[Any, Any] | None", call._stream)


def _wanted(call: AwaitedCall) -> Stream[Any, Any]:
    """Return the stream of a call that is to go on."""
    stream = _stream_of(call)
    if stream is None:
        raise RuntimeError(f"{call.method}: the stream was dropped")
    # It may have been cancelled while this waited for a connection: then nothing is sent.
    stream._check_failure()
    return stream


def _check_wanted(call: AwaitedCall) -> None:
    stream = _stream_of(call)
    if stream is None or stream.is_open:
        raise RuntimeError(
            f"{call.method}: `proceed` of a stream can be called once, while the stream is wanted"
        )


def _start(
    attempt: AwaitedCall,
    call: AwaitedCall,
    sign: asyncio.Future[None] | None = None,
    pick: Pick | None = None,
) -> None:
    """Send an attempt."""
    stream = _wanted(call)
    attempt._begin(stream, sign, pick)
    stream.wake()


def _until_told(call: AwaitedCall) -> asyncio.Future[None] | None:
    stream = _stream_of(call)
    return None if stream is None else stream.until_told()


def _failure_of(call: AwaitedCall) -> BaseException | None:
    stream = _stream_of(call)
    return None if stream is None else stream.failure


def answer_of(call: ClientCall) -> Any:
    """Return what the innermost interceptor gets: the one answer of a method that streams its input only."""
    stream = call._stream
    if stream is None or stream.gives_stream or stream._attempt is None:
        return None
    return stream._attempt._answer()


def _adopt(call: AwaitedCall) -> None:
    stream = _stream_of(call)
    if stream is not None and stream._attempt is not None:
        call._adopt(stream._attempt)


def _give_up(call: AwaitedCall) -> None:
    """End the attempt of a stream that nobody goes on with."""
    stream = _stream_of(call)
    attempt = None if stream is None else stream._attempt
    if attempt is not None and not attempt._is_over:
        attempt._give_up()


def _finish(call: AwaitedCall, error: BaseException) -> None:
    stream = _stream_of(call)
    if stream is not None:
        stream.finish(error)


def _conclude(call: AwaitedCall, error: BaseException | None, *value: Any) -> None:
    stream = _stream_of(call)
    if stream is not None:
        stream.conclude(error, *value)
