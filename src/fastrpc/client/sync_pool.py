"""The connections of a blocking client: made by the thread that needs one, made again when they are lost."""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from fastrpc._core.blocking_session import BlockingSession
from fastrpc._core.histogram import CallTotals
from fastrpc._core.settings import Settings
from fastrpc.config import Backoff, ClientConfig
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError, FastRPCError, UnavailableError
from fastrpc.transports.blocking import connect

__all__ = ["SyncLink", "SyncPool"]

logger = logging.getLogger("fastrpc.client")

#: How long a call may be kept by an attempt to reach one more endpoint while it could go to another one already.
#: Too low never finds a distant server again, too high delays a call now and then.
SPARE_SECONDS = 0.25


class SyncLink:
    """One endpoint and the connections to it, whatever state they are in. Guarded by the pool's lock."""

    def __init__(self, endpoint: Endpoint, backoff: Backoff) -> None:
        self.endpoint = endpoint
        self.sessions: list[BlockingSession] = []
        #: Why there is no connection; None once a server has shown its settings.
        self.error: FastRPCError | None = None
        #: Instant of the next attempt, after failures.
        self.due = 0.0
        self.is_dialing = False
        self._first = backoff.first
        self._delays = Delays(backoff)

    def refresh(self) -> None:
        """Take note of what became of the connections."""
        for session in self.sessions:
            if session.is_ready and self.error is not None and session.is_usable:
                logger.info("connected to %s again", self.endpoint)
                self.error = None
                self._delays.reset()
        for session in [session for session in self.sessions if not session.is_usable]:
            self.sessions.remove(session)
            session.retire()
            self._note_end(session)

    def _note_end(self, session: BlockingSession) -> None:
        if session.is_spent:
            self._delays.reset()
            return
        reason = session.lost_because or "the server drains"
        if not session.is_ready:
            self.note_failure(ConnectError(f"{self.endpoint} ended the connection in its opening: {reason}"))
        elif session.lifetime < self._first:
            # A server that drops every connection right behind its settings is not hammered either.
            lived = session.lifetime
            self.note_failure(
                ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
            )
        else:
            # From now on a loss is tried again without delay.
            self._delays.reset()

    def note_failure(self, error: FastRPCError) -> None:
        """Pause before the next attempt, longer each time."""
        if self.error is None:
            logger.warning("cannot connect to %s: %s", self.endpoint, error.message)
        self.error = error
        self.due = time.monotonic() + self._delays.take()

    def may_dial(self, now: float) -> bool:
        """Whether an attempt to connect may be made."""
        return not self.is_dialing and now >= self.due

    def least_used(self) -> BlockingSession | None:
        """Return the connection with the fewest threads on it."""
        return min(self.sessions, key=lambda session: session.users, default=None)


class SyncPool:
    """All links of a blocking client."""

    def __init__(self, endpoints: Sequence[Endpoint], config: ClientConfig, settings: Settings) -> None:
        self.links = [SyncLink(endpoint, config.backoff) for endpoint in endpoints]
        #: Told which connections there are, a list for each endpoint, and the instant at which to ask here first.
        self.on_change: Callable[[list[list[BlockingSession]], float | None], None]
        self.totals = CallTotals()
        #: How long a reading thread polls; less than the setting where that would be of no use.
        self.spin_microseconds = 0
        self._config = config
        self._settings = settings
        self._changed = threading.Condition()
        self._turn = 0
        self._is_closed = False
        self._process: int | None = None

    @property
    def sessions(self) -> list[BlockingSession]:
        """Every connection there is."""
        return [session for link in self.links for session in link.sessions]

    def acquire(self, until: float | None, *, wait: bool, avoid: Any = None) -> BlockingSession:
        """Return a usable connection, making one if there is none.

        Args:
            until: instant of `time.monotonic()` at which to give up, or None.
            wait: go on while no server can be reached, instead of failing once every address was tried.
            avoid: an endpoint to leave out as long as another one has a connection.

        Raises:
            UnavailableError: no connection is to be had; the message names every address and its error.
            TimeoutError: the time is over.
        """
        has_dialed = False
        while True:
            with self._changed:
                session = self._choose(avoid)
                if session is None and until is not None and time.monotonic() >= until:
                    raise TimeoutError
                link = None if has_dialed and session is not None else self._link_to_dial(session, avoid)
                if link is None:
                    if session is not None:
                        self._publish()
                        return session
                    self._await_change(until, wait)
                    continue
                link.is_dialing = True
                self._publish()
            has_dialed = True
            self._dial(link, until, SPARE_SECONDS if session is not None else None)

    def _choose(self, avoid: Any) -> BlockingSession | None:
        """Return the least used connection of the next endpoint in turn that has one."""
        if self._is_closed:
            raise UnavailableError("the client is closed", processed="no", retryable=False)
        spare = None
        self._turn += 1
        for link in self._in_turn():
            link.refresh()
            session = link.least_used()
            if session is not None and link.endpoint is not avoid:
                return session
            spare = spare or session
        return spare

    def _in_turn(self) -> list[SyncLink]:
        start = self._turn % len(self.links)
        return self.links[start:] + self.links[:start]

    def _link_to_dial(self, session: BlockingSession | None, avoid: Any) -> SyncLink | None:
        """Return an endpoint that should get a connection: one that has none, or one whose are all in use."""
        now = time.monotonic()
        found = None
        for link in self._in_turn():
            if not link.sessions and link.may_dial(now):
                if link.endpoint is not avoid:
                    return link
                found = link
        if session is None:
            return found
        width = self._config.pool.connections_per_endpoint
        for link in self.links:
            if (
                session in link.sessions
                and session.users
                and len(link.sessions) < width
                and link.may_dial(now)
            ):
                return link
        return None

    def _await_change(self, until: float | None, wait: bool) -> None:
        """Wait while other threads dial, or until the next attempt may be made."""
        now = time.monotonic()
        if until is not None and now >= until:
            raise TimeoutError
        limits = [] if until is None else [until]
        if not any(link.is_dialing for link in self.links):
            if not wait:
                raise self._unreachable()
            limits.append(min(link.due for link in self.links))
        self._changed.wait(max(0.0, min(limits) - now) if limits else None)

    def _dial(self, link: SyncLink, until: float | None, spare_seconds: float | None) -> None:
        """Make one attempt to connect, and tell everybody how it went."""
        session = None
        try:
            session = self._connect(link.endpoint, until, spare_seconds)
        except FastRPCError as error:
            if until is None or time.monotonic() < until:
                with self._changed:
                    link.note_failure(error)
        finally:
            with self._changed:
                link.is_dialing = False
                if session is not None and not self._is_closed:
                    self.totals.connections += 1
                    link.sessions.append(session)
                    session = None
                self._publish()
                self._changed.notify_all()
            if session is not None:
                session.close()

    def _connect(
        self, endpoint: Endpoint, until: float | None, spare_seconds: float | None
    ) -> BlockingSession:
        config = self._config
        self._process = os.getpid()
        left = None if until is None else max(0.0, until - time.monotonic())
        limits = [limit for limit in (config.timeouts.connect, spare_seconds, left) if limit is not None]
        silence = config.keepalive.timeout + (config.keepalive.interval or 0.0)
        stream = connect(endpoint.address, min(limits, default=None), silence_seconds=silence)
        return BlockingSession(
            stream=stream,
            endpoint=endpoint,
            timeouts=config.timeouts,
            keepalive=config.keepalive,
            settings=self._settings.copy(),
            early_calls=config.early_calls,
            spin_microseconds=self.spin_microseconds,
        )

    def _publish(self) -> None:
        """Say which connections calls may go out on without asking here."""
        look_after: list[float] = []
        for link in self.links:
            if link.error is not None and link.sessions:
                # Until it is known that the server is back.
                look_after.append(0.0)
            elif not link.sessions and not link.is_dialing:
                look_after.append(link.due)
        groups = [list(link.sessions) for link in self.links if link.sessions]
        self.on_change(groups, min(look_after, default=None))

    def tried(self) -> str:
        """Say what came of each address, for the message of an error."""
        return "; ".join(
            f"{link.endpoint}: {link.error.message if link.error else 'no answer yet'}" for link in self.links
        )

    def _unreachable(self) -> ConnectError:
        return ConnectError(
            f"no connection to be had: {self.tried()}",
            hint="is a server running there? with_options(wait_for_ready=True) waits for one",
        )

    def close(self) -> None:
        """Close every connection; nothing is made again."""
        for session in self._drop_all():
            session.close()

    def _drop_all(self) -> list[BlockingSession]:
        with self._changed:
            self._is_closed = True
            sessions = self.sessions
            for link in self.links:
                link.sessions = []
            self._publish()
            self._changed.notify_all()
        return sessions

    def __del__(self) -> None:
        if self._is_closed or not self.sessions:
            return
        if self._process != os.getpid():
            # They are the parent's, who goes on using them. No lock here: a thread that is not here may hold it.
            for session in self.sessions:
                session.forsake()
            return
        warnings.warn(f"unclosed SyncClient of {self}", ResourceWarning, source=self, stacklevel=2)
        for session in self.sessions:
            session.retire()

    def __str__(self) -> str:
        return ", ".join(str(link.endpoint) for link in self.links)
