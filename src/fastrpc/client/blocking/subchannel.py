"""One endpoint of a blocking client, and the connections to it."""

import logging
import random
import time
from typing import Any

from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc.client.subchannel_rules import trouble_at, without_frames
from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError, FastRPCError

__all__ = ["SyncSubchannel", "opened", "spare_seconds_until"]

logger = logging.getLogger("fastrpc.client")

#: How long a call may be kept by an attempt to reach one more endpoint while it could go to another one already.
#: Too low never finds a distant server again, too high delays a call now and then.
SPARE_SECONDS = 0.25


class SyncSubchannel:
    """One endpoint and the connections to it, whatever state they are in. Guarded by the pool's lock."""

    def __init__(self, endpoint: Endpoint, backoff: Backoff) -> None:
        self.endpoint = endpoint
        self.sessions: list[BlockingSession] = []
        #: Why there is no connection; None once a server has shown its settings.
        self.error: FastRPCError | None = None
        #: How often a connection could not be made, or ended as soon as it was there.
        self.failures = 0
        #: Instant of the next attempt, after failures.
        self.due = 0.0
        self.is_dialing = False
        self.was_dialed = False
        self.is_removed = False
        #: Whether `ready` connects it (`Pool.warm`), and its place in this client's own order.
        self.is_warm = False
        self.rank = random.random()
        #: The EndpointState of the endpoint set, where there is one.
        self.endpoint_state: Any = None
        self._first = backoff.first
        self._delays = Delays(backoff)

    def refresh(self) -> None:
        """Take note of what became of the connections."""
        for session in self.lasting:
            if session.is_ready and self.error is not None and session.is_usable:
                logger.info("connected to %s again", self.endpoint)
                self.error = None
                self._delays.reset()
        for session in [session for session in self.sessions if not session.is_usable]:
            # A rested connection's end is seen with the next call: the pause began when it was last of use.
            used_at = session.used_at
            self.sessions.remove(session)
            session.retire()
            self._note_end(session, used_at)
        if any(session.is_ready for session in self.lasting):
            for session in [session for session in self.sessions if session.is_aged]:
                self.sessions.remove(session)
                session.retire()

    @property
    def lasting(self) -> list[BlockingSession]:
        """The connections that are not to be replaced."""
        return [session for session in self.sessions if not session.is_aged]

    def _note_end(self, session: BlockingSession, used_at: float) -> None:
        if session.is_spent:
            self._delays.reset()
            return
        reason = session.lost_because or "the server drains"
        if not session.is_ready:
            self.note_failure(ConnectError(f"{self.endpoint}: the connection ended in its opening: {reason}"))
        elif session.lifetime < self._first:
            # A server that drops every connection right behind its settings is not hammered either.
            lived = session.lifetime
            self.note_failure(
                ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}"), used_at
            )
        else:
            # From now on a loss is tried again without delay.
            self._delays.reset()

    def note_failure(self, error: FastRPCError, since: float | None = None) -> None:
        """Pause before the next attempt, longer each time; from now, or from an earlier instant."""
        if self.error is None:
            logger.warning("%s", trouble_at(self.endpoint, error))
        self.error = without_frames(error)
        self.failures += 1
        self.due = (time.monotonic() if since is None else since) + self._delays.take()

    @property
    def is_new(self) -> bool:
        """Whether nothing is known against it: no attempt to connect was made."""
        return not self.sessions and self.error is None and not self.was_dialed

    def remove(self) -> None:
        """The endpoint is none any more: what is under way may end, nothing new begins."""
        for session in self.sessions:
            session.retire()
        self.sessions = []
        self.is_removed = True

    def may_dial(self, now: float) -> bool:
        """Whether an attempt to connect may be made."""
        return not self.is_dialing and now >= self.due

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
