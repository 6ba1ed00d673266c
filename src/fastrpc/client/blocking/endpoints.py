"""The endpoints of a blocking client, as its target and its registry name them, under the lock of its pool."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.client.blocking_wait import ReentryGuard
from fastrpc._core.client.caller_view import process_generation
from fastrpc.client.blocking.following import SyncFollower
from fastrpc.client.blocking.subchannel import SyncSubchannel
from fastrpc.client.plan import LOOK_SECONDS, ConnectionPlan
from fastrpc.client.reach_errors import registry_failure
from fastrpc.client.target import Target
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConnectionLostError, UnavailableError

if TYPE_CHECKING:
    from fastrpc.client.services.blocking_sharing import SharedSessions

__all__ = ["SyncEndpoints"]


class SyncEndpoints:
    """All subchannels of a blocking client, and the lock that guards them."""

    def __init__(
        self,
        target: Target,
        endpoint_set: EndpointSet | None,
        config: ClientConfig,
        shared: "SharedSessions | None",
    ) -> None:
        #: The connections that this client shares with others, or None.
        self.shared = shared
        self.target = target
        self.endpoint_set = endpoint_set
        self.config = config
        self._plan: ConnectionPlan[SyncSubchannel] = ConnectionPlan(
            target, endpoint_set, config.pool.warm, self._new_subchannel
        )
        self._follower = None if target.registry is None else SyncFollower(target, target.registry)
        #: A function that makes the next call ask the pool first.
        self.on_need: Callable[[], object] = lambda: None
        self._changed = threading.Condition()
        self._changes = 0
        #: Whether the client is closed. The pool that replaces the parent's pool after a fork is closed if the parent's
        #: pool was.
        self.is_closed = False
        #: The threads that wait in the pool or in one of its connections.
        self.reentry = ReentryGuard() if shared is None else shared.reentry
        self._process = process_generation()

    def _begin(self) -> None:
        """Start with the endpoints that the target itself names."""
        if self.endpoint_set is None:
            self._plan.take_one(self.target.endpoints)
        else:
            self.endpoint_set.on_narrowed = self._take_left
            self._update(self.target.endpoints)

    def _publish(self) -> None:
        """Publish the connections that calls may use without asking the pool."""
        raise NotImplementedError

    def _new_subchannel(self, endpoint: Endpoint) -> SyncSubchannel:
        width = self.config.pool.connections_per_endpoint
        made = SyncSubchannel(endpoint, self.config.backoff, width=width)
        if self.shared is not None:
            made.leave_to_others = partial(self.shared.leave_to_others, made)
            made.forget = partial(self.shared.places.leave, made)
        return made

    @property
    def subchannels(self) -> list[SyncSubchannel]:
        """The subchannels of all endpoints."""
        return self._plan.subchannels

    @property
    def wanted(self) -> list[SyncSubchannel]:
        """Subchannels that pass the selector's filters."""
        return self._plan.wanted

    @property
    def reached(self) -> list[SyncSubchannel]:
        """Subchannels that a fan-out calls."""
        return self._plan.reached

    @property
    def has_list(self) -> bool:
        """Whether the list of endpoints is known; without a registry it always is."""
        return self._follower is None or self._follower.has_list

    @property
    def has_news(self) -> bool:
        """Whether the registry has a list that the pool has not taken. Also true before the registry is watched."""
        return self._follower is not None and self._follower.has_news

    @property
    def is_watching(self) -> bool:
        """Whether the registry is watched."""
        return self._follower is not None and self._follower.is_open

    def record_of(self, endpoint: Endpoint) -> Endpoint:
        """Return this client's record of an endpoint. Clients of other services may use the same connections."""
        subchannel = self._plan.find(endpoint.address)
        return endpoint if subchannel is None else subchannel.endpoint

    def subchannel_at(self, address: Address) -> SyncSubchannel | None:
        """Return the subchannel of one endpoint."""
        return self._plan.find(address)

    def follow(self) -> None:
        """Replace the endpoints by the latest list of the registry, if it is new."""
        follower = self._follower
        if follower is None:
            return
        with self.reentry, self._lock():
            if not self.is_closed:
                follower.open()
            news = follower.look()
            if news is not None:
                try:
                    self._update(news.endpoints)
                    # The list counts as taken only after the update. While a filter raises, each call runs the filter
                    # again.
                    follower.note_taken(news)
                finally:
                    self._publish()
                    self._tell_changed()

    def rest(self) -> None:
        """Stop watching the registry and retire every connection, until the next call."""
        if self._follower is None:
            return
        with self.reentry, self._lock():
            if self._follower.is_open and not self.is_closed:
                self._follower.rest()
                for subchannel in self.subchannels:
                    subchannel.rest()
                self._publish()

    def wait_list(self, method: str, until: float | None, *, wait: bool) -> None:
        """Wait until the registry has sent a list; with `wait` until the list has an endpoint.

        Raises:
            NoEndpointError: the registry failed.
            TimeoutError: the deadline has passed.
        """
        while not self.has_list or (wait and not self.subchannels):
            follower = self._follower
            self._check_open()
            assert follower is not None
            if follower.error is not None and not wait:
                raise registry_failure(method, self.target, follower.error)
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            # A failing registry does not wake a waiting thread, so its error is polled.
            with self.reentry:
                follower.wait(LOOK_SECONDS if left is None else min(left, LOOK_SECONDS))
            self.check_process()
            self.follow()

    def _update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints. Calls in flight at removed endpoints finish there."""
        try:
            self._plan.take(endpoints)
        finally:
            for subchannel in self._plan.take_gone():
                subchannel.remove()
            self._mark()
            self._take_left()
        before = set(self.wanted)
        self._plan.choose()
        if not before.issuperset(self.wanted):
            self.on_need()

    def _take_left(self) -> None:
        """Make the next call connect to the endpoints that the filters now admit.

        This only replaces the list, since a pick may call it without holding the lock.
        """
        if self._plan.take_left():
            self.on_need()

    def _mark(self) -> bool:
        return self._plan.mark(lambda subchannel: bool(subchannel.open_connections))

    def tried(self) -> str:
        """Return the state of each address, for the message of an error."""
        return self._plan.tried(None if self._follower is None else self._follower.error)

    def _check_open(self) -> None:
        if self.is_closed:
            raise UnavailableError("the client is closed", processed="no", retryable=False)

    @property
    def is_of_parent(self) -> bool:
        """Whether this is the child of a fork, so that the connections belong to the parent."""
        return self._process != process_generation()

    def check_process(self) -> None:
        """Fail the call of a child process if its thread forked during the call.

        Raises:
            ConnectionLostError: this process is the child; only the parent learns the outcome of the call.
        """
        if self.is_of_parent:
            raise ConnectionLostError(
                "this process was forked during the call, which continues in the parent"
            )

    def _tell_changed(self) -> None:
        """Wake the threads that wait for a change; the caller holds the lock."""
        self._changes += 1
        self._changed.notify_all()

    def _lock(self) -> threading.Condition:
        """Return the pool's lock. In the child of a fork refuse it, as a thread of the parent may hold it."""
        self.check_process()
        return self._changed
