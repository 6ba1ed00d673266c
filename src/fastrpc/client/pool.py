"""The connections of a client: made when they are needed, made again when they are lost."""

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from fastrpc._core.client_session import ClientSession
from fastrpc._core.histogram import CallTotals
from fastrpc.config import ClientConfig
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError, FastRPCError, UnavailableError
from fastrpc.transports.base import transport_for

__all__ = ["Link", "Pool"]

logger = logging.getLogger("fastrpc.client")


class _StreamSession(ClientSession, asyncio.BufferedProtocol):
    """A client's session as asyncio's own loops want it; uvloop would take the compiled class alone."""

    __slots__ = ()


class Link:
    """One endpoint and the connection to it, whatever state that is in."""

    def __init__(self, pool: "Pool", endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.session: ClientSession | None = None
        self.error: FastRPCError | None = None
        #: Whether the last connection ended because nobody needed it: the next call makes another.
        self.is_dormant = False
        self._pool = pool
        self._delays = Delays(pool.config.backoff)
        self._task: asyncio.Task[None] | None = None
        self._is_pausing = False
        self._made_at = 0.0
        self._sessions: set[ClientSession] = set()

    @property
    def is_trying(self) -> bool:
        """Whether an attempt is under way, as opposed to a pause between two."""
        return self._task is not None and not self._is_pausing

    def start(self) -> None:
        """Connect in the background unless that is under way or done."""
        self.is_dormant = False
        if self._task is None and self.session is None and not self._pool.is_closed:
            # In a context of its own: what the first caller has in its must not live as long as the connection.
            self._task = self._pool.loop.create_task(
                self._connect(), name=f"fastrpc connect {self.endpoint}", context=contextvars.Context()
            )

    async def _connect(self) -> None:
        """Try until a connection stands; pauses grow until a server has shown its settings."""
        try:
            if self.error is not None:
                await self._pause()
            while True:
                try:
                    session = await self._dial()
                except FastRPCError as error:
                    self._note_failure(error)
                else:
                    if session.is_usable:
                        self.session = session
                        return
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
        started = self._pool.loop.time()
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
        self._made_at = started
        self._pool.totals.connections += 1
        return session

    def _new_session(self) -> _StreamSession:
        config = self._pool.config
        session = _StreamSession(
            endpoint=self.endpoint,
            owner=self,
            loop=self._pool.loop,
            timeouts=config.timeouts,
            keepalive=config.keepalive,
            settings=self._pool.settings.copy(),
            early_calls=config.early_calls,
            spin_microseconds=self._pool.spin_microseconds,
        )
        self._sessions.add(session)
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

    def session_draining(self, session: ClientSession) -> None:
        """No new calls on this connection; those under way may still end there."""
        self._leave(session)
        self._pool.changed()

    def session_used(self, session: ClientSession) -> None:
        """A call goes out: it may be the first one for long."""
        self._pool.wake()

    def session_lost(self, session: ClientSession, error: BaseException | None) -> None:
        """The connection is gone."""
        self._sessions.discard(session)
        if not session.is_ready and not self._pool.is_closed:
            reason = session.closed_text or error or "the server closed it"
            self._note_failure(ConnectError(f"{self.endpoint} ended the connection in its opening: {reason}"))
        self._leave(session)
        self._pool.changed()

    def _leave(self, session: ClientSession) -> None:
        if self.session is not session:
            return
        self.session = None
        lived = self._pool.loop.time() - self._made_at
        if session.is_ready and lived < self._pool.config.backoff.first:
            # A server that drops every connection right behind its settings is not hammered either.
            reason = session.closed_text or "the server closed it"
            self.error = ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
        if session.is_dispensable:
            self.is_dormant = True
        elif not self._pool.is_closed:
            # Not inside the session's own callback: the loop may be closing everything right now.
            self._pool.loop.call_soon(self.start)

    def close(self) -> None:
        """Stop connecting and close what is open; unfinished calls fail."""
        if self._task is not None:
            self._task.cancel()
        self.session = None
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
        endpoints: Sequence[Endpoint],
        config: ClientConfig,
        settings: Any,
        on_change: Callable[[], None],
    ) -> None:
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
        self.links = [Link(self, endpoint) for endpoint in endpoints]

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to a loop: that of the first use."""
        self.loop = loop
        self.is_used = True

    @property
    def sessions(self) -> list[ClientSession]:
        """Connections that calls may go out on; as long as one is through its opening, none that is not."""
        usable = [link.session for link in self.links if link.session is not None and link.session.is_usable]
        return [session for session in usable if session.is_ready] or usable

    @property
    def open_sessions(self) -> list[ClientSession]:
        """All connections, those that take no new calls included."""
        return [session for link in self.links for session in link.sessions]

    def changed(self) -> None:
        """Tell everybody who waits that something is different now."""
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

    async def acquire(self, *, wait: bool, ready: bool = False, avoid: Any = None) -> ClientSession:
        """Return a usable connection, making one if there is none.

        Args:
            wait: go on while no server can be reached, instead of failing once every address was tried.
            ready: only one whose server has shown its settings.
            avoid: an endpoint to leave out as long as another one has a connection.

        Raises:
            UnavailableError: no connection is to be had; the message names every address and its error.
        """
        while True:
            if self.is_closed:
                raise UnavailableError("the client is closed", processed="no", retryable=False)
            sessions = [session for session in self.sessions if session.is_ready or not ready]
            others = [session for session in sessions if session.endpoint is not avoid]
            if sessions:
                return random.choice(others or sessions)
            for link in self.links:
                link.start()
            if not wait and not any(link.is_trying or link.session is not None for link in self.links):
                raise self._unreachable()
            await self.wait_changed()

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

    def abandon(self) -> None:
        """Forget every connection: their loop is closed, nothing can be done with them."""
        self.is_closed = True
        for link in self.links:
            link.session = None
        self._on_change()

    async def close(self) -> None:
        """Close every connection; nothing is made again."""
        self.is_closed = True
        for link in self.links:
            link.close()
        if not self.is_used:
            return
        self.changed()
        try:
            async with asyncio.timeout((self.config.timeouts.linger or 0.0) + 1.0):
                while self.open_sessions:
                    await self.wait_changed()
        except TimeoutError:
            for link in self.links:
                link.abort()
