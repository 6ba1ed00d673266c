"""One endpoint of a blocking client, and the connections to it.

What is known of the endpoint and what is to be done is `EndpointPlan`'s; the threads that call see what became of a
connection when they look at it.
"""

import time

from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc.client.plan import EndpointPlan
from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError

__all__ = ["SyncSubchannel", "opened", "spare_seconds_until"]

#: How long a call may be kept by an attempt to reach one more endpoint while it could go to another one already.
#: Too low never finds a distant server again, too high delays a call now and then.
SPARE_SECONDS = 0.25


class SyncSubchannel(EndpointPlan):
    """One endpoint and the connections to it, whatever state they are in. Guarded by the pool's lock."""

    def __init__(self, endpoint: Endpoint, backoff: Backoff) -> None:
        super().__init__(endpoint, backoff)
        self.sessions: list[BlockingSession] = []

    @property
    def connections(self) -> list[BlockingSession]:
        """The connections that take calls as far as is known."""
        return self.sessions

    @property
    def may_come(self) -> bool:
        """Whether a thread is dialling: who asks found no connection that it may take."""
        return self.is_dialing

    @property
    def is_untried(self) -> bool:
        """Whether no attempt to connect was made: that a server shows its settings is seen by no one at once."""
        return self.is_new

    def refresh(self) -> None:
        """Take note of what became of the connections."""
        if self.error is not None and any(
            session.is_ready and session.is_usable and not session.is_aged for session in self.sessions
        ):
            self.answered()
        for session in [session for session in self.sessions if not session.is_usable]:
            # A rested connection's end is seen with the next call: the pause began when it was last of use.
            used_at = session.used_at
            self.sessions.remove(session)
            session.retire()
            self._note_end(session, used_at)
        replaced = self.replaced()
        for session in [session for session in self.sessions if session in replaced]:
            self.sessions.remove(session)
            session.retire()

    def _note_end(self, session: BlockingSession, used_at: float) -> None:
        if session.is_spent:
            self.spent()
            return
        self.ended(
            was_ready=session.is_ready,
            lived=session.lifetime,
            reason=session.lost_because or "the server drains",
            at=used_at if session.is_ready else time.monotonic(),
        )

    def remove(self) -> None:
        """The endpoint is none any more: what is under way may end, nothing new begins."""
        for session in self.sessions:
            session.retire()
        self.sessions = []
        self.is_removed = True

    def least_used(self) -> BlockingSession | None:
        """Return the connection with the fewest threads on it."""
        return min(self.sessions, key=lambda session: session.users, default=None)


def spare_seconds_until(until: float | None) -> float:
    """Return for how long an attempt may keep a call that could go out already: half of its own time is the most."""
    if until is None:
        return SPARE_SECONDS
    return min(SPARE_SECONDS, max(0.0, until - time.monotonic()) / 2)


def opened(session: BlockingSession, spare_seconds: float | None) -> BlockingSession:
    """Return a connection that is to replace others once its server has shown its settings.

    Raises:
        ConnectError: the server did not, or not in time.
    """
    is_ready = False
    try:
        is_ready = session.wait_ready(None if spare_seconds is None else time.monotonic() + spare_seconds)
    finally:
        if not is_ready:
            session.retire()
    if not is_ready:
        reason = session.lost_because or "the server did not answer in time"
        raise ConnectError(f"{session.endpoint} did not open a connection in place of an old one: {reason}")
    return session
