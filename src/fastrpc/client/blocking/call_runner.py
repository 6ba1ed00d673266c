"""The slow path of a blocking call: waiting for a connection, interceptors, further attempts."""

from collections.abc import Callable, Sequence
from typing import Any

from fastrpc._core.calling.blocking_call import BlockingCall
from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.calls.interception import Chain
from fastrpc.calling.outcomes import batch_result, note_failure, reply_of, status_of
from fastrpc.calling.peer import Peer
from fastrpc.calling.route_maker import RouteMaker
from fastrpc.client.blocking.attempting import SyncAttempting
from fastrpc.client.blocking.driving import drive
from fastrpc.client.blocking.pool import SyncPool
from fastrpc.client.blocking.stream_runner import SyncStreamRunner
from fastrpc.client.call_runner import may_retry, peer_of
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import FailMode, RetryPolicy
from fastrpc.rpc.interceptor import Interceptor, admits_none, checked_interceptors
from fastrpc.rpc.reply import Reply

__all__ = ["SyncCallRunner"]


class SyncCallRunner:
    """Run the calls of one blocking client that cannot be sent at once."""

    def __init__(
        self,
        pool: SyncPool,
        interceptors: Sequence[Interceptor],
        policy: RetryPolicy,
        mode: FailMode,
        routes: RouteMaker,
    ) -> None:
        self._pool = pool
        self._interceptors = checked_interceptors(interceptors)
        #: The interceptors around unary calls.
        self.chain = Chain(self._interceptors, self._innermost, note_failure, admits_none)
        self._proceed = self.chain.proceed()
        #: Runs what streams.
        self.streams = SyncStreamRunner(pool, mode, routes)
        if self._interceptors:
            self.streams.proceed = Chain(
                self._interceptors, self.streams.run, note_failure, admits_none
            ).proceed()
        self._mode = mode
        #: The rule for retries; all calls share its budget.
        self.policy = policy

    def run(self, call: BlockingCall) -> Any:
        """Make a call from its first attempt."""
        call._start_clock()
        if not self._interceptors:
            return self._result(call, self._attempts(call, None))
        token = enter_call(call)
        try:
            return self._result(call, drive(self._proceed(call)))
        finally:
            leave_scope(token)

    async def _innermost(self, call: BlockingCall) -> Any:
        """Make all attempts, inside the interceptors."""
        return self._attempts(call, None)

    def retry(self, call: BlockingCall, error: FastRPCError) -> Any:
        """Continue after a failed first attempt, or raise its error if the failure is final."""
        if not may_retry(call, error, call._options.fail_mode or self._mode):
            raise error
        return self._result(call, self._attempts(call, error))

    def _attempts(self, call: BlockingCall, error: FastRPCError | None) -> Any:
        """Run the fail mode. `error` comes from an attempt already made."""
        attempts = SyncAttempting(self._pool, call, error)
        mode: FailMode = call._options.fail_mode or self._mode
        try:
            attempts.follow()
            return drive(mode.run(call, attempts.pick, attempts.attempt))
        except BaseException as unsent:
            if not attempts.was_sent:
                call._count_unsent(status_of(unsent))
            raise

    def run_batch(self, batch: BlockingCall) -> list[Any]:
        """Make a batch that found no connection, or whose calls have interceptors."""
        size = batch._batch.size
        if self._interceptors:
            return batch_result(
                batch, [self._outcome(self.run, batch._batch.single(batch, index)) for index in range(size)]
            )
        try:
            attempts = SyncAttempting(self._pool, batch, None)
            attempts.follow()
            values = attempts.attempt_batch(batch)
        except FastRPCError as error:
            for _ in range(size):
                batch._count_unsent(error.status)
            return batch_result(batch, [error] * size)
        return self.finish_batch(batch, values)

    def finish_batch(self, batch: BlockingCall, values: list[Any]) -> list[Any]:
        """Retry the calls that may be retried, then raise the first error or return errors in their places."""
        for index, value in enumerate(values):
            if isinstance(value, FastRPCError):
                values[index] = self._outcome(self.retry, batch._batch.attempted(batch, index), value)
        return batch_result(batch, values)

    def _outcome(self, make: Callable[..., Any], *args: Any) -> Any:
        """Return the value or the error of one call of a batch."""
        try:
            return make(*args)
        except FastRPCError as error:
            return error

    def _result(self, call: BlockingCall, value: Any) -> Any:
        if call._is_one_way:  # An interceptor may have returned a value; a one-way call has none.
            return None
        return self.reply(call, value) if call._wants_reply else value

    def peer(self, call: BlockingCall) -> Peer:
        """Return the peer of a call."""
        return peer_of(call, [subchannel.endpoint for subchannel in self._pool.subchannels], "")

    def reply(self, call: BlockingCall, value: Any) -> Reply[Any]:
        """Wrap the answer of `request`."""
        return reply_of(call, value)
