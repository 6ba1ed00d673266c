"""The connections of a client: made on demand or in advance, and again after a loss.

Each client warms endpoints (`Pool.warm`) in its own random order. Otherwise a thousand clients would warm the same few.
"""

import asyncio
import contextlib
import contextvars
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.selectors import EndpointState
from fastrpc._core.base.histogram import CallTotals
from fastrpc.client.connector import Connector
from fastrpc.client.dial_queue import DialQueue
from fastrpc.client.plan import LOOK_SECONDS, ConnectionPlan, Patience
from fastrpc.client.reach_errors import registry_failure, unreachable
from fastrpc.client.subchannel import Subchannel, Waiters
from fastrpc.client.target import Target
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import UnavailableError
from fastrpc.gauges import Gauge, tells_gauges
from fastrpc.protocols.base import ClientEngine
from fastrpc.time_limit import time_limit

if TYPE_CHECKING:
    from fastrpc.client.following import Follower
    from fastrpc.client.probing import Prober
    from fastrpc.client.services.sharing import SharedConnections
    from fastrpc.client.serving import ClientServices

__all__ = ["ConnectionPool", "Home"]

#: The number of subchannels above which visiting all of them takes noticeable time.
MANY_LINKS = 64

#: With more than MANY_LINKS subchannels a pause follows each announcement of a change: TELLING_SHARE times the duration
#: of the announcement, at most LONGEST_PAUSE seconds.
TELLING_SHARE = 4
LONGEST_PAUSE = 0.25


class Home(Protocol):
    """The interface of `Services` for the pool of one of its services."""

    def used_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Record the loop of the first use of a service.

        Raises:
            RuntimeError: other services were used on another loop.
        """

    def left(self, pool: "ConnectionPool") -> None:
        """Forget the client of a pool that closed."""

    @property
    def connections(self) -> "SharedConnections":
        """The connections that all services share."""


class ConnectionPool:
    """All subchannels of a client."""

    #: Called whenever a connection is made or lost; set before the first use.
    on_change: Callable[[], None]

    #: The `Services` that made this pool, or None.
    home: Home | None = None

    #: Whether the pool follows no registry and has no connections until the next call.
    is_resting = False

    #: Whether an unreachable server is redialled even if no call needs it.
    redials = True

    def __init__(
        self,
        target: Target,
        endpoint_set: EndpointSet | None,
        config: ClientConfig,
        settings: Any,
        prober: "Prober | None" = None,
        serving: "ClientServices | None" = None,
    ) -> None:
        self.target = target
        self.endpoint_set = endpoint_set
        self.config = config
        self.settings = settings
        #: Sends health probes; None unless they are configured and there is an endpoint set.
        self.prober = prober
        #: The services of the client; None if it only calls.
        self.serving = serving
        self.is_closed = self.is_used = False
        self.totals = CallTotals()
        #: Makes the connections.
        self.connector = Connector(target, config, settings, serving, self.totals)
        self.loop: asyncio.AbstractEventLoop
        #: Decides which subchannels may dial now.
        self.dials = DialQueue()
        self._waiters = Waiters()
        # `_started`: the list that `start` dialled last. `_has_idle`: whether some of it may need another dial.
        self._started: list[Subchannel] | None = None
        self._has_idle = False
        # `_has_told`: whether a change was announced in this pause. `_has_more`: whether more changes followed.
        self._has_told = self._has_more = False
        # A client with services connects to every endpoint: servers can call it only on a connection.
        warm = config.pool.warm if serving is None else sys.maxsize
        self._plan = ConnectionPlan(target, endpoint_set, warm, self._new_subchannel)
        self._removed: list[Subchannel] = []
        self._follower = self._follow(target)
        self._has_list = target.registry is None
        self._take_first(target)
        tells_gauges(self)

    def _new_subchannel(self, endpoint: Endpoint) -> Subchannel:
        # A client that serves calls keeps one connection, on which the server calls it.
        width = self.config.pool.connections_per_endpoint if self.serving is None else 1
        return Subchannel(self, self.connector, endpoint, self.config.backoff, width=width)

    def _follow(self, target: Target) -> "Follower | None":
        """Return the follower of the target's list, imported on use; None for a target without a registry."""
        if target.registry is None:
            return None
        from fastrpc.client.following import Follower

        return Follower(target, self.update)

    def _take_first(self, target: Target) -> None:
        """Start with the endpoints that the target itself names."""
        if self.endpoint_set is not None:
            self.endpoint_set.on_narrowed = self._take_left
            self.update(target.endpoints)
            self._has_list = target.registry is None
        else:
            self._plan.take_one(target.endpoints)

    @property
    def subchannels(self) -> list[Subchannel]:
        """The subchannels of all endpoints."""
        return self._plan.subchannels

    @property
    def wanted(self) -> list[Subchannel]:
        """Subchannels that pass the selector's filters."""
        return self._plan.wanted

    @property
    def reached(self) -> list[Subchannel]:
        """Subchannels that a fan-out calls."""
        return self._plan.reached

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the pool to the loop of the first use."""
        if self.serving is not None and not self.serving.is_entered:
            raise RuntimeError(
                "a Client with services is entered before its first call: async with Client(…)"
            )
        if self.home is not None:
            self.home.used_on(loop)
        if self._follower is not None:
            self._follower.open()
        self.loop = self.dials.loop = loop
        self.is_used = True
        for subchannel in self.wanted:
            if subchannel.is_warm:
                subchannel.start()
            else:
                # The first call may use a warm endpoint, and wakes the other endpoints.
                subchannel.is_dormant = self._has_idle = True
        if self._follower is not None:
            self._follower.start(loop)

    @property
    def shared(self) -> "SharedConnections | None":
        """The connections that this client shares with others, or None."""
        return None if self.home is None else self.home.connections

    @property
    def is_watching(self) -> bool:
        """Whether the registry is watched now."""
        return self._follower is not None and self.is_used and not (self.is_resting or self.is_closed)

    @property
    def any_waits(self) -> bool:
        """Whether a call waits for a change of any endpoint."""
        return self._waiters.any_waits

    @property
    def has_waiting(self) -> bool:
        """Whether calls wait for a connection or a list."""
        return self.any_waits or any(each.has_waiting for each in self.subchannels)

    def rest(self) -> None:
        """Stop watching the registry and retire every connection, until the next call."""
        if self._follower is not None and self.is_watching:
            self.is_resting, self._has_list, self._has_idle = True, False, True
            self._follower.rest()
            for subchannel in self.subchannels:
                subchannel.rest()
            self.changed()

    def _follow_again(self) -> None:
        """End the resting state, as a call needs the list of the registry."""
        if self.is_resting and self._follower is not None:
            self._follower.open()
            self.is_resting = False
            self._follower.start(self.loop)

    @property
    def connections(self) -> list[ClientEngine]:
        """Connections that accept calls. Connections still in their handshake count only while no other is ready."""
        usable = [
            connection
            for subchannel in self.subchannels
            if subchannel.live
            for connection in subchannel.usable_connections
        ]
        return [connection for connection in usable if connection.is_ready] or usable

    @property
    def open_connections(self) -> list[ClientEngine]:
        """All connections, including connections that accept no new calls."""
        return [
            connection
            for subchannel in (*self.subchannels, *self._removed)
            for connection in subchannel.all_connections
        ]

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints. Calls in flight at removed endpoints finish there."""
        try:
            self._plan.take(endpoints)
        finally:
            self._has_list = True
            for subchannel in self._plan.take_gone():
                self._removed.append(subchannel)
                subchannel.remove()
            if self.is_used and not self.is_closed:
                self.changed()
        self._plan.choose()
        if self.is_used and not self.is_closed:
            self.start()

    def _take_left(self) -> None:
        """Connect to the endpoints that the filters admit now."""
        added = self._plan.take_left()
        if self.is_used and not self.is_closed:
            for subchannel in added:
                subchannel.start()

    def _mark(self) -> None:
        """Report to the endpoint set which endpoints have connections."""
        usable = set(self.connections)
        nowhere: list[ClientEngine] = []
        needs_ready = self._plan.places.places_keys
        for subchannel in self.subchannels:
            endpoint_state = subchannel.endpoint_state
            # With keys, an endpoint is usable once its SETTINGS arrived: a silent server must not delay calls of its
            # keys.
            if subchannel.live and (subchannel.is_ready or not needs_ready):
                endpoint_state.connections = subchannel.usable_connections
            elif endpoint_state.connections:
                endpoint_state.connections = nowhere
        self._plan.mark(
            lambda each: bool(each.live) and not usable.isdisjoint(each.endpoint_state.connections)
        )

    def start(self) -> None:
        """Dial every wanted endpoint without a connection."""
        self._plan.choose()
        if self._has_idle or self._started is not self.wanted:
            self._has_idle, self._started = False, self.wanted
            for subchannel in self.wanted:
                subchannel.start()

    def call_for(self, subchannel: Subchannel | None) -> None:
        """Dial for a call that found no connection. The call may end pauses, as `DialPauses` says.

        Args:
            subchannel: the subchannel of the call's endpoint; None dials all.
        """
        for each in self.wanted if subchannel is None else (subchannel,):
            if not each.live:
                each.call_for()

    def note_idle(self) -> None:
        """Note that a subchannel lost its connection without a redial; the next call that needs one redials."""
        self._has_idle = True

    def changed(self) -> None:
        """Announce a change to all waiters.

        An announcement visits all subchannels, and with many subchannels many dials end together. Then the first change
        is announced immediately, and the changes after it together, after a pause of several times the duration of an
        announcement.
        """
        if self._has_told:
            self._has_more = True
            return
        began = time.perf_counter()
        self._tell()
        if len(self.subchannels) > MANY_LINKS and self.is_used and not self.loop.is_closed():
            self._has_told = True
            pause = min(LONGEST_PAUSE, TELLING_SHARE * (time.perf_counter() - began))
            self.loop.call_later(pause, self._begin_turn, context=contextvars.Context())

    def _begin_turn(self) -> None:
        self._has_told = False
        if self._has_more:
            self._has_more = False
            self.changed()

    def _tell(self) -> None:
        if self._removed:
            self._removed = [subchannel for subchannel in self._removed if subchannel.all_connections]
        if self.endpoint_set is not None:
            self._mark()
        is_dormant = any(subchannel.is_dormant for subchannel in self.subchannels)
        for subchannel in self.subchannels:
            announces_calls = is_dormant or not subchannel.is_called
            # Another client of a shared connection may wait for the announcement as well.
            if announces_calls or self.home is None:
                for connection in subchannel.live:
                    connection.life.announces_calls = announces_calls
        self.on_change()
        self._waiters.wake()

    def wake(self) -> None:
        """Connect the dormant subchannels."""
        for subchannel in self.subchannels:
            if subchannel.is_dormant:
                subchannel.start()

    def ready_among(self, endpoint_states: Iterable[EndpointState]) -> set[EndpointState]:
        """Return the endpoints with a connection whose SETTINGS arrived."""
        return {each for each in endpoint_states if each.subchannel is not None and each.subchannel.is_ready}

    async def wait_changed(self, priority: int = 0) -> None:
        """Wait for the next change; calls of higher priority continue before others."""
        await self._waiters.wait(self.loop, priority)

    async def acquire(
        self,
        *,
        wait: bool,
        ready: bool = False,
        patience: Patience | None = None,
        priority: int = 0,
        asks: bool = True,
    ) -> ClientEngine:
        """Return a usable connection, dialling if necessary.

        Args:
            wait: keep waiting while no server is reachable, instead of failing once every address was tried.
            ready: accept only a connection whose SETTINGS arrived.
            patience: the waiting time of a further attempt; None for a first attempt.
            priority: the call's priority; waiting calls of higher priority continue first.
            asks: whether this is the first time that the call asks for a connection.

        Raises:
            UnavailableError: no endpoint could be reached; the message names every address and its error.
        """
        while True:
            self.check_open()
            self._follow_again()
            connections = [connection for connection in self.connections if connection.is_ready or not ready]
            if connections:
                return random.choice(connections)
            if asks:
                asks = False
                self.call_for(None)
            self.start()
            if not wait and self.are_unreachable(self.subchannels, patience):
                raise unreachable(self.subchannels)
            await self.wait_changed(priority)

    async def try_all(self) -> None:
        """Return once one endpoint completed the handshake, or none could be reached."""
        patience = self.config.timeouts.connect
        with contextlib.suppress(UnavailableError, TimeoutError):
            async with time_limit(patience):
                await self.acquire(wait=False, ready=True)

    def at_once(self, *, ready: bool) -> ClientEngine | None:
        """Return a usable connection, or None, without waiting."""
        if len(self.subchannels) == 1:
            live = self.subchannels[0].live
            if len(live) != 1:
                return self.subchannels[0].usable(ready=ready)
            return live[0] if live[0].is_usable and (live[0].is_ready or not ready) else None
        connections = [connection for connection in self.connections if connection.is_ready or not ready]
        return random.choice(connections) if connections else None

    def check_open(self) -> None:
        """Raise UnavailableError once the client is closed."""
        if self.is_closed:
            raise UnavailableError("the client is closed", processed="no", retryable=False)

    def are_unreachable(self, subchannels: Sequence[Subchannel], patience: Patience | None) -> bool:
        """Return whether a call without a connection to these subchannels fails now, unless it has `wait_for_ready`."""
        return self._plan.are_unreachable(subchannels, patience, self.loop.time())

    @property
    def has_list(self) -> bool:
        """Whether the list of endpoints is known; without a registry it always is."""
        return self._has_list

    async def wait_list(self, method: str, *, wait: bool) -> None:
        """Wait until the registry has sent a list; with `wait` until the list has an endpoint.

        Raises:
            NoEndpointError: the registry failed.
        """
        while not self._has_list or (wait and not self.subchannels):
            self.check_open()
            self._follow_again()
            error = None if self._follower is None else self._follower.error
            if error is not None and not wait:
                raise registry_failure(method, self.target, error)
            # A failing registry wakes no waiter, so its error is polled.
            with contextlib.suppress(TimeoutError):
                async with time_limit(LOOK_SECONDS):
                    await self.wait_changed()

    def gauges(self) -> Iterable[Gauge]:
        """Return the gauges of the client; none once it is closed."""
        if self.is_closed:
            return ()
        from fastrpc.client.gauges import client_gauges  # Only monitors need it.

        return client_gauges(self.target, self.subchannels, self.config, is_alone=self.home is None)

    def endpoint_rows(self) -> list[dict[str, Any]]:
        """Return a row of an admin page for each endpoint; none once it is closed."""
        from fastrpc.client.gauges import endpoint_rows  # Asked for by a monitor alone.

        return [] if self.is_closed else endpoint_rows(self.target, self.subchannels)

    def record_of(self, endpoint: Endpoint) -> Endpoint:
        """Return this client's record of an endpoint. Clients of other services may use the same connections."""
        subchannel = self._plan.find(endpoint.address)
        return endpoint if subchannel is None else subchannel.endpoint

    def subchannel_at(self, address: Address) -> Subchannel | None:
        """Return the subchannel of one endpoint."""
        return self._plan.find(address)

    def tried(self) -> str:
        """Return the state of each address, for the message of an error."""
        return self._plan.tried(None if self._follower is None else self._follower.error)

    def abandon(self) -> None:
        """Forget every connection. Their loop is closed, so they can be neither used nor closed."""
        self.is_closed = True
        if self._follower is not None:
            self._follower.stop()
        for subchannel in self.subchannels:
            subchannel.live = []
            if subchannel.endpoint_state is not None:
                subchannel.endpoint_state.connections = []
        self.on_change()

    async def close(self) -> None:
        """Close every connection for good."""
        self.is_closed = True
        self.dials.close()
        for subchannel in (*self.subchannels, *self._removed):
            subchannel.close()
        if self.home is not None:
            self.home.left(self)
        if self.is_used:
            # Wake all waiters now: connections that other clients use stay open, so their end would not wake them.
            self._tell()
        if self._follower is not None:
            await self._follower.close()
        if not self.is_used:
            return
        try:
            async with time_limit((self.config.timeouts.linger or 0.0) + 1.0):
                while self.open_connections:
                    await self.wait_changed()
        except TimeoutError:
            for subchannel in (*self.subchannels, *self._removed):
                subchannel.abort()
