from typing import final

from fastrpc._core.client.batch_call import BatchCall
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.client.blocking_session import BlockingSession

@final
class BlockingBatch(BatchCall):
    """The calls of a batch that a thread waits for."""

    def attempt_on(self, head: BlockingCall, session: BlockingSession) -> bool:
        """Start the batch on a connection, or return False; `finish` has to follow."""

    def finish(self, head: BlockingCall) -> list[object]:
        """Return the answers to a batch that was started, errors in place of those that failed."""
