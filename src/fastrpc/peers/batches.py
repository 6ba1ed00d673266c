"""A batch as its runner uses it: the calls in it, and the head call that represents all of them."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from functools import partial
from typing import Any

from fastrpc._core.client.call_errors import mark_own_call
from fastrpc._core.client.client_call import ClientCall
from fastrpc.errors import FastRPCError
from fastrpc.peers.outcomes import AROUND_CALL, count_unsent
from fastrpc.user_code import without_exit

__all__ = ["Batch", "outcomes_of"]


async def outcomes_of(calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Make calls concurrently, one task each, and return the outcomes in order, with errors in place of values."""
    return await asyncio.gather(*(without_exit(call, AROUND_CALL) for call in calls), return_exceptions=True)


class Batch:
    """The calls of a batch of either client.

    Args:
        head: the call that represents the batch.
    """

    __slots__ = ("_calls", "head")

    def __init__(self, head: ClientCall) -> None:
        self.head = head
        self._calls = head._batch

    @property
    def is_long(self) -> bool:
        """Whether arguments have to be compressed in slices: each call is then made separately."""
        return bool(self._calls.is_long(self.head))

    @property
    def needs_ready(self) -> bool:
        """Whether the batch has to wait for its peer's settings."""
        return self.head._needs_ready

    def start_clock(self) -> None:
        """Set the deadline of the batch before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """
        self.head._start_clock()

    def singles(self) -> Iterator[Any]:
        """Yield the calls of the batch as new calls with the deadline of the batch."""
        return map(partial(self._calls.single, self.head), range(self._calls.size))

    def attempted(self, index: int) -> Any:
        """Return one call of the batch, marked as already attempted once."""
        return self._calls.attempted(self.head, index)

    def attempt_on(self, connection: Any) -> Any:
        """Send the batch on a connection. Return the coroutine, or for a `SyncClient` whether it was sent."""
        return self._calls.attempt_on(self.head, connection)

    def finish(self) -> list[Any]:
        """Return the results of a batch that `attempt_on` sent without a loop."""
        values: list[Any] = self._calls.finish(self.head)
        return values

    def packed(self) -> list[Any]:
        """Return the calls whose answers are still compressed."""
        calls: list[Any] = self._calls.packed()
        return calls

    def collect(self) -> list[Any]:
        """Return the outcomes of the calls, errors in place of values; call this only once."""
        values: list[Any] = self._calls.collect(self.head)
        return values

    def count_unsent(self, error: FastRPCError) -> list[Any]:
        """Count each call as failed without an attempt; return the list of outcomes, with this error for each call."""
        size: int = self._calls.size
        for _ in range(size):
            count_unsent(self.head, error)
        return [error] * size

    def result(self, values: list[Any]) -> list[Any]:
        """Return the results of the calls. Raise the first error, unless errors are to be returned."""
        for value in values:
            mark_own_call(value)
        for value in values:
            if isinstance(value, BaseException) and not (
                self._calls.returns_errors and isinstance(value, FastRPCError)
            ):
                raise value
        return values
