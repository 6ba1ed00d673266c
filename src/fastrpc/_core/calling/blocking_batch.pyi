from typing import Any, final

from fastrpc._core.calling.blocking_call import BlockingCall
from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc.status import Status

@final
class BatchMember(PendingCall):
    """One call of a batch."""

@final
class BlockingBatch:
    """Many calls of one thread: one write, one wake-up."""

    @property
    def _options(self) -> ViewOptions: ...
    @property
    def _size(self) -> int:
        """How many calls it is."""

    @property
    def _returns_errors(self) -> bool:
        """Whether errors are results."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Those of its first call, which stand for the batch where it is placed by them."""

    @property
    def method(self) -> str:
        """Full name of the method."""

    @property
    def deadline(self) -> float | None:
        """Instant of `time.monotonic()` at which the batch ends, or None."""

    @property
    def _elapsed(self) -> float:
        """How long the batch takes already."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    def _attempt_on(self, session: BlockingSession) -> bool:
        """Start the batch on a connection, or return False; `_finish` has to follow."""

    def _finish(self) -> list[Any]:
        """Return the answers to a batch that was started, errors in place of those that failed."""

    def _count_unsent(self, status: Status) -> None:
        """Count calls that failed before a connection could be had, all of them."""

    def _single(self, index: int) -> BlockingCall:
        """Return one of the calls, to be made from its beginning."""

    def _attempted(self, index: int) -> BlockingCall:
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""
