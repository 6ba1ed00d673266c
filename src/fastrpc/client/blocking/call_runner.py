"""The slow path of a blocking call: waiting for a connection, interceptors, further attempts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc.client.attempting import may_retry, mode_of
from fastrpc.client.blocking.attempting import SyncAttempting
from fastrpc.client.blocking.driving import drive
from fastrpc.client.call_runner import BaseCallRunner, peer_of
from fastrpc.errors import FastRPCError
from fastrpc.peers.batches import Batch

if TYPE_CHECKING:
    from fastrpc.client.blocking.pool import SyncPool
    from fastrpc.client.blocking.stream_runner import SyncStreamRunner
    from fastrpc.peers.peer import Peer

__all__ = ["SyncCallRunner"]


class SyncCallRunner(BaseCallRunner):
    """Runs the calls of one blocking client that cannot be sent immediately."""

    _attempting = SyncAttempting
    _pool: "SyncPool"

    def _new_streams(self) -> "SyncStreamRunner":
        from fastrpc.client.blocking.stream_runner import SyncStreamRunner

        return SyncStreamRunner(self._pool, self._mode, self._routes)

    def run(self, call: BlockingCall) -> Any:
        """Make a call from its first attempt."""
        return drive(self._made(call))

    def retry(self, call: BlockingCall, error: FastRPCError) -> Any:
        """Continue after a failed first attempt, or raise its error if the failure is final."""
        if not may_retry(call, error, mode_of(call, self._mode)):
            raise error
        return drive(self._again(call, error))

    def run_batch(self, head: BlockingCall) -> list[Any]:
        """Run a batch that found no connection, or whose calls have interceptors."""
        batch = Batch(head)
        if self._interceptors:
            return batch.result([self._outcome(self.run, single) for single in batch.singles()])
        try:
            values = drive(self._attempted(batch))
        except FastRPCError as error:
            return batch.result(batch.count_unsent(error))
        return self.finish_batch(head, values)

    def finish_batch(self, head: BlockingCall, values: list[Any]) -> list[Any]:
        """Retry the calls that may be retried, then raise the first error or return errors in their places."""
        batch = Batch(head)
        for index, value in enumerate(values):
            if isinstance(value, FastRPCError):
                values[index] = self._outcome(self.retry, batch.attempted(index), value)
        return batch.result(values)

    def _outcome(self, make: Callable[..., Any], *args: Any) -> Any:
        """Return the value or the error of one call of a batch."""
        try:
            return make(*args)
        except FastRPCError as error:
            return error

    def peer(self, call: BlockingCall) -> "Peer":
        """Return the peer of a call."""
        return peer_of(call, self._pool)
