"""One endpoint of a blocking client, and the connections to it.

`EndpointPlan` holds the state and the decisions. The calling threads notice the end of a connection when they use it.
"""

import time
from collections.abc import Callable
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
        self.open_connections: list[BlockingSession] = []
        #: A function that ends this client's use of a shared connection, and returns whether other clients use it.
        self.leave_to_others: Callable[[BlockingSession], bool] = lambda _: False
        #: A function that ends this client's use of the address, which other clients share.
        self.forget: Callable[[], object] = lambda: None
        # `_crowded_since`: the instant since which each check found the least used connection crowded.
        # `_looked_at`: the instant of the last check.
        self._crowded_since = self._looked_at = float("-inf")

    @property
    def connections(self) -> list[BlockingSession]:
        """The connections that accept calls, as far as is known."""
        return self.open_connections

    @property
    def may_come(self) -> bool:
        """Whether a thread is dialling, or will dial after a pause. Only used if there is no usable connection."""
        return self.is_dialing or self.is_awaited

    @property
    def is_untried(self) -> bool:
        """Whether no dial has ended. SETTINGS do not matter: without a loop they are read only at the next wait."""
        return self.is_new

    def refresh(self) -> None:
        """Update the state from the connections."""
        if (self.error is not None or self.awaited_since is not None) and any(
            connection.is_ready and connection.is_usable and not connection.life.is_aged
            for connection in self.open_connections
        ):
            self.answered()
        for connection in [connection for connection in self.open_connections if not connection.is_usable]:
            # Only the next call notices that an unused connection ended, so the pause counts from the last use.
            used_at = connection.used_at
            self._retire(connection)
            self._note_end(connection, used_at)
        replaced = self.replaced()
        for connection in [connection for connection in self.open_connections if connection in replaced]:
            self._retire(connection)

    def _retire(self, connection: BlockingSession) -> None:
        self.open_connections.remove(connection)
        if not self.leave_to_others(connection):
            connection.retire()

    def _note_end(self, connection: BlockingSession, used_at: float) -> None:
        if connection.life.is_spent:
            self.narrow()
            self.spent()
            return
        engine = connection.engine
        self.note_pings(engine)
        if engine.auth_status > 0:
            self.note_refusal(engine.auth_status, engine.auth_text, time.monotonic())
            return
        self.ended(
            was_ready=connection.is_ready,
            lived=connection.lifetime,
            reason=connection.lost_because or "the server drains",
            hint=connection.lost_hint,
            at=used_at if connection.is_ready else time.monotonic(),
            is_aged=connection.life.is_aged,
            is_replaced=engine.peer_replaces,
        )

    @property
    def asks_below(self) -> int:
        """The number of connections below which calls request another one when all existing ones are crowded."""
        if self.is_automatic and not any(connection.is_ready for connection in self.open_connections):
            # The number of workers was not read yet.
            return MOST_AUTOMATIC
        return self.most

    def is_crowded(self, users: int, now: float) -> bool:
        """Return whether the least used connection has been crowded for long, so that one more may be dialled.

        Args:
            users: the number of threads that use that connection now. While it is crowded, each call checks this.
        """
        self.workers = max(
            (one.engine.peer.workers for one in self.open_connections if one.is_ready), default=1
        )
        has_all = len(self.open_connections) >= self.most
        if users <= CROWD_CALLS or has_all or now - self._looked_at > CROWD_SECONDS:
            self._crowded_since = now
        self._looked_at = now
        if now - self._crowded_since < CROWD_SECONDS:
            return False
        self._crowded_since = now
        if len(self.open_connections) >= self.width:  # Else the last dial failed, or is still under way.
            self.widen()
        return True

    def remove(self) -> None:
        """Retire all connections to the endpoint for good: calls in flight may finish, no new ones start."""
        self.rest()
        self.is_removed = True

    def rest(self) -> None:
        """Retire all connections to the endpoint until the next dial: calls in flight may finish."""
        for connection in list(self.open_connections):
            self._retire(connection)
        self.forget()

    def least_used(self) -> BlockingSession | None:
        """Return the connection with the fewest threads on it."""
        return min(self.open_connections, key=lambda connection: connection.users, default=None)
