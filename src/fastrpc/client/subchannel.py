"""One endpoint of an asynchronous client, and the connections to it.

What is known of the endpoint and what is to be done is `EndpointPlan`'s; here are the dials, timers and sessions.
"""

import asyncio
import contextvars
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from fastrpc._core.calling.client_session import ClientSession
from fastrpc.client.plan import EndpointPlan
from fastrpc.client.probing import EndpointProbes
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError, FastRPCError
from fastrpc.transports.base import dial_options, transport_for

if TYPE_CHECKING:
    from fastrpc.client.pool import Pool

__all__ = ["Subchannel"]

logger = logging.getLogger("fastrpc.client")


class _StreamSession(ClientSession, asyncio.BufferedProtocol):
    """A client's session as asyncio's own loops want it; uvloop would take the compiled class alone."""

    __slots__ = ()


class Subchannel(EndpointPlan):
    """One endpoint and the connections to it, whatever state they are in."""

    logs_early_ends = False

    def __init__(self, pool: "Pool", endpoint: Endpoint) -> None:
        super().__init__(endpoint, pool.config.backoff)
        #: Connections that were made and take calls as far as is known; replaced, never changed.
        self.live: list[ClientSession] = []
        #: Whether a connection ended because nobody needed it: the next call makes another.
        self.is_dormant = False
        self._pool = pool
        self._task: asyncio.Task[bool] | None = None
        #: Runs while the next attempt is put off.
        self._pause: asyncio.TimerHandle | None = None
        self._turn = 0
        self._probes: EndpointProbes | None = None
        # Calls that wait for a connection to this very endpoint.
        self._waiters: set[asyncio.Future[None]] = set()
        # When each was made, those that take no new calls included; None once its end is noted.
        self._sessions: dict[ClientSession, float | None] = {}

    @property
    def connections(self) -> list[ClientSession]:
        """The connections that take calls as far as is known."""
        return self.live

    def start(self, *, is_wanted: bool = False) -> None:
        """Connect in the background unless that is under way or done; soon where a call waits for this endpoint."""
        self.is_dormant = False
        if not self._may_dial or self._task is not None or self._pause is not None:
            return
        if self.is_dialing:
            if is_wanted:
                self._pool.dials.ask(self, is_wanted=True)
        elif left := self.pause_left(self._pool.loop.time()):
            self._begin_pause(left)
        else:
            self._ask(is_wanted=is_wanted)

    def _ask(self, *, is_wanted: bool = False) -> None:
        self.is_dialing = True
        self._pool.dials.ask(self, is_wanted=is_wanted)

    @property
    def _may_dial(self) -> bool:
        if self.is_removed or self._pool.is_closed:
            return False
        return self.lacks(self._pool.config.pool.connections_per_endpoint)

    def dial(self) -> None:
        """Begin an attempt; called by the queue of the pool."""
        # In a context of its own: what the first caller has in its must not live as long as the connection.
        context = contextvars.Context()
        self._task = self._pool.loop.create_task(
            self._connect(), name=f"fastrpc connect {self.endpoint}", context=context
        )
        # One that is cancelled before its first step never runs.
        self._task.add_done_callback(self._end_dial, context=context)

    async def _connect(self) -> bool:
        """Make one attempt, and return whether it led to a connection."""
        try:
            session = await self._dial()
        except FastRPCError as error:
            self.note_failure(error, self._pool.loop.time())
            return False
        if not session.is_usable:
            self._note_end(session, session.closed_text or "it was closed at once")
            return False
        self.live = [*self.live, session]
        self.was_dialed = True
        return True

    def _end_dial(self, task: asyncio.Task[bool]) -> None:
        """Go on until all connections stand, with pauses that grow until a server has shown its settings."""
        self._task = None
        self.is_dialing, self.was_dialed = False, True
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("cannot dial %s", self.endpoint, exc_info=error)
            self.put_off(self._pool.loop.time())
        # First: what is still under way cannot ask for another dial.
        self._pool.dials.ended(self)
        # The connection may have ended meanwhile: then that demands a pause as well.
        self.start()
        self._changed()

    def _begin_pause(self, seconds: float) -> None:
        self._pause = self._pool.loop.call_later(seconds, self._end_pause, context=contextvars.Context())
        self._changed()

    def _end_pause(self) -> None:
        self._pause = None
        if self._may_dial:
            self._ask()
        self._changed()

    async def _dial(self) -> ClientSession:
        address = self.endpoint.address
        config = self._pool.config
        try:
            async with asyncio.timeout(config.timeouts.connect):
                _, session = await transport_for(address).dial(
                    address, self._new_session, dial_options(config)
                )
        except TimeoutError:
            raise ConnectError(
                f"no connection to {address} within {config.timeouts.connect:g} s",
                hint="raise Timeouts.connect if the network is slow",
            ) from None
        self._pool.totals.connections += 1
        return session

    def _new_session(self) -> _StreamSession:
        config = self._pool.config
        session = _StreamSession(
            endpoint=self.endpoint,
            owner=self,
            loop=self._pool.loop,
            timeouts=replace(config.timeouts, idle=None) if self.is_warm else config.timeouts,
            keepalive=config.keepalive,
            settings=self._pool.settings.copy(),
            early_calls=config.early_calls,
            spin_microseconds=self._pool.spin_microseconds,
        )
        self._sessions[session] = self._pool.loop.time()
        return session

    def _note_end(self, session: ClientSession, reason: object) -> None:
        """Take note of the end of a connection that was wanted, once."""
        made, now = self._sessions.get(session), self._pool.loop.time()
        if made is not None and not self.is_removed and not self._pool.is_closed:
            self._sessions[session] = None
            self.ended(was_ready=session.is_ready, lived=now - made, reason=reason, at=now)

    def _changed(self) -> None:
        """Tell everybody who waits for this endpoint, or for any, that something is different now."""
        self._wake_waiters()
        self._pool.changed()

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_changed(self) -> None:
        """Return after the next change at this endpoint."""
        waiter: asyncio.Future[None] = self._pool.loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    # What a session reports

    def session_ready(self, session: ClientSession) -> None:
        """The server has shown its settings."""
        self.answered()
        self._let_aged_go()
        self._changed()
        # The server is there: if more than one connection is wanted, now is the time for the others.
        self.start()
        prober = self._pool.prober
        if prober is not None and not self.is_removed and not self._pool.is_closed:
            self._probes = self._probes or EndpointProbes(prober, self, self._pool.loop)
            self._probes.begin()

    def session_aged(self, session: ClientSession) -> None:
        """It is old enough to be replaced, and takes calls until that is done."""
        if self.is_removed or (session.is_dispensable and not self.is_warm):
            session.retire()
            return
        self._let_aged_go()
        self.start()

    def _let_aged_go(self) -> None:
        """Retire connections in whose place others take calls."""
        for session in self.replaced(self._pool.config.pool.connections_per_endpoint):
            session.retire()

    def session_draining(self, session: ClientSession) -> None:
        """No new calls on this connection; those under way may still end there."""
        self._leave(session)
        self._changed()

    def session_used(self, session: ClientSession) -> None:
        """A call goes out: it may be the first one for long."""
        self._pool.wake()

    def session_lost(self, session: ClientSession, error: BaseException | None) -> None:
        """The connection is gone."""
        if not session.is_ready:
            self._note_end(session, session.closed_text or error or "the server closed it")
        self._leave(session)
        self._sessions.pop(session, None)
        self._changed()

    def _leave(self, session: ClientSession) -> None:
        if session not in self.live:
            return
        self.live = [other for other in self.live if other is not session]
        if session.is_ready:
            self._note_end(session, session.closed_text or "the server closed it")
        if session.is_dispensable and not self.is_warm:
            self.is_dormant = self.lacks(self._pool.config.pool.connections_per_endpoint)
            self._pool.note_idle()
        elif not self._pool.is_closed:
            # Not inside the session's own callback: the loop may be closing everything right now. A call that looks for
            # a connection before that must find this one under way.
            self._pool.note_idle()
            self._pool.loop.call_soon(self.start)

    @property
    def usable_sessions(self) -> list[ClientSession]:
        """Connections that calls may go out on; as long as one is through its opening, none that is not."""
        usable = [session for session in self.live if session.is_usable]
        return [session for session in usable if session.is_ready] or usable

    def usable(self, *, ready: bool = False) -> ClientSession | None:
        """Return the next connection in turn; with `ready` only one whose server has shown its settings."""
        if len(self.live) == 1:
            session = self.live[0]
            return session if session.is_usable and (session.is_ready or not ready) else None
        sessions = [session for session in self.usable_sessions if session.is_ready or not ready]
        if not sessions:
            return None
        self._turn = (self._turn + 1) % len(sessions)
        return sessions[self._turn]

    def remove(self) -> None:
        """The endpoint is none any more: what is under way may end, nothing new begins."""
        self.is_removed = True
        self._stop()
        self.live = []
        for session in list(self._sessions):
            if session.is_usable:
                session.retire()

    def close(self) -> None:
        """Stop connecting and close what is open; unfinished calls fail."""
        self._stop()
        self.live = []
        for session in list(self._sessions):
            session.close()

    def _stop(self) -> None:
        """Begin nothing by itself any more."""
        self._pool.dials.forget(self)
        self.is_dialing = self._task is not None
        if self._task is not None:
            self._task.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._wake_waiters()
        if self._probes is not None:
            self._probes.end()

    def abort(self) -> None:
        """Cut what would not close."""
        for session in list(self._sessions):
            session.abort()

    @property
    def sessions(self) -> frozenset[ClientSession]:
        """All connections of this subchannel that are open, those that take no new calls included."""
        return frozenset(self._sessions)
