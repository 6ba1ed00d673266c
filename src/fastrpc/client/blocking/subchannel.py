"""One endpoint of a blocking client, and the connections to it.

`EndpointPlan` holds the state and the decisions. The calling threads notice the end of a connection when they use it.
"""

import time
from typing import Literal

from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc.client.endpoint_plan import CROWD_CALLS, CROWD_SECONDS, MOST_AUTOMATIC, EndpointPlan
from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint

__all__ = ["SyncSubchannel"]


class SyncSubchannel(EndpointPlan):
    """One endpoint and its connections in every state. Guarded by the pool's lock."""

    def __init__(self, endpoint: Endpoint, backoff: Backoff, *, width: int | Literal["auto"] = 1) -> None:
        super().__init__(endpoint, backoff, width=width)
        self.sessions: list[BlockingSession] = []
        # The instant since which each check found the least used connection crowded, and the last check.
        self._crowded_since = self._looked_at = float("-inf")

    @property
    def connections(self) -> list[BlockingSession]:
        """The connections that take calls, as far as is known."""
        return self.sessions

    @property
    def may_come(self) -> bool:
        """Whether a thread is dialling, or will after a pause; the caller has found no connection to use."""
        return self.is_dialing or self.is_awaited

    @property
    def is_untried(self) -> bool:
        """Whether no dial has ended: without a loop SETTINGS are read only at the next wait."""
        return self.is_new

    def refresh(self) -> None:
        """Update the state from the connections."""
        if (self.error is not None or self.awaited_since is not None) and any(
            session.is_ready and session.is_usable and not session.is_aged for session in self.sessions
        ):
            self.answered()
        for session in [session for session in self.sessions if not session.is_usable]:
            # The end of an unused connection is seen only by the next call: the pause counts from its last use.
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
            self.narrow()
            self.spent()
            return
        engine = session.engine
        self.note_pings(engine)
        if engine.auth_status > 0:
            self.note_refusal(engine.auth_status, engine.auth_text, time.monotonic())
            return
        self.ended(
            was_ready=session.is_ready,
            lived=session.lifetime,
            reason=session.lost_because or "the server drains",
            hint=session.lost_hint,
            at=used_at if session.is_ready else time.monotonic(),
            is_replaced=engine.peer_replaces,
        )

    @property
    def asks_below(self) -> int:
        """The number of connections below which calls ask for another one, if the present ones are crowded."""
        if self.is_automatic and not any(session.is_ready for session in self.sessions):
            # The number of workers is not read yet.
            return MOST_AUTOMATIC
        return self.most

    def is_crowded(self, users: int, now: float) -> bool:
        """Return whether the least used connection was crowded for long; then one more may be dialled.

        Args:
            users: the threads on it now; each call of such a crowd asks.
        """
        self.workers = max((one.engine.peer.workers for one in self.sessions if one.is_ready), default=1)
        has_all = len(self.sessions) >= self.most
        if users <= CROWD_CALLS or has_all or now - self._looked_at > CROWD_SECONDS:
            self._crowded_since = now
        self._looked_at = now
        if now - self._crowded_since < CROWD_SECONDS:
            return False
        self._crowded_since = now
        if len(self.sessions) >= self.width:  # Else the last dial failed, or is still under way.
            self.widen()
        return True

    def remove(self) -> None:
        """Leave the endpoint: calls in flight may finish, no new ones start."""
        for session in self.sessions:
            session.retire()
        self.sessions = []
        self.is_removed = True

    def least_used(self) -> BlockingSession | None:
        """Return the connection with the fewest threads on it."""
        return min(self.sessions, key=lambda session: session.users, default=None)
