"""One endpoint of an asynchronous client, and the connections to it.

`EndpointPlan` holds the state and the decisions; this module holds the dials, timers and connections.
"""

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fastrpc._core.base.priority_queue import RANKS
from fastrpc.client.connector import Connector
from fastrpc.client.crowd import Crowd
from fastrpc.client.dial_queue import DialQueue
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.renewal import Renewals
from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.protocols.base import ClientEngine

if TYPE_CHECKING:
    from fastrpc.client.probing import EndpointProbes, Prober
    from fastrpc.client.services.sharing import SharedConnections

__all__ = ["Subchannel", "Subchannels", "Waiters"]

logger = logging.getLogger("fastrpc.client")


class Waiters:
    """Calls that wait for a change of their endpoints.

    They are woken together, by priority and then in the order of arrival. If a new connection has fewer slots than
    there are waiting calls, the first calls take them.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._count = 0

    @property
    def any_waits(self) -> bool:
        """Whether a call waits for a change, or after a change for its turn."""
        return self._count > 0

    async def wait(self, loop: asyncio.AbstractEventLoop, priority: int) -> None:
        """Wait for the next change."""
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting[waiter] = RANKS[priority]
        self._count += 1
        try:
            await waiter
        finally:
            self._count -= 1
            self._waiting.pop(waiter, None)

    def wake(self) -> None:
        """Announce a change to all waiters."""
        waiting, self._waiting = self._waiting, {}
        for waiter in sorted(waiting, key=waiting.__getitem__):
            if not waiter.done():
                waiter.set_result(None)


class Subchannels(Protocol):
    """The part of a client's pool that each of its subchannels uses."""

    #: The loop of the client, once it is used.
    loop: asyncio.AbstractEventLoop
    #: The queue that decides which subchannels may dial now.
    dials: DialQueue
    #: Whether the client is closed.
    is_closed: bool
    #: Whether the client has no connections until the next call.
    is_resting: bool
    #: Whether an unreachable server is redialled even if no call needs it.
    redials: bool
    #: The prober of the client, or None.
    prober: "Prober | None"

    @property
    def shared(self) -> "SharedConnections | None":
        """The connections that the client shares with others, or None."""

    @property
    def any_waits(self) -> bool:
        """Whether a call waits for a change of any endpoint."""

    def changed(self) -> None:
        """Announce a change to the calls that wait for any endpoint."""

    def wake(self) -> None:
        """Connect the dormant subchannels."""

    def note_idle(self) -> None:
        """Note that a subchannel lost its connection without a redial."""


class Subchannel(EndpointPlan):
    """One endpoint and its connections in every state."""

    logs_early_ends = False

    def __init__(
        self,
        pool: Subchannels,
        connector: Connector,
        endpoint: Endpoint,
        backoff: Backoff,
        *,
        width: int | Literal["auto"],
    ) -> None:
        super().__init__(endpoint, backoff, width=width)
        #: Connections that accept calls, as far as known; the list is replaced, never changed.
        self.live: list[ClientEngine] = []
        #: Whether a connection ended because no call needed it; the next call makes another.
        self.is_dormant = False
        self._pool = pool
        self._connector = connector
        self._task: asyncio.Task[bool] | None = None
        #: The timer of the pause before the next dial.
        self._pause: asyncio.TimerHandle | None = None
        self._turn = 0
        self._probes: EndpointProbes | None = None
        self._crowd = Crowd(self)
        #: The renewals of the credentials of its connections.
        self.renewals = Renewals()
        # Calls that wait for a connection to this endpoint only.
        self._waiters = Waiters()
        # The instant at which each connection was made, draining ones included; None once the end of a connection was
        # recorded.
        self._all: dict[ClientEngine, float | None] = {}

    @property
    def connections(self) -> list[ClientEngine]:
        """The connections that accept calls, as far as is known."""
        return self.live

    def start(self, *, is_wanted: bool = False, goes_first: bool = False) -> None:
        """Dial in the background unless a dial is in progress or a connection exists.

        Args:
            is_wanted: whether a call would go to this endpoint.
            goes_first: whether a call waits for this endpoint only.
        """
        self.is_dormant = False
        if not self._may_dial or self._task is not None or self._pause is not None:
            return
        if self.is_dialing:
            if is_wanted or goes_first:
                self._pool.dials.ask(self, is_wanted=is_wanted, goes_first=goes_first)
        elif left := self.pause_left(self._pool.loop.time()):
            self._begin_pause(left)
        else:
            self._ask(is_wanted=is_wanted, goes_first=goes_first)

    def call_for(self) -> None:
        """Dial for a call that found no connection. The call may end a pause, as `DialPauses` says."""
        now = self._pool.loop.time()
        if self._pool.shared is not None:
            self._pool.shared.places.ask(self, now)
        if self.ask(now) and self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self.start()

    def _ask(self, *, is_wanted: bool = False, goes_first: bool = False) -> None:
        self.is_dialing = True
        self._pool.dials.ask(self, is_wanted=is_wanted, goes_first=goes_first)

    @property
    def _may_dial(self) -> bool:
        if self.is_removed or self._pool.is_closed or self._pool.is_resting:
            return False
        return self.lacks(self.width)

    def dial(self) -> None:
        """Begin a dial; called by the queue of the pool."""
        # The task gets a new context: the first caller's context variables must not live as long as the connection.
        context = contextvars.Context()
        self._task = self._pool.loop.create_task(
            self._connect(), name=f"fastrpc connect {self.endpoint}", context=context
        )
        # A task that is cancelled before its first step never runs its `finally`.
        self._task.add_done_callback(self._end_dial, context=context)

    async def _connect(self) -> bool:
        """Dial once, or use another client's connection; return whether there is a connection now."""
        shared = self._pool.shared
        try:
            connection = await (self.make(self) if shared is None else shared.connection(self, self.make))
        except FastRPCError as error:
            due, is_told = (None, False) if shared is None else shared.places.next_dial(self)
            self.note_failure(error, self._pool.loop.time(), is_logged=not is_told)
            self.due = self.due if due is None else due
            return False
        is_taken = connection not in self._all
        if is_taken and shared is not None:
            self._all[connection] = shared.made_at[connection]
        if not connection.is_usable:
            self._note_end(connection, connection.closed_text or "it was closed at once")
            return False
        self.live = [*self.live, connection]
        self.was_dialed = True
        if is_taken and connection.is_ready:
            self.connection_ready(connection)
        return True

    def _end_dial(self, task: asyncio.Task[bool]) -> None:
        """Redial until all connections are made, with growing pauses until SETTINGS arrive."""
        self._task = None
        self.is_dialing, self.was_dialed = False, True
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("cannot dial %s", self.endpoint, exc_info=error)
            self.put_off(self._pool.loop.time())
        # Report the end first: calls in flight must not request another dial.
        self._pool.dials.ended(self)
        # If the connection has ended by now, the next dial follows a pause as well.
        self.start()
        self._changed()

    def _begin_pause(self, seconds: float) -> None:
        self._pause = self._pool.loop.call_later(seconds, self._end_pause, context=contextvars.Context())
        self._changed()

    def _end_pause(self) -> None:
        self._pause = None
        if not (self._pool.redials or self.has_callers):
            self.is_dormant = True
            self._pool.note_idle()
        elif self._may_dial:
            self._ask()
        self._changed()

    async def make(self, owner: Any) -> ClientEngine:
        """Return a new connection.

        Args:
            owner: gets the reports of the connection, and has the `renewals` of its credential.

        Raises:
            FastRPCError: the dial failed.
        """
        return await self._connector.connect(self, owner, self._made)

    def _made(self, connection: ClientEngine) -> None:
        if self._pool.shared is not None:
            self._pool.shared.made(self, connection)
        self._all[connection] = self._pool.loop.time()

    def _note_end(self, connection: ClientEngine, reason: object) -> None:
        """Record the end of a wanted connection, once."""
        made, now = self._all.get(connection), self._pool.loop.time()
        if made is not None and not (self.is_removed or self._pool.is_closed or self._pool.is_resting):
            self._all[connection] = None
            if connection.auth_status > 0:
                self.note_refusal(connection.auth_status, connection.auth_text, now)
                return
            self.ended(
                was_ready=connection.is_ready,
                lived=now - made,
                reason=reason,
                hint=getattr(reason, "hint", None),
                at=now,
                is_aged=connection.life.is_aged,
                is_replaced=connection.peer_replaces,
            )

    def _changed(self) -> None:
        """Announce a change to the calls that wait for this endpoint or for any endpoint."""
        self._waiters.wake()
        self._pool.changed()

    async def wait_changed(self, priority: int = 0) -> None:
        """Wait for the next change at this endpoint; calls of higher priority continue before others."""
        await self._waiters.wait(self._pool.loop, priority)

    # Reports of connections

    def connection_ready(self, connection: ClientEngine) -> None:
        """Record that SETTINGS arrived."""
        self.answered()
        self.workers = connection.peer.workers
        self._crowd.await_at([connection])
        self._let_aged_go()
        self._changed()
        # The server is up: dial the other connections, if more than one is wanted.
        self.start()
        prober = self._pool.prober
        if prober is not None and not self.is_removed and not self._pool.is_closed:
            if self._probes is None:
                from fastrpc.client.probing import EndpointProbes  # Loaded with the prober of its client.

                self._probes = EndpointProbes(prober, self, self._pool.loop)
            self._probes.begin()

    def connection_accepted(self, connection: ClientEngine, seconds: float) -> None:
        """Renew a credential while the connection is used; the server accepts it for `seconds`."""
        self.renewals.accepted(connection, seconds)

    def connection_refused(self, connection: ClientEngine) -> None:
        """Ask for another credential, because the server refused the current one for a call."""
        self.renewals.refused(connection)

    def connection_aged(self, connection: ClientEngine) -> None:
        """Replace an aged connection. Until then it accepts calls."""
        if self.is_removed or (connection.life.is_dispensable and not self.is_warm):
            connection.retire()
            return
        self._let_aged_go()
        self.start()

    def _let_aged_go(self) -> None:
        """Retire the aged connections that newer ones replace."""
        for connection in self.replaced(self.width):
            connection.retire()

    def connection_crowded(self, connection: ClientEngine) -> None:
        """Check whether all connections have too many calls."""
        self._crowd.look_soon(self._pool.loop)

    def connection_draining(self, connection: ClientEngine) -> None:
        """Stop new calls on this connection; calls in flight may finish there."""
        self._leave(connection)
        self._changed()

    def connection_used(self, connection: ClientEngine) -> None:
        """Record a call after a time without calls, and wake dormant subchannels."""
        self.note_use()
        self._pool.wake()

    def connection_lost(self, connection: ClientEngine, error: BaseException | None) -> None:
        """Record the loss of a connection."""
        if not connection.is_ready:
            self._note_end(connection, connection.closed_text or error or "the server closed it")
        self.renewals.end(connection)
        self._leave(connection)
        self._all.pop(connection, None)
        self._changed()

    def _leave(self, connection: ClientEngine) -> None:
        if connection not in self.live:
            return
        self.live = [other for other in self.live if other is not connection]
        self.note_pings(connection)
        if connection.is_ready:
            self._note_end(connection, connection.closed_text or "the server closed it")
        if connection.life.is_dispensable and not self.is_warm:
            self.narrow()
            # The remaining connections report the next crowd.
            self._crowd.await_at(self.usable_connections)
            self.is_dormant = self.lacks(self.width)
            self._pool.note_idle()
        elif not self._pool.is_closed:
            # The redial begins in a later callback, since the loop may be closing now. A call that looks for a
            # connection before that callback must find this dial in progress.
            self._pool.note_idle()
            self._pool.loop.call_soon(self.start)

    @property
    def usable_connections(self) -> list[ClientEngine]:
        """Connections that accept calls. Connections still in their handshake count only while no other is ready."""
        usable = [connection for connection in self.live if connection.is_usable]
        return [connection for connection in usable if connection.is_ready] or usable

    def usable(self, *, ready: bool = False) -> ClientEngine | None:
        """Return the next connection in turn; with `ready`, skip connections whose SETTINGS have not arrived."""
        if len(self.live) == 1:
            connection = self.live[0]
            return connection if connection.is_usable and (connection.is_ready or not ready) else None
        connections = [
            connection for connection in self.usable_connections if connection.is_ready or not ready
        ]
        if not connections:
            return None
        self._turn = (self._turn + 1) % len(connections)
        return connections[self._turn]

    @property
    def has_waiting(self) -> bool:
        """Whether calls wait for this endpoint."""
        return self._waiters.any_waits

    @property
    def has_callers(self) -> bool:
        """Whether a call waits for this endpoint or for any endpoint."""
        return self._waiters.any_waits or self._pool.any_waits

    def remove(self) -> None:
        """Retire all connections to the endpoint for good: calls in flight may finish, no new ones start."""
        self.is_removed = True
        self.rest()

    def rest(self) -> None:
        """Retire all connections to the endpoint until the next `start`: calls in flight may finish."""
        self._stop()
        self.live = []
        for connection in list(self._all):
            if not self._leave_to_others(connection):
                # This client retired the connection itself, so its end causes no pause before the next dial.
                self._all[connection] = None
                if connection.is_usable:
                    connection.retire()
        self._leave_place()

    def _leave_place(self) -> None:
        if self._pool.shared is not None:
            self._pool.shared.places.leave(self)

    def _leave_to_others(self, connection: ClientEngine) -> bool:
        """Stop using a connection that other clients share; return whether there are such clients."""
        if self._pool.shared is None or not self._pool.shared.places.leave_to_others(self, connection):
            return False
        del self._all[connection]
        return True

    def close(self) -> None:
        """Stop dialling and close all connections; unfinished calls fail."""
        self._stop()
        self.live = []
        for connection in list(self._all):
            if not self._leave_to_others(connection):
                connection.close()
        self._leave_place()

    def _stop(self) -> None:
        """Cancel dials, timers and probes."""
        self._pool.dials.forget(self)
        self.is_dialing = self._task is not None
        if self._task is not None:
            self._task.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._waiters.wake()
        self._crowd.end()
        if self._probes is not None:
            self._probes.end()

    def abort(self) -> None:
        """Abort the connections that did not close in time."""
        for connection in list(self._all):
            connection.abort()

    @property
    def all_connections(self) -> frozenset[ClientEngine]:
        """All open connections of this subchannel, including connections that accept no new calls."""
        return frozenset(self._all)
