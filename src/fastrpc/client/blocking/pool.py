"""The connections of a blocking client: made by the thread that needs one, and made again after a loss.

With several endpoints the pool picks in Python, under its lock, because a pick also decides where to dial. With one
address calls stay in compiled code.

All threads that wait for a connection are woken together, whatever the priority of their calls; the system decides
which thread runs first. From then on the call slots order the calls by priority.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.selectors import EndpointState
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.wire.settings import WireSettings
from fastrpc.client.blocking.dialing import SPARE_SECONDS, Dialer, opened, seconds_until, spare_seconds_until
from fastrpc.client.blocking.endpoints import SyncEndpoints
from fastrpc.client.blocking.subchannel import SyncSubchannel
from fastrpc.client.plan import FORK_LOOK_SECONDS, Patience
from fastrpc.client.reach_errors import unreachable
from fastrpc.client.target import Target
from fastrpc.config import ClientConfig
from fastrpc.errors import FastRPCError
from fastrpc.gauges import Gauge, tells_gauges

if TYPE_CHECKING:
    from fastrpc.client.services.blocking_sharing import SharedSessions

__all__ = ["SyncHome", "SyncPool"]


class SyncHome(Protocol):
    """The part of a `SyncServices` that the pools of its services use."""

    @property
    def registry(self) -> Any:
        """The registry that this process has opened."""

    @property
    def owns_registry(self) -> bool:
        """Whether the child of a fork opens the registry again."""

    @property
    def sessions(self) -> "SharedSessions":
        """The connections that all services share in this process."""

    def left(self, pool: "SyncPool") -> None:
        """Forget the client of a pool that closed."""


class SyncPool(SyncEndpoints):
    """All subchannels of a blocking client."""

    #: The client, if it belongs to a `SyncServices`: a view of it keeps the pool, and so the client, alive. Else None.
    owner: Any = None

    def __init__(
        self,
        target: Target,
        endpoint_set: EndpointSet | None,
        config: ClientConfig,
        settings: WireSettings,
        home: SyncHome | None = None,
    ) -> None:
        super().__init__(target, endpoint_set, config, None if home is None else home.sessions)
        self._home = home
        #: A function that gets the connections (a list for each endpoint), and the instant from which calls ask the
        #: pool first.
        self.on_change: Callable[[list[list[BlockingSession]], float | None], None]
        #: A function that gets the highest `asks_below` of all endpoints. While there are fewer connections, calls ask
        #: the pool once all are crowded.
        self.on_width: Callable[[int], object] = lambda _: None
        self.totals = CallTotals()
        self._turn = 0
        self.dialer = Dialer(target, config, settings, self.reentry)
        self._begin()
        tells_gauges(self)

    def gauges(self) -> Iterable[Gauge]:
        """Return the gauges of the client; a closed client has none."""
        if self.is_closed:
            return ()
        from fastrpc.client.gauges import client_gauges  # Only monitors need it.

        return client_gauges(self.target, self.subchannels, self.config, is_alone=self.shared is None)

    def ready_among(self, endpoint_states: Iterable[EndpointState]) -> set[EndpointState]:
        """Return the endpoints with a connection whose SETTINGS arrived. Call `catch_up` first, which reads them."""
        with self.reentry, self._lock():
            subchannels = {each: each.subchannel for each in endpoint_states if each.subchannel is not None}
            for subchannel in subchannels.values():
                subchannel.refresh()
            return {each for each, subchannel in subchannels.items() if subchannel.is_ready}

    def endpoint_rows(self) -> list[dict[str, Any]]:
        """Return a row of an admin page for each endpoint; a closed client has none."""
        from fastrpc.client.gauges import endpoint_rows  # Asked for by a monitor alone.

        return [] if self.is_closed else endpoint_rows(self.target, self.subchannels)

    def catch_up(self) -> None:
        """Read SETTINGS that arrived while no thread read, if the selector places keys. Do not hold the pool's lock."""
        if self.endpoint_set is None or not self.endpoint_set.places_keys:
            return
        with self.reentry:
            with self._lock():
                unread = [connection for connection in self.connections if not connection.is_ready]
            for connection in unread:
                connection.catch_up()

    @property
    def connections(self) -> list[BlockingSession]:
        """All connections."""
        return [connection for subchannel in self.subchannels for connection in subchannel.open_connections]

    def acquire(
        self, until: float | None, *, wait: bool, choice: Any = None, patience: Patience | None = None
    ) -> BlockingSession:
        """Return a usable connection, after a dial if necessary.

        Args:
            until: the deadline, an instant of `time.monotonic()`, or None.
            wait: keep waiting while no server is reachable, instead of failing once every address was tried.
            choice: picks the subchannel if there is an endpoint set; None uses the connections in turn.
            patience: the waiting time of a further attempt; None for a first attempt.

        Raises:
            UnavailableError: no endpoint could be reached; the message names every address and its error.
            TimeoutError: the deadline has passed.
        """
        with self.reentry:
            return self._acquire(until, wait, choice, patience)

    def _acquire(
        self, until: float | None, wait: bool, choice: Any, patience: Patience | None
    ) -> BlockingSession:
        has_dialed = False
        while True:
            # A waiting call continues with the servers that the registry names now.
            if self.has_news:
                self.follow()
            if wait:
                self.wait_list("", until, wait=True)
            if choice is not None:
                self.catch_up()
            claimed = made = None
            try:
                with self._lock():
                    connection, subchannels = self._choose(choice)
                    if connection is None and until is not None and time.monotonic() >= until:
                        raise TimeoutError
                    key_ends = None if choice is None or connection is not None else choice.begin_key_wait()
                    subchannel = (
                        None
                        if has_dialed and connection is not None
                        else self._subchannel_to_dial(connection, subchannels)
                    )
                    if subchannel is None:
                        if connection is not None:
                            self._publish()
                            return connection
                        self._await_change(until, wait, subchannels, patience, key_ends)
                        continue
                    claimed = subchannel
                    claimed.is_dialing = True
                    self._publish()
                has_dialed = True
                made = self._dial(claimed, until, *self._dial_times(until, key_ends, connection))
            finally:
                # Announce even if a signal handler raises above: otherwise no call would ever dial this endpoint again.
                if claimed is not None:
                    self._announce(claimed, made)

    def warm_up(self, until: float | None) -> None:
        """Connect the warm endpoints one by one. Later calls dial the endpoints that could not be reached."""
        for subchannel in [subchannel for subchannel in self.wanted if subchannel.is_warm]:
            for _ in range(subchannel.width):
                with self.reentry:
                    if not self._warm(subchannel, until):
                        break

    def _warm(self, subchannel: SyncSubchannel, until: float | None) -> bool:
        """Dial a warm endpoint if it may have one more connection; return whether it may."""
        claimed = made = None
        try:
            with self._lock():
                self._check_open()
                subchannel.ask(time.monotonic())
                if (
                    len(subchannel.open_connections) >= subchannel.width
                    or subchannel.is_removed
                    or not self._plan.may_dial(subchannel, time.monotonic())
                ):
                    return False
                claimed = subchannel
                claimed.is_dialing = True
            made = self._dial(claimed, until, None, until)
            return True
        finally:
            if claimed is not None:
                self._announce(claimed, made)

    def _choose(self, choice: Any) -> tuple[BlockingSession | None, list[SyncSubchannel]]:
        """Return a connection to the endpoint that `choice` picks (None: the next one), and the endpoints to dial."""
        self._check_open()
        if choice is not None:
            return self._choose_placed(choice)
        self._turn += 1
        subchannels = self._in_turn()
        for subchannel in subchannels:
            subchannel.refresh()
            connection = subchannel.least_used()
            if connection is not None:
                return connection, subchannels
        return None, subchannels

    def _choose_placed(self, choice: Any) -> tuple[BlockingSession | None, list[SyncSubchannel]]:
        while True:
            subchannel: SyncSubchannel = choice.subchannel()
            subchannel.refresh()
            connection = subchannel.least_used()
            is_awaited = not subchannel.is_ready and choice.key_wait_ends is not None
            others = [] if choice.is_pinned or is_awaited else choice.left_of(self._in_turn())
            subchannels = [subchannel, *others]
            if connection is not None:
                return connection, subchannels
            if choice.is_pinned or not self._mark():
                choice.release()
                return None, subchannels

    def _in_turn(self) -> list[SyncSubchannel]:
        start = self._turn % max(1, len(self.wanted))
        return self.wanted[start:] + self.wanted[:start]

    def _subchannel_to_dial(
        self, connection: BlockingSession | None, subchannels: list[SyncSubchannel]
    ) -> SyncSubchannel | None:
        """Return the endpoint to dial: one without a connection, or one whose connections are all in use."""
        busy, now = None, time.monotonic()
        if connection is None:
            for each in subchannels:
                each.ask(now)
        elif connection.users:
            busy = next((each for each in subchannels if connection in each.open_connections), None)
            if busy is not None and busy.is_automatic and not busy.is_crowded(connection.users, now):
                busy = None
        return self._plan.next_dial(subchannels, busy, 0 if busy is None else busy.width, now)

    def _await_change(
        self,
        until: float | None,
        wait: bool,
        subchannels: list[SyncSubchannel],
        patience: Patience | None,
        key_ends: float | None,
    ) -> None:
        """Wait for a change, at most until the next dial is due or `until`; for a key's endpoint until `key_ends`."""
        now = time.monotonic()
        if key_ends is not None:
            limits = [key_ends]
        elif until is not None and now >= until:
            raise TimeoutError
        elif not wait and self._plan.are_unreachable(subchannels, patience, now):
            raise unreachable(list(filter(set(subchannels).__contains__, self.subchannels)))
        else:
            limits = [] if until is None else [until]
        if subchannels and not any(subchannel.is_dialing for subchannel in subchannels):
            limits.append(min(subchannel.due for subchannel in subchannels))
        self._wait_changed(min(limits, default=math.inf))

    def _wait_changed(self, ends: float) -> None:
        """Wait for a change until an instant."""
        seen = self._changes
        while self._changes == seen and (left := ends - time.monotonic()) > 0:
            # Ignore the result: it is False even if a change came after the timeout and before the lock was taken
            # again.
            self._changed.wait(min(left, FORK_LOOK_SECONDS))
            self.check_process()
            if self.has_news:
                return

    def _dial_times(
        self, until: float | None, key_ends: float | None, connection: BlockingSession | None
    ) -> tuple[float | None, float | None]:
        """Return the extra time limit of a dial, and the instant from which its failure counts only for this call.

        A dial may be cut off at half of its call's time. Such a failure proves nothing about the endpoint, and other
        calls with keys may still wait for it.
        """
        spare = seconds_until(key_ends) if connection is None else spare_seconds_until(until)
        places_keys = self.endpoint_set is not None and self.endpoint_set.places_keys
        if until is None or spare is None or not places_keys:
            return spare, until
        now, connect = time.monotonic(), self.config.timeouts.connect
        longest = min(
            SPARE_SECONDS if connection is not None else math.inf, math.inf if connect is None else connect
        )
        return spare, now + spare if (until - now) / 2 < longest else until

    def _dial(
        self, subchannel: SyncSubchannel, until: float | None, spare_seconds: float | None, cut: float | None
    ) -> BlockingSession | None:
        """Dial once, after this thread has set `is_dialing`; the caller has to call `_announce` next.

        Args:
            cut: the instant from which a failed dial no longer counts against the endpoint; None: it always counts.
        """
        try:
            make = partial(self._make, subchannel, until, spare_seconds)
            if self.shared is None:
                return make()
            return self.shared.session(subchannel, make, until, self.check_process, cut)
        except FastRPCError as error:
            with self._lock():
                now = time.monotonic()
                if cut is None or now < cut:
                    due, is_told = (
                        (None, False) if self.shared is None else self.shared.places.next_dial(subchannel)
                    )
                    subchannel.note_failure(error, now, is_logged=not is_told)
                    subchannel.due = subchannel.due if due is None else due
                elif cut != until and self.connections:
                    # Postpone the next dial. Otherwise each call in turn would wait for this endpoint, although it
                    # could use others.
                    subchannel.put_off(now)
            return None

    def _make(
        self, subchannel: SyncSubchannel, until: float | None, spare_seconds: float | None
    ) -> BlockingSession:
        """Return a new connection. If it replaces others, wait until its SETTINGS have arrived."""
        replaces = bool(subchannel.open_connections) and not subchannel.lasting
        made = self.dialer.dial(
            subchannel.endpoint,
            until,
            spare_seconds,
            self.check_process,
            ping_factor=subchannel.ping_factor,
        )
        with self._lock():
            self.totals.connections += 1
        if self.endpoint_set is not None and self.endpoint_set.places_keys:
            # Send the opening now, so that the next call of one of the endpoint's keys finds the connection ready.
            made.catch_up()
        return opened(made, spare_seconds) if replaces else made

    def _announce(self, subchannel: SyncSubchannel, connection: BlockingSession | None) -> None:
        """Announce the outcome of a dial: the connection, or None."""
        with self._lock():
            subchannel.is_dialing, subchannel.was_dialed = False, True
            self._tell_changed()
            is_left = self.is_closed or subchannel.is_removed
            if connection is not None and not is_left:
                subchannel.open_connections.append(connection)
                connection = None
            self._publish()
        if connection is not None and not subchannel.leave_to_others(connection):
            connection.close()
        if is_left:
            subchannel.forget()

    def _publish(self) -> None:
        """Publish the connections that calls may use without asking the pool."""
        if self.endpoint_set is not None:
            self._mark()
        for subchannel in self.subchannels:
            if subchannel.endpoint_state is not None:
                # A silent server must not hold up calls whose keys lead to it.
                is_shown = subchannel.is_ready or not self._plan.places.places_keys
                subchannel.endpoint_state.connections = list(subchannel.open_connections) if is_shown else []
        self.on_width(max((each.asks_below for each in self.subchannels if each.open_connections), default=1))
        groups = [
            list(subchannel.open_connections)
            for subchannel in self.subchannels
            if subchannel.open_connections
        ]
        self.on_change(groups, self._plan.next_look())

    def close(self) -> None:
        """Close every connection for good."""
        for connection in self._drop_all():
            connection.close()
        if self._home is not None:
            self._home.left(self)
        if self._follower is not None:
            self._follower.close()

    def _drop_all(self) -> list[BlockingSession]:
        with self._lock():
            self.is_closed = True
            connections = [
                connection
                for subchannel in self.subchannels
                for connection in subchannel.open_connections
                if not subchannel.leave_to_others(connection)
            ]
            for subchannel in self.subchannels:
                subchannel.open_connections = []
                subchannel.forget()
            self._publish()
            self._tell_changed()
        return connections

    def detach(self) -> None:
        """Leave the connections to the parent: close only the descriptors, without locks or callbacks."""
        self.is_closed = True
        for connection in self.connections:
            connection.detach()

    def __del__(self) -> None:
        if self.is_closed or not self.connections:
            return
        if self.is_of_parent:
            self.detach()
            return
        warnings.warn(f"unclosed SyncClient of {self}", ResourceWarning, source=self, stacklevel=2)
        for subchannel in self.subchannels:
            subchannel.rest()

    def __str__(self) -> str:
        return str(self.target)
