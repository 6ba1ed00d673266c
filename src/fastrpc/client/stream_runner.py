"""What happens to a stream from its first attempt to its end: connecting, another attempt, interceptors.

Where there is one address, connected, the first attempt is sent at once. Else the fail mode runs in a task of its own,
until an attempt shows a sign of the server: from then on nothing is tried again. A stream that sends is attempted once.
Interceptors stand around the whole of it, in a task too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastrpc._core.balancing.endpoint_set import Pick
from fastrpc._core.calling.called_stream import StreamCall
from fastrpc._core.calling.caller_state import CallerState
from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.loop.loop_state import loop_state
from fastrpc.calling.route_maker import RouteMaker
from fastrpc.calling.stream import Stream
from fastrpc.calling.stream_maker import StreamMaker
from fastrpc.client.attempting import Attempting
from fastrpc.client.pool import Pool
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import FailMode, is_sequential

__all__ = ["StreamRunner"]


class StreamRunner(StreamMaker):
    """Runs the streams of one client.

    Args:
        may_retry: whether a fail mode could try a call again after an error.
        status_of: what interceptors are told of an error.
    """

    def __init__(
        self,
        pool: Pool,
        mode: FailMode,
        routes: RouteMaker,
        *,
        may_retry: Callable[[Any, FastRPCError, FailMode], bool],
        status_of: Callable[[BaseException], Any],
    ) -> None:
        super().__init__(routes, pool.config.timeouts.stream_idle or 0.0)
        self._pool = pool
        self._mode = mode
        self._may_retry = may_retry
        self._status_of = status_of
        self._begins_plainly = pool.endpoint_set is None and is_sequential(mode)
        #: `proceed` of the interceptors around streams; None where there are none.
        self.proceed: Callable[[StreamCall], Coroutine[Any, Any, Any]] | None = None

    # Attempts

    async def open(self, stream: Stream[Any, Any]) -> None:
        cast(CallerState, stream.origin._options.shared).use()
        stream._set_loop(loop_state(asyncio.get_running_loop()), self._idle_seconds)
        stream.origin._start_clock()
        if self.proceed is None:
            await self._begin(stream)
        else:
            stream.is_intercepted = True
            await stream.wait_open(stream.spawn(self._intercepted(stream)))

    async def _intercepted(self, stream: Stream[Any, Any]) -> None:
        """Run the interceptors, the first of them outermost, around the whole stream."""
        call = stream.origin
        token = enter_call(call)
        try:
            value = await cast(Any, self.proceed)(call)
        except BaseException as error:
            _give_up(stream)
            if not isinstance(error, Exception):
                raise
            stream.conclude(error)
        else:
            _give_up(stream)
            stream.conclude(None, value)
        finally:
            leave_scope(token)

    async def run(self, call: StreamCall) -> Any:
        """Begin a stream and return at its end: what the innermost interceptor proceeds to."""
        stream = cast(Stream[Any, Any] | None, call._stream)
        if stream is None or stream.is_open:
            raise RuntimeError(
                f"{call.method}: `proceed` of a stream can be called once, while the stream is wanted"
            )
        try:
            await self._begin(stream)
            await stream.wait_finished()
        except BaseException:
            _give_up(stream)
            raise
        finally:
            if stream._attempt is not None:
                call._adopt(stream._attempt)
        return None if stream.gives_stream else cast(StreamCall, stream._attempt)._answer()

    async def _begin(self, stream: Stream[Any, Any]) -> None:
        call = stream.origin
        options = call._options
        is_plain = self._begins_plainly and options.fail_mode is None and options.endpoint is None
        session = self._pool.at_once(ready=call._needs_ready) if is_plain else None
        if session is not None:
            attempt = call._attempt_on(session, 0)
            call._may_have_run = True
            attempt._begin(stream)
            stream.wake()
        elif stream.takes_stream:
            await self._attempt_once(stream)
        else:
            await stream.wait_open(stream.spawn(self._attempts(stream, None)))

    async def _attempt_once(self, stream: Stream[Any, Any]) -> None:
        attempts = _StreamAttempting(self._pool, stream, None)
        try:
            if attempts.waits_for_list:
                await attempts.wait_list()
            await attempts.begin(attempts.pick(), None)
        except BaseException as error:
            if not attempts.was_sent:
                stream.origin._count_unsent(self._status_of(error))
            raise

    def retry(self, stream: Stream[Any, Any], error: FastRPCError) -> bool:
        call = stream.origin
        mode = call._options.fail_mode or self._mode
        if stream.takes_stream or not self._may_retry(call, error, mode):
            return False
        call._adopt(cast(StreamCall, stream._attempt))
        stream.spawn(self._attempts(stream, error))
        return True

    async def _attempts(self, stream: Stream[Any, Any], error: FastRPCError | None) -> None:
        """Attempt as the fail mode says, until one shows a sign. `error` is that of an attempt already made."""
        call = stream.origin
        attempts = _StreamAttempting(self._pool, stream, error)
        mode: FailMode = call._options.fail_mode or self._mode
        try:
            if attempts.waits_for_list:
                await attempts.wait_list()
            await mode.run(call, attempts.pick, attempts.attempt)
        except BaseException as failure:
            if not attempts.was_sent:
                call._count_unsent(self._status_of(failure))
            if not isinstance(failure, Exception):
                raise
            stream.finish(failure)


class _StreamAttempting(Attempting):
    """What a fail mode is given to make the attempts of one stream with: one succeeds once it shows a sign."""

    def __init__(self, pool: Pool, stream: Stream[Any, Any], made: FastRPCError | None) -> None:
        super().__init__(pool, stream.origin, made)
        self._stream = stream

    async def attempt(self, endpoint: Endpoint) -> Any:
        if self._made is not None:
            return self._fail_again(endpoint)
        sign: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        attempt, session, pick = await self.begin(endpoint, sign)
        self._running.append((attempt, pick))
        try:
            await sign
            if not attempt.is_chosen and attempt._failure is not None:
                raise attempt._failure
        except BaseException as error:
            attempt._give_up()
            self._end(attempt, session, pick, error)
            raise
        self._running.remove((attempt, pick))
        self._stream.origin._adopt(attempt)
        for other, _ in self._running:
            other._lose()
        return None

    async def begin(
        self, endpoint: Endpoint, sign: asyncio.Future[None] | None
    ) -> tuple[StreamCall, Any, Pick | None]:
        """Send an attempt."""
        session, pick = await self._connection(endpoint)
        try:
            attempt = cast(StreamCall, cast(Any, self._call)._attempt_on(session, self._number))
            self._number += 1
            self.was_sent = self._call._may_have_run = True
            attempt._begin(self._stream, sign, pick)
        except BaseException:
            if pick is not None:
                pick.dropped()
            raise
        self._stream.wake()
        return attempt, session, pick


def _give_up(stream: Stream[Any, Any]) -> None:
    """End the attempt of a stream that nobody goes on with."""
    attempt = stream._attempt
    if attempt is not None and not attempt._is_over:
        attempt._give_up()
