"""One endpoint of an asynchronous client, and the connections to it.

A further connection (`Pool.connections_per_endpoint`) is made once the server behind the first has shown its
settings, so a server that is away or silent is tried no more often than with one.
"""

import asyncio
import contextvars
import logging
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastrpc._core.calling.client_session import ClientSession
from fastrpc.client.probing import EndpointProbes
from fastrpc.client.subchannel_rules import trouble_at, without_frames
from fastrpc.config.delays import Delays
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


class Subchannel:
    """One endpoint and the connections to it, whatever state they are in."""

    def __init__(self, pool: "Pool", endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        #: Connections that were made and take calls as far as is known; replaced, never changed.
        self.live: list[ClientSession] = []
        self.error: FastRPCError | None = None
        #: How often a connection could not be made, or ended as soon as it was there.
        self.failures = 0
        #: Whether a connection ended because nobody needed it: the next call makes another.
        self.is_dormant = False
        #: Whether it is connected before anybody calls, and stays so (`Pool.warm`).
        self.is_warm = False
        #: Its place in this client's own order, by which the warm ones are chosen.
        self.rank = random.random()
        #: The EndpointState of the endpoint set, where there is one.
        self.endpoint_state: Any = None
        self._is_removed = False
        self._was_connected = False
        self._was_ready = False
        self._pool = pool
        self._delays = Delays(pool.config.backoff)
        self._task: asyncio.Task[bool] | None = None
        #: Runs while the next attempt is put off.
        self._pause: asyncio.TimerHandle | None = None
        self._turn = 0
        self._probes: EndpointProbes | None = None
        # Calls that wait for a connection to this very endpoint.
        self._waiters: set[asyncio.Future[None]] = set()
        # When each was made; those that take no new calls included.
        self._sessions: dict[ClientSession, float] = {}

    @property
    def is_trying(self) -> bool:
        """Whether an attempt is under way or has its place in the queue, as opposed to a pause between two."""
        return self._task is not None or self in self._pool.dials

    @property
    def may_come(self) -> bool:
        """Whether a connection is there, or may be in a moment."""
        return self.is_trying or bool(self.live)

    @property
    def _is_complete(self) -> bool:
        """Whether there are as many connections as there should be now: one, until a server has shown its settings."""
        lasting = [session for session in self.live if not session.is_aged]
        count = len(lasting)
        if count and not any(session.is_ready for session in lasting):
            return True
        return count >= (self._pool.config.pool.connections_per_endpoint if count else 1)

    def start(self, *, is_wanted: bool = False) -> None:
        """Connect in the background unless that is under way or done; soon where a call waits for this endpoint."""
        self.is_dormant = False
        if not self._may_dial or self._task is not None or self._pause is not None:
            return
        if self in self._pool.dials:
            if is_wanted:
                self._pool.dials.ask(self, is_wanted=True)
        elif self.error is not None:
            self._begin_pause()
        else:
            self._pool.dials.ask(self, is_wanted=is_wanted)

    @property
    def _may_dial(self) -> bool:
        return not (self._is_complete or self._is_removed or self._pool.is_closed)

    @property
    def dial_rank(self) -> int:
        """How likely its server answers: it did, nothing is known of it, it failed since, it always failed."""
        if self.error is None:
            return 0 if self._was_ready else 1
        return 2 if self._was_ready else 3

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
            self._note_failure(error)
            return False
        if not session.is_usable:
            self.failures += 1
            self.error = self.error or self._opening_error(session.closed_text or "it was closed at once")
            return False
        self.live = [*self.live, session]
        self._was_connected = True
        return True

    def _end_dial(self, task: asyncio.Task[bool]) -> None:
        """Go on until all connections stand, with pauses that grow until a server has shown its settings."""
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("cannot dial %s", self.endpoint, exc_info=error)
        # First: what is still under way cannot ask for another dial.
        self._pool.dials.ended(self)
        if self._may_dial:
            if not task.cancelled() and task.exception() is None and task.result():
                # The connection may have ended meanwhile: then its error, if there is one, demands a pause.
                self.start()
            else:
                self._begin_pause()
        self._changed()

    def _begin_pause(self) -> None:
        self._pause = self._pool.loop.call_later(
            self._delays.take(), self._end_pause, context=contextvars.Context()
        )
        self._changed()

    def _end_pause(self) -> None:
        self._pause = None
        if self._may_dial:
            self._pool.dials.ask(self)
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

    def _opening_error(self, reason: object) -> ConnectError:
        return ConnectError(f"{self.endpoint}: the connection ended in its opening: {reason}")

    def _note_failure(self, error: FastRPCError) -> None:
        if self.error is None:
            logger.warning("%s", trouble_at(self.endpoint, error))
        self.error = without_frames(error)
        self.failures += 1

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
        """The server has shown its settings: from now on a loss is tried again without delay."""
        if self.error is not None:
            logger.info("connected to %s again", self.endpoint)
        self.error = None
        self._was_ready = True
        self._delays.reset()
        self._let_aged_go()
        self._changed()
        # The server is there: if more than one connection is wanted, now is the time for the others.
        self.start()
        prober = self._pool.prober
        if prober is not None and not self._is_removed and not self._pool.is_closed:
            self._probes = self._probes or EndpointProbes(prober, self, self._pool.loop)
            self._probes.begin()

    def session_aged(self, session: ClientSession) -> None:
        """It is old enough to be replaced, and takes calls until that is done."""
        if self._is_removed or (session.is_dispensable and not self.is_warm):
            session.retire()
            return
        self._let_aged_go()
        self.start()

    def _let_aged_go(self) -> None:
        """Retire connections in whose place others take calls."""
        ready = sum(session.is_ready for session in self.live)
        surplus = max(0, ready - self._pool.config.pool.connections_per_endpoint)
        for session in [session for session in self.live if session.is_aged][:surplus]:
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
        if not session.is_ready and not self._pool.is_closed and not self._is_removed:
            reason = session.closed_text or error or "the server closed it"
            self._note_failure(self._opening_error(reason))
        self._leave(session)
        self._sessions.pop(session, None)
        self._changed()

    def _leave(self, session: ClientSession) -> None:
        if session not in self.live:
            return
        self.live = [other for other in self.live if other is not session]
        lived = self._pool.loop.time() - self._sessions[session]
        if session.is_ready and lived < self._pool.config.backoff.first:
            # A server that drops every connection right behind its settings is not hammered either.
            reason = session.closed_text or "the server closed it"
            self.failures += 1
            self.error = ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
        if session.is_dispensable and not self.is_warm:
            self.is_dormant = not self._is_complete
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

    @property
    def is_new(self) -> bool:
        """Whether nothing is known against it: it was never connected, and no attempt failed."""
        return not self.live and self.error is None and not self._was_connected

    @property
    def is_untried(self) -> bool:
        """Whether its server has not shown its settings yet, and no attempt failed."""
        return self.error is None and not self._was_ready

    def remove(self) -> None:
        """The endpoint is none any more: what is under way may end, nothing new begins."""
        self._is_removed = True
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
