"""What both clients do about their connections: what to dial, retire and look at next, and what an error says of it.

Nothing here reads, writes, sleeps or asks the time. `EndpointPlan` holds what is known of one endpoint: a subchannel
tells it what became of dials and connections, and asks when the next dial is due, whether a connection is missing and
which ones may go. `ConnectionPlan` holds the endpoints of a client: a pool tells it the list, and asks which endpoints
are connected, which one is dialled next, when to look again, and when a call without a connection fails.

The clients differ where one has a loop and the other has only the threads that call:

- The loop dials many endpoints at once, by `client/dial_queue.py`. A thread dials one endpoint at a time, in turn.
- The loop keeps `Pool.connections_per_endpoint` connections once a server has shown its settings. A thread adds one
  where it finds all of them in use, so an old connection goes as soon as one other is ready.
- The loop sees at once that a server shows its settings. A thread sees it while it reads, so an endpoint it has dialled
  is not untried any more.
- The loop connects again by itself, so it logs no connection that ended right behind its server's settings. A thread
  logs it: nobody may call for long.
- Only the loop probes endpoints, hedges calls, and connects by itself what nobody calls.
"""

import logging
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConnectError, FastRPCError

__all__ = ["LOOK_SECONDS", "REACH_HINT", "ConnectionPlan", "EndpointPlan", "Patience"]

logger = logging.getLogger("fastrpc.client")

#: How often it is looked whether the registry failed, as long as it has named nobody yet.
LOOK_SECONDS = 0.05

#: Addresses that one message names.
MOST_NAMED = 100

#: What to do where no connection came in time.
REACH_HINT = "check that the address is right and a server runs there, or give it more time"


class _Connection(Protocol):
    """What the plan looks at in a connection."""

    @property
    def is_ready(self) -> bool:
        """Whether the server has shown its settings."""

    @property
    def is_aged(self) -> bool:
        """Whether it is old enough to be replaced; it takes calls until then."""

    def retire(self) -> None:
        """Take no new calls; the clients do this to what the plan names."""


class EndpointPlan:
    """What is known of one endpoint, and what is to be done about it."""

    #: Whether a connection that ends right behind its server's settings is logged as one that could not be made.
    logs_early_ends = True

    def __init__(
        self,
        endpoint: Endpoint,
        backoff: Backoff,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.endpoint = endpoint
        #: Why there is no connection; None once a server has shown its settings.
        self.error: FastRPCError | None = None
        #: How often a connection could not be made, or ended as soon as it was there.
        self.failures = 0
        #: Instant of the next attempt, after failures.
        self.due = 0.0
        #: Whether an attempt to connect is under way, or has its place among those that wait.
        self.is_dialing = False
        #: Whether an attempt to connect has ended, one way or the other.
        self.was_dialed = False
        #: Whether a server has ever shown its settings there.
        self.was_ready = False
        #: Whether it is none of the endpoints any more.
        self.is_removed = False
        #: Whether it is connected before anybody calls, and stays so (`Pool.warm`).
        self.is_warm = False
        #: Its place in this client's own order, by which the warm ones are chosen.
        self.rank = random.random()
        #: The EndpointState of the endpoint set, where there is one.
        self.endpoint_state: Any = None
        self._first = backoff.first
        self._delays = Delays(backoff, uniform)

    @property
    def connections(self) -> Sequence[_Connection]:
        """The connections that take calls as far as is known."""
        raise NotImplementedError

    @property
    def may_come(self) -> bool:
        """Whether a connection is there, or may be in a moment."""
        return self.is_dialing or bool(self.connections)

    # What became of dials and connections

    def answered(self) -> None:
        """A server has shown its settings: from now on a loss is tried again without delay."""
        if self.error is not None:
            logger.info("connected to %s again", self.endpoint)
        self.error = None
        self.was_ready = True
        self._delays.reset()

    def ended(self, *, was_ready: bool, lived: float, reason: object, at: float) -> None:
        """A connection ended that was still wanted; the next pause counts from `at`."""
        if not was_ready:
            self.note_failure(
                ConnectError(f"{self.endpoint}: the connection ended in its opening: {reason}"), at
            )
        elif lived < self._first:
            # A server that drops every connection right behind its settings is not hammered either.
            error = ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
            self.note_failure(error, at, is_logged=self.logs_early_ends)
        else:
            self._delays.reset()

    def note_failure(self, error: FastRPCError, at: float, *, is_logged: bool = True) -> None:
        """Pause before the next attempt, longer each time, and keep the error for those who ask."""
        if self.error is None and is_logged:
            logger.warning("%s", _trouble_at(self.endpoint, error))
        self.error = _without_frames(error)
        self.failures += 1
        self.put_off(at)

    def put_off(self, at: float) -> None:
        """Pause before the next attempt, longer each time."""
        self.due = at + self._delays.take()

    def spent(self) -> None:
        """A connection ended because nobody needed it, or for its age: the next one is made without delay."""
        self._delays.reset()

    # What is to be done

    @property
    def dial_rank(self) -> int:
        """How likely its server answers: it did, nothing is known of it, it failed since, it always failed."""
        if self.error is None:
            return 0 if self.was_ready else 1
        return 2 if self.was_ready else 3

    def pause_left(self, now: float) -> float:
        """Return for how many seconds no attempt to connect is made."""
        return max(0.0, self.due - now)

    @property
    def lasting(self) -> list[_Connection]:
        """The connections that are not to be replaced."""
        return [connection for connection in self.connections if not connection.is_aged]

    def lacks(self, width: int = 1) -> bool:
        """Whether a connection is missing: the first one, and others once the server behind it has shown its settings.

        So a server that is away or silent is tried no more often than with one connection.
        """
        lasting = self.lasting
        if not lasting:
            return True
        return len(lasting) < width and any(connection.is_ready for connection in lasting)

    def replaced(self, width: int = 1) -> list[_Connection]:
        """Return the aged connections in whose place others take calls: there are `width` without them."""
        ready = sum(connection.is_ready for connection in self.lasting)
        if not ready:
            return []
        aged = [connection for connection in self.connections if connection.is_aged]
        return aged[: max(0, len(aged) + ready - width)]

    @property
    def is_new(self) -> bool:
        """Whether nothing is known against it: no attempt to connect has ended."""
        return self.error is None and not self.was_dialed

    @property
    def is_untried(self) -> bool:
        """Whether its server has not shown its settings yet, and no attempt failed."""
        return self.error is None and not self.was_ready


E = TypeVar("E", bound=EndpointPlan)


class Patience:
    """How long an attempt that follows another one waits where there is no connection: for one more dial in vain.

    A connection that ended within the first pause is not made again before that pause is over; a call that was on it,
    and has time left, must not fail for that. However many endpoints fail one after the other, the wait lasts for
    that pause at least.

    Args:
        least_seconds: the first pause.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._ends: float | None = None
        self._failures: dict[EndpointPlan, int] = {}

    def is_over(self, endpoints: Sequence[EndpointPlan], now: float) -> bool:
        """Whether an attempt without a connection fails now; the first question begins the wait."""
        if self._ends is None:
            self._ends = now + self._least_seconds
            self._failures = {each: each.failures for each in endpoints}
        if not endpoints:
            return True
        if now < self._ends:
            return False
        return any(each.failures != self._failures.get(each, each.failures) for each in endpoints)


class ConnectionPlan(Generic[E]):
    """The endpoints of a client, and which of them are connected.

    Args:
        target: names the servers in messages.
        endpoint_set: places the calls; None with the one endpoint there will ever be.
        warm: how many endpoints stay connected.
        make: makes what stands for an endpoint that is new.
    """

    def __init__(
        self, target: object, endpoint_set: EndpointSet | None, warm: int, make: Callable[[Endpoint], E]
    ) -> None:
        self.target = target
        self.endpoint_set = endpoint_set
        self.subchannels: list[E] = []
        #: Subchannels that calls may need, in the order of the endpoints: what the filters of the selector leave.
        self.wanted: list[E] = []
        self._warm = warm
        self._make = make
        # Those wanted while all endpoints are in good health, and the list they were chosen from.
        self._usual: list[E] = []
        self._narrowed: list[E] | None = None
        self._gone: list[E] = []
        self._indexed: list[E] | None = None
        self._by_address: dict[Address, E] = {}

    # Which endpoints there are

    def take_one(self, endpoints: Sequence[Endpoint]) -> None:
        """Take the one endpoint of a client without an endpoint set."""
        self.subchannels = self.wanted = [self._make(endpoint) for endpoint in endpoints[:1]]
        _choose_warm(self.subchannels, self._warm)

    def take(self, endpoints: Sequence[Endpoint]) -> None:
        """Make these the endpoints; `take_gone` names those that are none any more, `choose` follows."""
        try:
            self.places.update(endpoints)
        finally:
            # What a filter of the user's raises at is taken up by a later pick, which needs the subchannels.
            before, self.subchannels = self.subchannels, self._standing()
            kept = set(self.subchannels)
            for subchannel in before:
                if subchannel not in kept:
                    subchannel.is_removed = True
                    self._gone.append(subchannel)
            self._usual = [subchannel for subchannel in self._usual if subchannel in kept]

    def _standing(self) -> list[E]:
        """Return what stands for each endpoint; those that are new get it."""
        subchannels = []
        for endpoint_state in self.places.endpoint_states:
            if endpoint_state.subchannel is None:
                endpoint_state.subchannel = self._make(endpoint_state.endpoint)
                endpoint_state.subchannel.endpoint_state = endpoint_state
            endpoint_state.subchannel.endpoint = endpoint_state.endpoint
            subchannels.append(endpoint_state.subchannel)
        return subchannels

    def take_gone(self) -> list[E]:
        """Return the endpoints to leave, once: what is under way there may end."""
        gone, self._gone = self._gone, []
        return gone

    def choose(self) -> None:
        """Choose which endpoints are wanted, and which of them stay connected, unless that is done for this list."""
        if self.endpoint_set is None or self._narrowed is self.subchannels:
            return
        endpoints: Sequence[Endpoint] = [subchannel.endpoint for subchannel in self.subchannels]
        for narrow in self.endpoint_set.selector.filters:
            endpoints = narrow(endpoints, lambda _: True)
        addresses = {endpoint.address for endpoint in endpoints}
        self._usual = [each for each in self.subchannels if each.endpoint.address in addresses]
        _choose_warm(self._usual, self._warm)
        self._narrowed = self.subchannels
        self.take_left()

    def take_left(self) -> list[E]:
        """Want the endpoints that the filters leave now as well: in need a zone is not enough. Return what is new."""
        before, known = set(self.wanted), set(self._usual)
        left = (endpoint_state.subchannel for endpoint_state in self.places.left)
        self.wanted = [*self._usual, *(each for each in left if each is not None and each not in known)]
        return [each for each in self.wanted if each not in before]

    @property
    def places(self) -> EndpointSet:
        """The endpoint set, where there is one."""
        assert self.endpoint_set is not None
        return self.endpoint_set

    def find(self, address: Address) -> E | None:
        """Return what stands for one address."""
        if self._indexed is not self.subchannels:
            self._indexed = self.subchannels
            self._by_address = {each.endpoint.address: each for each in self.subchannels}
        return self._by_address.get(address)

    def mark(self, is_reachable: Callable[[E], bool]) -> bool:
        """Tell the endpoint set where there is no connection, and return whether that was news.

        Calls go there only as long as there is no connection anywhere. Where keys say which endpoint takes a call, one
        that is being connected for the first time keeps its keys.
        """
        keeps_new = self.places.selector.is_keyed
        leaving, untried = set(), set()
        for each in self.subchannels:
            if not (is_reachable(each) or (keeps_new and each.is_new)):
                leaving.add(each.endpoint_state)
            if each.is_untried:
                untried.add(each.endpoint_state)
        try:
            return self.places.set_all_leaving(leaving, untried)
        except Exception:
            # Filters and selectors of the user's run in there, and the next pick raises it to its caller. A connection
            # that reports something must not hear of it.
            logger.exception("%s: the selector cannot take the endpoints", self.target)
            return True

    # What to do next, and when to look again

    def next_dial(self, order: Iterable[E], busy: E | None, width: int, now: float) -> E | None:
        """Return the endpoint that gets a connection now: one that has none, or one whose connections are all in use.

        Args:
            order: the endpoints in the order in which calls go to them.
            busy: the endpoint whose connections are all in use, if the call found one.
            width: how many connections that one may have.
            now: the instant.
        """
        for each in order:
            if each.lacks() and self.may_dial(each, now):
                return each
        if busy is not None and len(busy.connections) < width and self.may_dial(busy, now):
            return busy
        return None

    @staticmethod
    def may_dial(each: EndpointPlan, now: float) -> bool:
        """Whether an attempt to connect may begin at an endpoint."""
        return not (each.is_removed or each.is_dialing or each.pause_left(now))

    def next_look(self) -> float | None:
        """Return the instant at which a call looks here again before it takes a connection; None without need."""
        instants = [
            0.0 if each.connections else each.due
            for each in self.wanted
            # One that failed is looked at until it is known that its server is back.
            if (each.error is not None if each.connections else not each.is_dialing)
        ]
        return min(instants, default=None)

    @staticmethod
    def is_in_vain(endpoints: Sequence[EndpointPlan], patience: Patience | None, now: float) -> bool:
        """Whether a call that finds no connection at these, and does not wait for a server, fails now."""
        if any(each.may_come for each in endpoints):
            return False
        return patience is None or patience.is_over(endpoints, now)

    # What an error says

    def tried(self, registry_error: object) -> str:
        """Say what came of each address, for the message of an error."""
        if not self.subchannels:
            cause = "" if registry_error is None else f" ({registry_error})"
            return f"nobody is known to serve {self.target}{cause}"
        return _what_came_of(self.subchannels)

    def unreachable(self, endpoints: Sequence[EndpointPlan]) -> ConnectError:
        """Return the error of a call that finds a connection at none of these."""
        return ConnectError(
            f"no endpoint could be reached: {_what_came_of(endpoints)}", hint=_reach_hint(endpoints)
        )


def _choose_warm(endpoints: Sequence[EndpointPlan], count: int) -> None:
    """Say which endpoints stay connected: by an order of each client's own, which no change of the list disturbs."""
    for place, each in enumerate(sorted(endpoints, key=lambda each: each.rank)):
        each.is_warm = place < count


def _without_frames(error: FastRPCError) -> FastRPCError:
    """Return an error that is to be kept: the frames it came through would keep all calls that are in them."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def _what_came_of(endpoints: Sequence[EndpointPlan]) -> str:
    """Name addresses and why there is no connection; of very many the first."""
    text = "; ".join(_trouble_at(each.endpoint, each.error) for each in endpoints[:MOST_NAMED])
    return text if len(endpoints) <= MOST_NAMED else f"{text}; and {len(endpoints) - MOST_NAMED} more"


def _reach_hint(endpoints: Sequence[EndpointPlan]) -> str:
    """Say what to do where no connection came: look for the server, or at the address where somebody else answers."""
    errors = [str(each.error) for each in endpoints if each.error is not None]
    strangers = [error for error in errors if "not a fastrpc server" in error]
    if not strangers or len(strangers) < len(errors):
        return "is a server running there? with_options(wait_for_ready=True) waits for one"
    found = re.search(r"not a fastrpc server but ([^:]+):", strangers[0])
    return f"{found[1] if found else 'something else'} answered there: check host and port"


def _trouble_at(endpoint: Endpoint, error: FastRPCError | None) -> str:
    """Name an endpoint and its error, which mostly names it already."""
    text = "no answer yet" if error is None else error.message
    return text if str(endpoint) in text else f"{endpoint}: {text}"
