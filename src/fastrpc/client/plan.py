"""The connection plan of both clients: which endpoint to dial, retire and check next.

The plan is sans-IO: it does not read, write, sleep or read the time. `ConnectionPlan` holds the endpoints of a client,
each an `EndpointPlan` (`client/endpoint_plan.py`). A pool reports the list, and asks which endpoints stay connected,
which one to dial next, when to check again, and when a call without a connection fails.

One client has a loop, the other only its calling threads. They differ in these points:

- The loop dials many endpoints concurrently, by `client/dial_queue.py`. A thread dials one endpoint at a time, in turn.
- The loop keeps `Pool.connections_per_endpoint` connections to a server that has sent its SETTINGS. A thread adds a
  connection when all others are in use, so an aged connection retires as soon as another one is ready. With "auto" both
  clients add a connection when all others are crowded.
- The loop notices SETTINGS immediately. A thread notices them only while it reads, so an endpoint counts as tried once
  it was dialled.
- The loop reconnects by itself, so it does not log a connection that ended right after SETTINGS. A thread logs it,
  since the next call may come much later.
- Only the loop probes endpoints, hedges calls, and connects to endpoints without a call.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.reach_errors import troubles
from fastrpc.endpoint import Address, Endpoint

__all__ = ["FORK_LOOK_SECONDS", "LOOK_SECONDS", "ConnectionPlan", "Patience"]

logger = logging.getLogger("fastrpc.client")

#: The interval at which calls check whether the registry failed, until it has sent a first list.
LOOK_SECONDS = 0.05

#: The interval at which a waiting thread checks for a fork by a signal handler: the child lacks the thread that it
#: waits for.
FORK_LOOK_SECONDS = 0.1

E = TypeVar("E", bound=EndpointPlan)


class Patience:
    """The time for which a further attempt waits for a connection: until one more dial fails.

    A connection that ended early is redialled only after the first pause of the backoff. A call that used it and has
    time left must not fail because of this pause. So the wait is at least as long as the pause, even if many endpoints
    fail meanwhile.

    Args:
        least_seconds: the first pause of the backoff.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._ends: float | None = None
        self._failures: dict[EndpointPlan, int] = {}

    def is_over(self, endpoints: Sequence[EndpointPlan], now: float) -> bool:
        """Return whether an attempt without a connection fails now. The first call of this method starts the wait."""
        if self._ends is None:
            self._ends = now + self._least_seconds
            self._failures = {each: each.failures for each in endpoints}
        if not endpoints:
            return True
        if now < self._ends:
            return False
        return any(each.failures != self._failures.get(each, each.failures) for each in endpoints)


class ConnectionPlan(Generic[E]):
    """The endpoints of a client, and the choice of endpoints to connect.

    Args:
        target: the name of the servers in messages.
        endpoint_set: picks endpoints for calls; None for a single fixed endpoint.
        warm: the number of endpoints that stay connected.
        make: a function that makes the subchannel of a new endpoint.
    """

    def __init__(
        self, target: object, endpoint_set: EndpointSet | None, warm: int, make: Callable[[Endpoint], E]
    ) -> None:
        self.target = target
        self.endpoint_set = endpoint_set
        self.subchannels: list[E] = []
        #: Subchannels that pass the selector's filters, in the order of the endpoints.
        self.wanted: list[E] = []
        self._warm = warm
        self._make = make
        # `_usual`: the wanted subchannels while all endpoints are healthy. `_narrowed`: the list that they came from.
        self._usual: list[E] = []
        self._narrowed: list[E] | None = None
        self._gone: list[E] = []
        self._indexed: list[E] | None = None
        self._by_address: dict[Address, E] = {}

    # The list of endpoints

    def take_one(self, endpoints: Sequence[Endpoint]) -> None:
        """Set the single endpoint of a client without an endpoint set."""
        self.subchannels = self.wanted = [self._make(endpoint) for endpoint in endpoints[:1]]
        _choose_warm(self.subchannels, self._warm)

    def take(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints. `take_gone` then returns the removed ones; call `choose` next."""
        try:
            self.places.update(endpoints)
        finally:
            # A user-defined filter may raise here. A later pick, which needs the subchannels, runs the filter again.
            before, self.subchannels = self.subchannels, self._standing()
            kept = set(self.subchannels)
            for subchannel in before:
                if subchannel not in kept:
                    subchannel.is_removed = True
                    self._gone.append(subchannel)
            self._usual = [subchannel for subchannel in self._usual if subchannel in kept]

    def _standing(self) -> list[E]:
        """Return the subchannel of each endpoint; new endpoints get a new subchannel."""
        subchannels = []
        for endpoint_state in self.places.endpoint_states:
            if endpoint_state.subchannel is None:
                endpoint_state.subchannel = self._make(endpoint_state.endpoint)
                endpoint_state.subchannel.endpoint_state = endpoint_state
            endpoint_state.subchannel.endpoint = endpoint_state.endpoint
            subchannels.append(endpoint_state.subchannel)
        return subchannels

    def take_gone(self) -> list[E]:
        """Return the removed endpoints; a later call does not return them again. Calls in flight there may finish."""
        gone, self._gone = self._gone, []
        return gone

    def choose(self) -> None:
        """Choose the wanted and the warm endpoints, once for each list."""
        if self.endpoint_set is None or self._narrowed is self.subchannels:
            return
        endpoints: Sequence[Endpoint] = [subchannel.endpoint for subchannel in self.subchannels]
        for narrow in self.endpoint_set.filters:
            endpoints = narrow(endpoints, lambda _: True)
        addresses = {endpoint.address for endpoint in endpoints}
        self._usual = [each for each in self.subchannels if each.endpoint.address in addresses]
        _choose_warm(self._usual, self._warm)
        self._narrowed = self.subchannels
        self.take_left()

    def take_left(self) -> list[E]:
        """Add the endpoints that the filters admit now, such as other zones in an outage. Return the new ones."""
        before, known = set(self.wanted), set(self._usual)
        left = (endpoint_state.subchannel for endpoint_state in self.places.left)
        self.wanted = [*self._usual, *(each for each in left if each is not None and each not in known)]
        return [each for each in self.wanted if each not in before]

    @property
    def reached(self) -> list[E]:
        """The endpoints of a fan-out: the wanted ones, or one for each server if a filter prefers the nearest."""
        filters = () if self.endpoint_set is None else self.endpoint_set.filters
        if not any(hasattr(narrow, "of_each_server") for narrow in filters):
            return self.wanted
        is_sound = self.places.is_sound
        endpoints: Sequence[Endpoint] = [subchannel.endpoint for subchannel in self.subchannels]
        for narrow in filters:
            endpoints = getattr(narrow, "of_each_server", narrow)(endpoints, is_sound)
        return [found for each in endpoints if (found := self.find(each.address)) is not None]

    @property
    def places(self) -> EndpointSet:
        """The endpoint set; it must exist."""
        assert self.endpoint_set is not None
        return self.endpoint_set

    def find(self, address: Address) -> E | None:
        """Return the subchannel of one address."""
        if self._indexed is not self.subchannels:
            self._indexed = self.subchannels
            self._by_address = {each.endpoint.address: each for each in self.subchannels}
        return self._by_address.get(address)

    def mark(self, is_reachable: Callable[[E], bool]) -> bool:
        """Report the endpoints without a connection to the endpoint set; return whether that changed anything.

        Calls use endpoints without a connection only while no endpoint is connected. An endpoint keeps its keys while
        its next dial is likely to succeed; with a user-defined selector only during its first dial.
        """
        places_keys, keeps_new = self.places.places_keys, self.places.selector.is_keyed
        leaving, untried = set(), set()
        for each in self.subchannels:
            is_kept = each.is_expected if places_keys else keeps_new and each.is_new
            if not (is_kept or is_reachable(each)):
                leaving.add(each.endpoint_state)
            if each.is_untried:
                untried.add(each.endpoint_state)
        try:
            return self.places.set_all_leaving(leaving, untried)
        except Exception:
            # `mark` runs user-defined filters and selectors. The next pick raises their error to its caller; a
            # connection that reports a change must not fail for it.
            logger.exception("%s: the selector cannot take the endpoints", self.target)
            return True

    # The next dial, and the next check

    def next_dial(self, order: Iterable[E], busy: E | None, width: int, now: float) -> E | None:
        """Return the endpoint to dial now: one without a connection, or one whose connections are all in use.

        Args:
            order: the endpoints in the order in which calls go to them.
            busy: the endpoint whose connections are all in use, if the call found one.
            width: the connections that `busy` may have.
            now: the current instant.
        """
        for each in order:
            if each.lacks() and self.may_dial(each, now):
                return each
        if busy is not None and len(busy.connections) < width and self.may_dial(busy, now):
            return busy
        return None

    @staticmethod
    def may_dial(each: EndpointPlan, now: float) -> bool:
        """Return whether a dial to an endpoint may begin."""
        return not (each.is_removed or each.is_dialing or each.pause_left(now))

    def next_look(self) -> float | None:
        """Return the instant from which calls ask the pool before they use a connection; None: never."""
        instants = [
            0.0 if each.connections else each.due
            for each in self.wanted
            # A failed endpoint is checked until SETTINGS arrive from its server again.
            if (each.error is not None if each.connections else not each.is_dialing)
        ]
        return min(instants, default=None)

    @staticmethod
    def are_unreachable(endpoints: Sequence[EndpointPlan], patience: Patience | None, now: float) -> bool:
        """Return whether a call without a connection to these endpoints fails now, unless it has `wait_for_ready`."""
        if any(each.may_come for each in endpoints):
            return False
        return patience is None or patience.is_over(endpoints, now)

    # Messages

    def tried(self, registry_error: object) -> str:
        """Return the state of each address, for the message of an error."""
        if not self.subchannels:
            cause = "" if registry_error is None else f" ({registry_error})"
            return f"no endpoint of {self.target} is known{cause}"
        return troubles(self.subchannels)


def _choose_warm(endpoints: Sequence[EndpointPlan], count: int) -> None:
    """Mark the endpoints that stay connected, by this client's random ranks, which survive changes of the list."""
    for place, each in enumerate(sorted(endpoints, key=lambda each: each.rank)):
        each.is_warm = place < count
