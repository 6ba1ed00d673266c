from typing import Any, final

from fastrpc._core.calling.client_call import ClientCall, PickedCall
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.native.connection import Connection

@final
class BatchMember(PendingCall):
    """One call of a batch."""

@final
class BatchCall(PickedCall):
    """What `call_many` returns: many calls, one write, one wake-up.

    Its members share one timer and are used again by the next batch: to send a batch of 512 and to collect its values
    takes the client 40 µs.
    """

    @property
    def _is_long(self) -> bool:
        """Whether arguments of its calls are compressed in slices: each of these calls is then made by itself."""

    @property
    def _size(self) -> int:
        """How many calls it is."""

    @property
    def _returns_errors(self) -> bool:
        """Whether errors are results."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Those of its first call, which stand for the batch where it is placed by them."""

    def _packed(self) -> list[BatchMember]:
        """Those of its calls whose answers are not decompressed yet."""

    def _collect(self) -> list[Any]:
        """Return what its calls stand for, errors in place of values; once."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    def _start_clock(self) -> None:
        """Give the batch its deadline before there is a connection.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _single(self, index: int) -> ClientCall:
        """Return a coroutine that makes one of the calls by itself, within the batch's deadline."""

    def _attempted(self, index: int) -> ClientCall:
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""

    def _attempt_on(self, session: Connection) -> BatchCall:
        """Return a coroutine that makes the whole batch on a connection and gives errors in place of values."""
