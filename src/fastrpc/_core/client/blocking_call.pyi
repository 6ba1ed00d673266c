from typing import Any, final

from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.client_call import ClientCall

@final
class BlockingCall(ClientCall):
    """A call of a thread, or one attempt of it."""

    async def sleep(self, seconds: float) -> None:
        """Block the thread for some seconds, for an interceptor."""

    # For the runner

    def _attempt_on(self, session: BlockingSession, number: int, pick: Any = None) -> BlockingCall | None:
        """Start attempt `number` of this call on a connection; None if it takes no more calls.

        The attempt has the call's deadline. `_finish` has to follow, except for a stream, which keeps `pick` until its
        end. Once an attempt has started, the call may have run.
        """

    def _finish(self) -> Any:
        """Return the answer to an attempt that was started, or raise its error."""

    def _cancel(self) -> None:
        """Give up an attempt that another thread waits for, and wake that thread."""

    def _end_pick(self, error: BaseException | None) -> None:
        """Report the outcome of the attempt to the endpoint set, once."""
