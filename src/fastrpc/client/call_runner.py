"""The slow path of a call: waiting for a connection, interceptors, further attempts.

Compiled code makes the first attempt, even with several endpoints. After a failure `retry` runs the fail mode and
replays the failed attempt to it: the first `pick` returns the endpoint of that attempt, and the first `attempt` raises
its error. So a user-defined fail mode sees every call from its beginning, and the built-in ones cost nothing while
calls succeed. Hedged calls use this path from the start, and so do calls with user-defined selectors, which may read
metadata.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.calls.invocation import Chain
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.client_call import ClientCall
from fastrpc.client.attempting import Attempting, BaseAttempting, may_retry, mode_of, plain_connection
from fastrpc.client.placing import AttemptPool
from fastrpc.client.pool import ConnectionPool
from fastrpc.client.wire import wire_of
from fastrpc.config.validation import WIRE_PROTOCOLS
from fastrpc.endpoint import Address
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import FailMode, RetryPolicy, is_sequential
from fastrpc.peers.answers import Answers
from fastrpc.peers.batches import Batch, outcomes_of
from fastrpc.peers.outcomes import note_failure, reply_of, result_of
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.rpc.interceptor import Interceptor, admits_none, checked_interceptors
from fastrpc.rpc.reply import Reply

if TYPE_CHECKING:
    from fastrpc.client.stream_runner import StreamRunner
    from fastrpc.peers.peer import Peer

__all__ = [
    "BaseCallRunner",
    "CallRunner",
    "may_retry",
    "peer_of",
]


class BaseCallRunner:
    """The part that both clients share. In a `SyncClient` its coroutines never suspend, and `drive` runs them."""

    #: The class that makes the attempts of a call. Its arguments are the pool, the call, and the error of an attempt
    #: that was already made, or None.
    _attempting: type[BaseAttempting]

    def __init__(
        self,
        pool: AttemptPool,
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
        self._mode = mode
        self._routes = routes
        #: The rule for retries; all calls share its budget.
        self.policy = policy

    @cached_property
    def streams(self) -> Any:
        """The runner of calls with streams in one direction or both, imported on the first such call."""
        streams = self._new_streams()
        if self._interceptors:
            streams.proceed = Chain(self._interceptors, streams.run, note_failure, admits_none).proceed()
        return streams

    def _new_streams(self) -> Any:
        raise NotImplementedError

    async def _made(self, call: ClientCall) -> Any:
        """Make a call from its first attempt. The interceptors run around all attempts, the first one outermost."""
        call._start_clock()
        if not self._interceptors:
            return result_of(call, await self._first_attempts(call))
        token = enter_call(call)
        try:
            return result_of(call, await self._proceed(call))
        finally:
            leave_scope(token)

    async def _again(self, call: ClientCall, error: FastRPCError) -> Any:
        """Continue after a failed attempt."""
        return result_of(call, await self._attempts(call, error))

    async def _first_attempts(self, call: Any) -> Any:
        """Make the attempts of a new call."""
        return await self._attempts(call, None)

    async def _attempts(self, call: ClientCall, error: FastRPCError | None) -> Any:
        """Run the fail mode; `error` is the error of an attempt that was already made, or None."""
        return await self._attempting(self._pool, call, error).run(mode_of(call, self._mode))

    async def _attempted(self, batch: Batch) -> list[Any]:
        """Make the first attempt of a batch. A failed call's error stands in place of its value."""
        return await self._attempting(self._pool, batch.head, None).run_batch(batch)

    def reply(self, call: ClientCall, value: Any) -> Reply[Any]:
        """Wrap the answer of `request`."""
        return reply_of(call, value)


class CallRunner(Answers, BaseCallRunner):
    """Runs the calls of one client that cannot be sent immediately."""

    _attempting = Attempting
    _pool: ConnectionPool

    def __init__(
        self,
        pool: ConnectionPool,
        interceptors: Sequence[Interceptor],
        policy: RetryPolicy,
        mode: FailMode,
        routes: RouteMaker,
    ) -> None:
        super().__init__(pool, interceptors, policy, mode, routes)
        self._begins_plainly = pool.endpoint_set is None and is_sequential(mode)
        self._answer_bytes = pool.config.limits.message_bytes

    def _new_streams(self) -> "StreamRunner":
        from fastrpc.client.stream_runner import StreamRunner

        return StreamRunner(self._pool, self._mode, self._routes)

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the pool to the loop of the client's first use."""
        self._pool.bind(loop)

    def run(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that makes a call from its first attempt."""
        return self._made(call)

    def run_packed(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        return self.run(call)

    def run_streamed(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that makes a call with a stream of messages among its arguments."""
        return cast(Coroutine[Any, Any, Any], self.streams.call(call))

    def retry(self, call: AwaitedCall, error: FastRPCError) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine that continues after a failed first attempt; None if the failure is final."""
        return self._again(call, error) if may_retry(call, error, mode_of(call, self._mode)) else None

    async def _first_attempts(self, call: AwaitedCall) -> Any:
        """Make the attempts of a new call; with one connected address the first attempt is sent immediately."""
        connection = plain_connection(self._pool, call) if self._begins_plainly else None
        if connection is None:
            return await self._attempts(call, None)
        attempt = call._attempt_on(connection, 0)
        try:
            value = await attempt
        except BaseException as error:
            # A cancelled call, too, reports the bytes and the peer of its attempt.
            call._adopt(attempt, error.processed != "no" if isinstance(error, FastRPCError) else None)
            if not isinstance(error, FastRPCError) or not may_retry(call, error, self._mode):
                raise
            return await self._attempts(call, error)
        call._adopt(attempt)
        return value

    async def run_batch(self, head: AwaitedCall) -> list[Any]:
        """Run a batch that found no connection, or whose calls have interceptors."""
        if head.kind != "unary":
            raise TypeError(
                f"{head.method} takes a stream: a batch cannot send one; write client.call(…) for each"
            )
        batch = Batch(head)
        if self._interceptors or batch.is_long:
            return await self.run_singles(head)
        try:
            batch.start_clock()
            values = await self._attempted(batch)
        except FastRPCError as error:
            return batch.result(batch.count_unsent(error))
        return await self.finish_batch(head, values)

    async def finish_batch(self, head: AwaitedCall, values: list[Any]) -> list[Any]:
        """Retry the calls that may be retried, then raise the first error or return errors in their places."""
        batch = Batch(head)
        again: dict[int, Coroutine[Any, Any, Any]] = {}
        for index, value in enumerate(values):
            if isinstance(value, FastRPCError):
                attempts = self.retry(batch.attempted(index), value)
                if attempts is not None:
                    again[index] = attempts
        # The retries run concurrently: the `retry_after` of one call must not delay the others.
        results = await outcomes_of(again.values())
        for index, result in zip(again, results, strict=True):
            values[index] = result
        return batch.result(values)

    def peer(self, call: AwaitedCall) -> "Peer":
        """Return the peer of a call."""
        return peer_of(call, self._pool)


def peer_of(call: ClientCall, pool: AttemptPool) -> "Peer":
    """Return the endpoint of a call's last attempt as its peer; before the first attempt, the first endpoint."""
    from fastrpc.peers.peer import Peer

    config = pool.config
    endpoint = call.endpoint or next((one.endpoint for one in pool.subchannels), None)

    if endpoint is None:
        return Peer(
            Address("service", path=str(pool.target)), protocol=config.wire_protocol or WIRE_PROTOCOLS[0]
        )
    return Peer(endpoint.address, protocol=wire_of(endpoint, config))
