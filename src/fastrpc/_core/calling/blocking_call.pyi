from collections.abc import Awaitable
from typing import Any, final

from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc.endpoint import Endpoint

@final
class BlockingCall(PendingCall):
    """One call of a thread, or one attempt of it."""

    @property
    def _options(self) -> ViewOptions: ...
    @property
    def _is_one_way(self) -> bool:
        """Whether `notify` made it, which nothing answers."""

    @property
    def _wants_reply(self) -> bool:
        """Whether `request` made it, which returns more than the value."""

    @property
    def arguments(self) -> tuple[Any, ...]: ...
    @property
    def endpoint(self) -> Endpoint | None:
        """Where it went last."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def retry_policy(self) -> Any:
        """The rules and the budget of its client."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    @property
    def draining(self) -> Awaitable[Any]:
        """Done once the server drains: on this side never, so an interceptor that awaits it is refused."""

    async def sleep(self, seconds: float) -> None:
        """Wait, in an interceptor: blocks the thread, as everything here does."""

    # For the runner

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _attempt_on(self, session: BlockingSession, number: int) -> BlockingCall | None:
        """Start attempt `number` of this call on a connection; None when that takes no calls any more.

        It has the call's deadline; `_finish` has to follow.
        """

    def _finish(self) -> Any:
        """Return the answer to an attempt that was started, or raise its error."""

    def _cancel(self) -> None:
        """Give up an attempt that another thread waits for, and let that thread go."""

    def _adopt(self, attempt: BlockingCall) -> None:
        """Take over what an attempt learned: the answer's metadata, where it came from, when it ended."""
