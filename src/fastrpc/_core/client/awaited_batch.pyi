from typing import Any, final

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.batch_call import BatchCall, BatchMember
from fastrpc._core.client.client_call import ClientCall

@final
class AwaitedBatch(BatchCall):
    """The calls of a batch that a task awaits.

    Its members share one timer and are used again by the next batch: to send a batch of 512 and to collect its values
    takes the client 40 µs.
    """

    def is_long(self, head: AwaitedCall) -> bool:
        """Return whether arguments of its calls are compressed in slices: each call is then made by itself."""

    def packed(self) -> list[BatchMember]:
        """Return those of its calls whose answers are not decompressed yet."""

    def collect(self, head: AwaitedCall) -> list[object]:
        """Return the results of its calls, errors in place of values; once."""

    def attempted(self, head: ClientCall, index: int) -> AwaitedCall:
        """Return one of the calls, already attempted once with the batch, for the runner to continue."""

    def attempt_on(self, head: AwaitedCall, session: Any) -> AwaitedCall:
        """Return a coroutine that makes the whole batch on a connection and gives errors in place of values."""
