"""The slow path of a call: waiting for a connection, interceptors, further attempts.

Compiled code makes the first attempt, even with several endpoints; after a failure the fail mode decides. `retry`
replays the failed attempt to the fail mode: its first `pick` returns that endpoint, its first `attempt` raises that
error. A user-defined fail mode thus sees every call from its beginning, and the built-in ones cost nothing while calls
succeed.
Hedged calls and user-defined selectors, which may read metadata, take this path from the start.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from fastrpc._core.calling.awaited_call import AwaitedCall
from fastrpc._core.calling.client_call import ClientCall
from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.calls.interception import Chain
from fastrpc.calling.answers import Answers
from fastrpc.calling.outcomes import batch_result, note_failure, status_of
from fastrpc.calling.peer import Peer
from fastrpc.calling.route_maker import RouteMaker
from fastrpc.client.attempting import Attempting
from fastrpc.client.pool import Pool
from fastrpc.client.stream_runner import StreamRunner
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import FastRPCError, UnavailableError
from fastrpc.failmodes.base import AttemptedCall, FailMode, RetryPolicy, is_sequential, was_load
from fastrpc.rpc.interceptor import Interceptor, admits_none, checked_interceptors

__all__ = [
    "CallRunner",
    "may_retry",
    "peer_of",
]


class CallRunner(Answers):
    """Run the calls of one client that cannot be sent at once."""

    def __init__(
        self,
        pool: Pool,
        interceptors: Sequence[Interceptor],
        policy: RetryPolicy,
        mode: FailMode,
        routes: RouteMaker,
    ) -> None:
        self._pool = pool
        self._interceptors = checked_interceptors(interceptors)
        #: The interceptors around unary calls.
        self.chain = Chain(self._interceptors, self._first_attempts, note_failure, admits_none)
        self._proceed = self.chain.proceed()
        #: The calls whose messages go one way or both.
        self.streams = StreamRunner(pool, mode, routes, may_retry=may_retry, status_of=status_of)
        if self._interceptors:
            self.streams.proceed = Chain(
                self._interceptors, self.streams.run, note_failure, admits_none
            ).proceed()
        self._mode = mode
        self._begins_plainly = pool.endpoint_set is None and is_sequential(mode)
        #: The rule for retries; all calls share its budget.
        self.policy = policy

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the pool to the loop of the client's first use."""
        self._pool.bind(loop)

    def run(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that makes a call from its first attempt."""
        return self._intercepted(call) if self._interceptors else self._run(call)

    def run_packed(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        return self.run(call)

    def run_streamed(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that makes a call one of whose arguments is a stream of messages."""
        return self.streams.call(call)

    async def _run(self, call: AwaitedCall) -> Any:
        call._start_clock()
        return self._result(call, await self._first_attempts(call))

    async def _intercepted(self, call: AwaitedCall) -> Any:
        """Run the interceptors around all attempts, the first outermost."""
        call._start_clock()
        token = enter_call(call)
        try:
            return self._result(call, await self._proceed(call))
        finally:
            leave_scope(token)

    def retry(self, call: AwaitedCall, error: FastRPCError) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine that continues after a failed first attempt; None if the failure is final."""
        mode = call._options.fail_mode or self._mode
        return self._again(call, error) if may_retry(call, error, mode) else None

    async def _again(self, call: AwaitedCall, error: FastRPCError) -> Any:
        return self._result(call, await self._attempts(call, error))

    async def _first_attempts(self, call: AwaitedCall) -> Any:
        """Make the attempts of a new call; with one connected address the first one is sent at once."""
        session = None
        options = call._options
        if self._begins_plainly and options.fail_mode is None and options.endpoint is None:
            session = self._pool.at_once(ready=call._needs_ready)
        if session is None:
            return await self._attempts(call, None)
        attempt = call._attempt_on(session, 0)
        call._may_have_run = True
        try:
            value = await attempt
        except FastRPCError as error:
            call._may_have_run = error.processed != "no"
            call._adopt(attempt)
            if not may_retry(call, error, self._mode):
                raise
            return await self._attempts(call, error)
        call._adopt(attempt)
        return value

    async def _attempts(self, call: AwaitedCall, error: FastRPCError | None) -> Any:
        """Run the fail mode. `error` comes from an attempt already made."""
        attempts = Attempting(self._pool, call, error)
        mode: FailMode = call._options.fail_mode or self._mode
        try:
            if attempts.waits_for_list:
                await attempts.wait_list()
            return await mode.run(call, attempts.pick, attempts.attempt)
        except BaseException as unsent:
            if not attempts.was_sent:
                call._count_unsent(status_of(unsent))
            raise

    async def run_batch(self, batch: AwaitedCall) -> list[Any]:
        """Make a batch that found no connection, or whose calls have interceptors."""
        if batch.kind != "unary":
            raise TypeError(
                f"{batch.method} takes a stream: a batch cannot send one; write client.call(…) for each"
            )
        if self._interceptors or batch._batch.is_long(batch):
            return await self.run_singles(batch)
        try:
            batch._start_clock()
            attempts = Attempting(self._pool, batch, None)
            if attempts.waits_for_list:
                await attempts.wait_list()
            values = await attempts.attempt_batch(batch)
        except FastRPCError as error:
            for _ in range(batch._batch.size):
                batch._count_unsent(error.status)
            return batch_result(batch, [error] * batch._batch.size)
        return await self.finish_batch(batch, values)

    async def finish_batch(self, batch: AwaitedCall, values: list[Any]) -> list[Any]:
        """Retry the calls that may be retried, then raise the first error or return errors in their places."""
        again: dict[int, Coroutine[Any, Any, Any]] = {}
        for index, value in enumerate(values):
            if isinstance(value, FastRPCError):
                attempts = self.retry(batch._batch.attempted(batch, index), value)
                if attempts is not None:
                    again[index] = attempts
        # Concurrently: the `retry_after` of one call must not delay the others.
        results = await asyncio.gather(*again.values(), return_exceptions=True)
        for index, result in zip(again, results, strict=True):
            values[index] = result
        return batch_result(batch, values)

    def _result(self, call: AwaitedCall, value: Any) -> Any:
        if call._is_one_way:  # An interceptor may have returned a value; a one-way call has none.
            return None
        return self.reply(call, value) if call._wants_reply else value

    def peer(self, call: AwaitedCall) -> Peer:
        """Return the peer of a call."""
        return peer_of(
            call, [subchannel.endpoint for subchannel in self._pool.subchannels], str(self._pool.target)
        )


def peer_of(call: ClientCall, endpoints: Sequence[Endpoint], service: str) -> Peer:
    """Return the peer of a call: the endpoint of its last attempt, or those it may go to."""
    endpoint = call.endpoint or (endpoints[0] if endpoints else None)
    return Peer(Address("service", path=service) if endpoint is None else endpoint.address)


def may_retry(call: AttemptedCall, error: FastRPCError, mode: FailMode) -> bool:
    """Return whether the fail mode could retry; False ends the call without running it."""
    if call.inside_retry:
        return False
    if error.processed == "no":
        may_repeat = error.retryable
    else:
        may_repeat = call.is_idempotent and (error.retryable or isinstance(error, UnavailableError))
    if may_repeat and was_load(error) and is_sequential(mode):
        # The fail mode would ask the budget next. In an outage most calls end here, at about the cost of a good call.
        return mode.retries > 0 and bool(call.retry_policy.budget.has_room)
    return may_repeat
