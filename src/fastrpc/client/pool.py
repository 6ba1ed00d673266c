"""The connections of a client: made when they are needed or wanted ahead, made again when they are lost."""

import asyncio
import contextlib
import contextvars
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastrpc._core.client_session import ClientSession
from fastrpc._core.fleet import Fleet
from fastrpc._core.histogram import CallTotals
from fastrpc.client.following import Follower
from fastrpc.client.links import KEYED, LOOK_SECONDS, choose_warm, links_of, wanted_links, what_came_of
from fastrpc.client.target import Target
from fastrpc.config import ClientConfig
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConnectError, FastRPCError, NoEndpointError, UnavailableError
from fastrpc.transports.base import transport_for

__all__ = ["Link", "Pool"]

logger = logging.getLogger("fastrpc.client")


class _StreamSession(ClientSession, asyncio.BufferedProtocol):
    """A client's session as asyncio's own loops want it; uvloop would take the compiled class alone."""

    __slots__ = ()


class Link:
    """One endpoint and the connections to it, whatever state they are in."""

    def __init__(self, pool: "Pool", endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        #: Connections that were made and take calls as far as is known; replaced, never changed.
        self.live: list[ClientSession] = []
        self.error: FastRPCError | None = None
        #: Whether a connection ended because nobody needed it: the next call makes another.
        self.is_dormant = False
        #: Whether it is connected before anybody calls, and stays so (`Pool.warm`).
        self.is_warm = False
        #: Its place in this client's own order, by which the warm ones are chosen.
        self.rank = random.random()
        #: The Candidate of the fleet, where there is one.
        self.candidate: Any = None
        self._is_removed = False
        self._was_connected = False
        self._pool = pool
        self._delays = Delays(pool.config.backoff)
        self._task: asyncio.Task[None] | None = None
        self._is_pausing = False
        self._turn = 0
        # When each was made; those that take no new calls included.
        self._sessions: dict[ClientSession, float] = {}

    @property
    def is_trying(self) -> bool:
        """Whether an attempt is under way, as opposed to a pause between two."""
        return self._task is not None and not self._is_pausing

    @property
    def may_come(self) -> bool:
        """Whether a connection is there, or may be in a moment."""
        return self.is_trying or bool(self.live)

    @property
    def _is_complete(self) -> bool:
        """Whether there are as many connections as there should be now: one, until a server has shown its settings."""
        count = len(self.live)
        if count and not any(session.is_ready for session in self.live):
            return True
        return count >= (self._pool.config.pool.connections_per_endpoint if count else 1)

    def start(self) -> None:
        """Connect in the background unless that is under way or done."""
        self.is_dormant = False
        if self._task is None and not self._is_complete and not self._is_removed and not self._pool.is_closed:
            # In a context of its own: what the first caller has in its must not live as long as the connection.
            self._task = self._pool.loop.create_task(
                self._connect(), name=f"fastrpc connect {self.endpoint}", context=contextvars.Context()
            )

    async def _connect(self) -> None:
        """Try until all connections stand; pauses grow until a server has shown its settings."""
        try:
            if self.error is not None:
                await self._pause()
            while not self._is_complete:
                try:
                    session = await self._dial()
                except FastRPCError as error:
                    self._note_failure(error)
                else:
                    if session.is_usable:
                        self.live = [*self.live, session]
                        self._was_connected = True
                        if not self._is_complete:
                            self._pool.changed()
                        continue
                    self.error = self.error or ConnectError(f"{self.endpoint} closed the connection at once")
                await self._pause()
        finally:
            self._task = None
            self._pool.changed()

    async def _pause(self) -> None:
        self._is_pausing = True
        self._pool.changed()
        try:
            await asyncio.sleep(self._delays.take())
        finally:
            self._is_pausing = False

    async def _dial(self) -> ClientSession:
        address = self.endpoint.address
        config = self._pool.config
        silence = config.keepalive.timeout + (config.keepalive.interval or 0.0)
        try:
            async with asyncio.timeout(config.timeouts.connect):
                _, session = await transport_for(address).dial(
                    address, self._new_session, silence_seconds=silence
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

    def _note_failure(self, error: FastRPCError) -> None:
        if self.error is None:
            logger.warning("cannot connect to %s: %s", self.endpoint, error.message)
        self.error = error

    # What a session reports

    def session_ready(self, session: ClientSession) -> None:
        """The server has shown its settings: from now on a loss is tried again without delay."""
        if self.error is not None:
            logger.info("connected to %s again", self.endpoint)
        self.error = None
        self._delays.reset()
        self._pool.changed()
        # The server is there: if more than one connection is wanted, now is the time for the others.
        self.start()

    def session_draining(self, session: ClientSession) -> None:
        """No new calls on this connection; those under way may still end there."""
        self._leave(session)
        self._pool.changed()

    def session_used(self, session: ClientSession) -> None:
        """A call goes out: it may be the first one for long."""
        self._pool.wake()

    def session_lost(self, session: ClientSession, error: BaseException | None) -> None:
        """The connection is gone."""
        if not session.is_ready and not self._pool.is_closed and not self._is_removed:
            reason = session.closed_text or error or "the server closed it"
            self._note_failure(ConnectError(f"{self.endpoint} ended the connection in its opening: {reason}"))
        self._leave(session)
        self._sessions.pop(session, None)
        self._pool.changed()

    def _leave(self, session: ClientSession) -> None:
        if session not in self.live:
            return
        self.live = [other for other in self.live if other is not session]
        lived = self._pool.loop.time() - self._sessions[session]
        if session.is_ready and lived < self._pool.config.backoff.first:
            # A server that drops every connection right behind its settings is not hammered either.
            reason = session.closed_text or "the server closed it"
            self.error = ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
        if session.is_dispensable and not self.is_warm:
            self.is_dormant = True
        elif not self._pool.is_closed:
            # Not inside the session's own callback: the loop may be closing everything right now.
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

    def remove(self) -> None:
        """The endpoint is none any more: what is under way may end, nothing new begins."""
        self._is_removed = True
        if self._task is not None:
            self._task.cancel()
        self.live = []
        for session in list(self._sessions):
            if session.is_usable:
                session.retire()

    def close(self) -> None:
        """Stop connecting and close what is open; unfinished calls fail."""
        if self._task is not None:
            self._task.cancel()
        self.live = []
        for session in list(self._sessions):
            session.close()

    def abort(self) -> None:
        """Cut what would not close."""
        for session in list(self._sessions):
            session.abort()

    @property
    def sessions(self) -> frozenset[ClientSession]:
        """All connections of this link that are open, those that take no new calls included."""
        return frozenset(self._sessions)


class Pool:
    """All links of a client. `on_change` is told whenever a connection came or went."""

    def __init__(
        self,
        target: Target,
        fleet: Fleet | None,
        config: ClientConfig,
        settings: Any,
        on_change: Callable[[], None],
    ) -> None:
        self.target = target
        self.fleet = fleet
        self.config = config
        self.settings = settings
        #: For how long the loop polls after the last activity; less than the setting where that would be of no use.
        self.spin_microseconds = 0
        self.is_closed = False
        self.is_used = False
        self.totals = CallTotals()
        self.loop: asyncio.AbstractEventLoop
        self._on_change = on_change
        self._waiters: set[asyncio.Future[None]] = set()
        self.links: list[Link] = []
        #: Links that calls may need, in the order of the endpoints: what the filters of the selector leave.
        self.wanted: list[Link] = []
        self._narrowed: list[Link] | None = None
        self._removed: list[Link] = []
        self._follower = None if target.registry is None else Follower(target, self.update)
        self._has_list = target.registry is None
        if fleet is not None:
            self.update(target.endpoints)
            self._has_list = target.registry is None
        else:
            self.links = self.wanted = [Link(self, endpoint) for endpoint in target.endpoints[:1]]
            choose_warm(self.links, config.pool.warm)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to a loop: that of the first use."""
        self.loop = loop
        self.is_used = True
        for link in self.wanted:
            if link.is_warm:
                link.start()
            else:
                # The first call may go to a warm one; it wakes the others.
                link.is_dormant = True
        if self._follower is not None:
            self._follower.start(loop)

    @property
    def sessions(self) -> list[ClientSession]:
        """Connections that calls may go out on; as long as one is through its opening, none that is not."""
        usable = [session for link in self.links for session in link.usable_sessions]
        return [session for session in usable if session.is_ready] or usable

    @property
    def open_sessions(self) -> list[ClientSession]:
        """All connections, those that take no new calls included."""
        return [session for link in (*self.links, *self._removed) for session in link.sessions]

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Make these the endpoints; what is under way at those that are gone ends there."""
        try:
            self._fleet.update(endpoints)
        finally:
            # What a filter of the user's raises at is taken up by a later pick, which needs the links.
            before, self.links = self.links, links_of(self._fleet, lambda endpoint: Link(self, endpoint))
            self._has_list = True
            for link in set(before).difference(self.links):
                self._removed.append(link)
                link.remove()
            if self.is_used and not self.is_closed:
                self.changed()
        self._choose_wanted()
        if self.is_used and not self.is_closed:
            self.start()

    def _choose_wanted(self) -> None:
        if self.fleet is not None and self._narrowed is not self.links:
            self.wanted = wanted_links(self.fleet, self.links)
            choose_warm(self.wanted, self.config.pool.warm)
            self._narrowed = self.links

    @property
    def _fleet(self) -> Fleet:
        assert self.fleet is not None
        return self.fleet

    def _mark(self) -> None:
        """Tell the fleet where there is no connection: calls go there only as long as there is none anywhere.

        Where keys say which endpoint takes a call, one that is being connected for the first time keeps its keys.
        """
        usable = set(self.sessions)
        keeps_new = isinstance(self._fleet.selector, KEYED)
        leaving = set()
        for link in self.links:
            link.candidate.sessions = link.usable_sessions
            if usable.isdisjoint(link.candidate.sessions) and not (keeps_new and link.is_new):
                leaving.add(link.candidate)
        try:
            self._fleet.set_all_leaving(leaving)
        except Exception:
            # Filters and selectors of the user's run in there; a connection that reports something must not hear of it.
            logger.exception("%s: the selector cannot take the endpoints", self.target)

    def start(self) -> None:
        """Connect wherever there is no connection."""
        self._choose_wanted()
        for link in self.wanted:
            link.start()

    def changed(self) -> None:
        """Tell everybody who waits that something is different now."""
        if self._removed:
            self._removed = [link for link in self._removed if link.sessions]
        if self.fleet is not None:
            self._mark()
        is_dormant = any(link.is_dormant for link in self.links)
        for session in self.sessions:
            session.announces_calls = is_dormant
        self._on_change()
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def wake(self) -> None:
        """Connect again where nobody needed a connection for a while."""
        for link in self.links:
            if link.is_dormant:
                link.start()

    async def wait_changed(self) -> None:
        """Return after the next change."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def acquire(self, *, wait: bool, ready: bool = False) -> ClientSession:
        """Return a usable connection, making one if there is none.

        Args:
            wait: go on while no server can be reached, instead of failing once every address was tried.
            ready: only one whose server has shown its settings.

        Raises:
            UnavailableError: no connection is to be had; the message names every address and its error.
        """
        while True:
            self.check_open()
            sessions = [session for session in self.sessions if session.is_ready or not ready]
            if sessions:
                return random.choice(sessions)
            self.start()
            if not wait and not self.may_come():
                raise self.unreachable(self.links)
            await self.wait_changed()

    def at_once(self, *, ready: bool) -> ClientSession | None:
        """Return a usable connection if there is one."""
        if len(self.links) == 1:
            live = self.links[0].live
            if len(live) != 1:
                return self.links[0].usable(ready=ready)
            return live[0] if live[0].is_usable and (live[0].is_ready or not ready) else None
        sessions = [session for session in self.sessions if session.is_ready or not ready]
        return random.choice(sessions) if sessions else None

    def check_open(self) -> None:
        """Refuse to go on once the client is closed."""
        if self.is_closed:
            raise UnavailableError("the client is closed", processed="no", retryable=False)

    def may_come(self) -> bool:
        """Whether a connection may be there in a moment."""
        return any(link.may_come for link in self.links)

    @property
    def has_list(self) -> bool:
        """Whether it is known who serves; without a registry it always is."""
        return self._has_list

    async def wait_list(self, method: str, *, wait: bool) -> None:
        """Return once the registry said who serves; with `wait` only when somebody does.

        Raises:
            NoEndpointError: it cannot be asked.
        """
        while not self._has_list or (wait and not self.links):
            self.check_open()
            error = None if self._follower is None else self._follower.error
            if error is not None and not wait:
                raise NoEndpointError(f"{method}: it is not known who serves {self.target}: {error}")
            # A registry that fails says so to nobody.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.wait_changed()

    def link_at(self, address: Address) -> Link | None:
        """Return the link of one endpoint."""
        return next((link for link in self.links if link.endpoint.address == address), None)

    def tried(self) -> str:
        """Say what came of each address, for the message of an error."""
        if not self.links:
            error = None if self._follower is None else self._follower.error
            return f"nobody is known to serve {self.target}{'' if error is None else f' ({error})'}"
        return what_came_of(self.links)

    def unreachable(self, links: Sequence[Link]) -> ConnectError:
        """Return the error of a call that finds a connection at none of these."""
        return ConnectError(
            f"no connection to be had: {what_came_of(links)}",
            hint="is a server running there? with_options(wait_for_ready=True) waits for one",
        )

    def abandon(self) -> None:
        """Forget every connection: their loop is closed, nothing can be done with them."""
        self.is_closed = True
        if self._follower is not None:
            self._follower.stop()
        for link in self.links:
            link.live = []
            if link.candidate is not None:
                link.candidate.sessions = []
        self._on_change()

    async def close(self) -> None:
        """Close every connection; nothing is made again."""
        self.is_closed = True
        for link in (*self.links, *self._removed):
            link.close()
        if self._follower is not None:
            await self._follower.close()
        if not self.is_used:
            return
        self.changed()
        try:
            async with asyncio.timeout((self.config.timeouts.linger or 0.0) + 1.0):
                while self.open_sessions:
                    await self.wait_changed()
        except TimeoutError:
            for link in (*self.links, *self._removed):
                link.abort()
