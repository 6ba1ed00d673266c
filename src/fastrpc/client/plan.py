"""The connection plan of both clients: what to dial, retire and check next, and how errors describe it.

The plan is sans-IO: nothing here reads, writes, sleeps or takes the time. `EndpointPlan` holds the state of one
endpoint: a subchannel reports the outcome of dials and connections, and asks when the next dial is due, whether a
connection is missing and which ones to retire. `ConnectionPlan` holds the endpoints of a client: a pool reports the
list, and asks which endpoints stay connected, which one to dial next, when to look again, and when a call without a
connection fails.

One client has a loop, the other only its calling threads. They differ in these points:

- The loop dials many endpoints at once, by `client/dial_queue.py`. A thread dials one endpoint at a time, in turn.
- The loop keeps `Pool.connections_per_endpoint` connections to a server that has sent its SETTINGS. A thread adds a
  connection when all others are in use, so an aged connection retires as soon as one other is ready. With "auto" both
  add one when all others are crowded.
- The loop sees SETTINGS arrive at once. A thread sees it while it reads, so an endpoint counts as tried once dialled.
- The loop reconnects by itself, so it does not log a connection that ended right after SETTINGS. A thread logs it: the
  next call may be far away.
- Only the loop probes endpoints, hedges calls, and connects to endpoints without a call.
"""

import logging
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.client.patience import Patience
from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import CallError, ConnectError, FastRPCError
from fastrpc.status import Status

__all__ = [
    "CROWD_CALLS",
    "CROWD_SECONDS",
    "LOOK_SECONDS",
    "MOST_AUTOMATIC",
    "REACH_HINT",
    "ConnectionPlan",
    "EndpointPlan",
]

logger = logging.getLogger("fastrpc.client")

#: Interval of the checks whether the registry failed, until it has sent a first list.
LOOK_SECONDS = 0.05

#: With `connections_per_endpoint="auto"`: more calls in flight than this crowd a connection; once every connection was
#: crowded for so many seconds there is one more, up to so many. A worker serves 16 calls in less than a millisecond
#: where their handlers do not wait, so a lasting crowd is a sign that it cannot keep up.
CROWD_CALLS = 16
CROWD_SECONDS = 0.1
MOST_AUTOMATIC = 8

#: The most addresses that one message names.
MOST_NAMED = 100

#: The hint of a call without a connection in time.
REACH_HINT = "check that the address is right and a server runs there, or give it more time"


class _Connection(Protocol):
    """The part of a connection that the plan uses."""

    @property
    def is_ready(self) -> bool:
        """Whether the server has shown its settings."""

    @property
    def is_aged(self) -> bool:
        """Whether its age limit has passed; it takes calls until it is replaced."""

    def retire(self) -> None:
        """Take no new calls; the clients retire what the plan names."""


class EndpointPlan:
    """The state of one endpoint, and its next dial."""

    #: Whether a connection that ends right after SETTINGS is logged like a failed dial.
    logs_early_ends = True

    def __init__(
        self,
        endpoint: Endpoint,
        backoff: Backoff,
        uniform: Callable[[float, float], float] = random.uniform,
        *,
        width: int | Literal["auto"] = 1,
    ) -> None:
        self.endpoint = endpoint
        #: Why there is no connection; None once SETTINGS arrived.
        self.error: FastRPCError | None = None
        #: Count of failed dials and of connections that ended right after the handshake.
        self.failures = 0
        #: Instant of the next dial, after failures.
        self.due = 0.0
        #: Whether a dial is in progress or queued.
        self.is_dialing = False
        #: Whether a dial has ended, successful or not.
        self.was_dialed = False
        #: Whether SETTINGS ever arrived from there.
        self.was_ready = False
        #: Whether the list of endpoints no longer has it.
        self.is_removed = False
        #: Whether it is connected before the first call and stays connected (`Pool.warm`).
        self.is_warm = False
        #: Its random rank in this client, by which the warm endpoints are chosen.
        self.rank = random.random()
        #: The EndpointState of the endpoint set, where there is one.
        self.endpoint_state: Any = None
        #: The workers of the server, by its SETTINGS.
        self.workers = 1
        # With automatic width: the connections that calls have needed.
        self._needed = 1
        self._width = width
        self._first = backoff.first
        # Whether the last connection that ended early did so because the server asked for another one.
        self._was_replaced = False
        self._delays = Delays(backoff, uniform)

    @property
    def connections(self) -> Sequence[_Connection]:
        """The connections that take calls, as far as is known."""
        raise NotImplementedError

    @property
    def may_come(self) -> bool:
        """Whether a connection exists or is being made."""
        return self.is_dialing or bool(self.connections)

    # How many connections there are to be

    @property
    def width(self) -> int:
        """The connections that there may be now."""
        return self._width if self._width != "auto" else min(self._needed, self.most)

    @property
    def most(self) -> int:
        """The connections that there may ever be."""
        return self._width if self._width != "auto" else min(self.workers, MOST_AUTOMATIC)

    @property
    def is_automatic(self) -> bool:
        """Whether calls decide how many connections there are."""
        return self._width == "auto"

    @property
    def may_widen(self) -> bool:
        """Whether there may be one more connection once all are crowded."""
        return self.width < self.most

    def widen(self) -> None:
        """Allow one more connection: each had too many calls for too long."""
        self._needed = self.width + 1

    def narrow(self) -> None:
        """Demand no more connections than there are: one ended because nobody needed it."""
        self._needed = max(1, len(self.lasting))

    # The outcome of dials and connections

    def answered(self) -> None:
        """Record SETTINGS: the next loss is redialled without delay."""
        if self.error is not None:
            logger.info("connected to %s again", self.endpoint)
        self.error = None
        self.was_ready = True
        self._delays.reset()

    def ended(
        self, *, was_ready: bool, lived: float, reason: object, at: float, is_replaced: bool = False
    ) -> None:
        """Record the end of a connection that was still wanted.

        Args:
            lived: seconds since its dial.
            at: the instant from which the next pause counts.
            is_replaced: whether the server asked for another one, by a GOAWAY that starts a drain.
        """
        if not was_ready:
            self.note_failure(
                ConnectError(f"{self.endpoint}: the connection ended during its handshake: {reason}"), at
            )
        elif lived >= self._first:
            self._was_replaced = False
            self._delays.reset()
        elif is_replaced and not self._was_replaced:
            # It is no failed dial, unless the next connection ends as early.
            self._was_replaced = True
            self._delays.reset()
        else:
            # A server that drops every connection right after SETTINGS is redialled with a pause, too.
            error = ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
            self.note_failure(error, at, is_logged=self.logs_early_ends)

    def note_failure(self, error: FastRPCError, at: float, *, is_logged: bool = True) -> None:
        """Keep the error for messages, and pause before the next dial, longer each time."""
        if self.error is None and is_logged:
            logger.warning("%s", _trouble_at(self.endpoint, error))
        self.error = _without_frames(error)
        self.failures += 1
        self.put_off(at)

    def note_refusal(self, status: int, text: object, at: float) -> None:
        """Record that the server refused the credentials: calls fail with its verdict until another one is dialled."""
        told = f"{self.endpoint} refused the credentials: {text}"
        if status == Status.UNAVAILABLE:
            self.note_failure(ConnectError(told), at)
        else:
            self.note_failure(CallError(Status(status), told, processed="no"), at)

    def put_off(self, at: float) -> None:
        """Pause before the next dial, longer each time."""
        self.due = at + self._delays.take()

    def spent(self) -> None:
        """Record the end of a connection by idleness or age: the next dial has no delay."""
        self._delays.reset()

    # The next dial

    @property
    def dial_rank(self) -> int:
        """The rank of its dial, likeliest to answer first: 0 up, 1 unknown, 2 failed since it was up, 3 never up."""
        if self.error is None:
            return 0 if self.was_ready else 1
        return 2 if self.was_ready else 3

    def pause_left(self, now: float) -> float:
        """Return the seconds until the next dial may begin."""
        return max(0.0, self.due - now)

    @property
    def lasting(self) -> list[_Connection]:
        """The connections that are not aged."""
        return [connection for connection in self.connections if not connection.is_aged]

    def lacks(self, width: int = 1) -> bool:
        """Return whether a connection is missing: the first one, and further ones after SETTINGS.

        So a server that is down or silent is dialled no more often than with one connection.
        """
        lasting = self.lasting
        if not lasting:
            return True
        return len(lasting) < width and any(connection.is_ready for connection in lasting)

    def replaced(self, width: int = 1) -> list[_Connection]:
        """Return the aged connections that `width` younger ones replace."""
        ready = sum(connection.is_ready for connection in self.lasting)
        if not ready:
            return []
        aged = [connection for connection in self.connections if connection.is_aged]
        return aged[: max(0, len(aged) + ready - width)]

    @property
    def is_new(self) -> bool:
        """Whether no dial has ended yet."""
        return self.error is None and not self.was_dialed

    @property
    def is_untried(self) -> bool:
        """Whether SETTINGS never arrived and no dial failed."""
        return self.error is None and not self.was_ready


E = TypeVar("E", bound=EndpointPlan)


class ConnectionPlan(Generic[E]):
    """The endpoints of a client, and the choice of those to connect.

    Args:
        target: names the servers in messages.
        endpoint_set: picks endpoints for calls; None for a single fixed endpoint.
        warm: the number of endpoints that stay connected.
        make: makes the subchannel of a new endpoint.
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
        # The wanted subchannels while all endpoints are healthy, and the list they were chosen from.
        self._usual: list[E] = []
        self._narrowed: list[E] | None = None
        self._gone: list[E] = []
        self._indexed: list[E] | None = None
        self._by_address: dict[Address, E] = {}

    # The list of endpoints

    def take_one(self, endpoints: Sequence[Endpoint]) -> None:
        """Take the single endpoint of a client without an endpoint set."""
        self.subchannels = self.wanted = [self._make(endpoint) for endpoint in endpoints[:1]]
        _choose_warm(self.subchannels, self._warm)

    def take(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints. `take_gone` then returns the removed ones; call `choose` next."""
        try:
            self.places.update(endpoints)
        finally:
            # A user-defined filter may raise here. A later pick runs it again, and needs the subchannels.
            before, self.subchannels = self.subchannels, self._standing()
            kept = set(self.subchannels)
            for subchannel in before:
                if subchannel not in kept:
                    subchannel.is_removed = True
                    self._gone.append(subchannel)
            self._usual = [subchannel for subchannel in self._usual if subchannel in kept]

    def _standing(self) -> list[E]:
        """Return the subchannel of each endpoint, made for new ones."""
        subchannels = []
        for endpoint_state in self.places.endpoint_states:
            if endpoint_state.subchannel is None:
                endpoint_state.subchannel = self._make(endpoint_state.endpoint)
                endpoint_state.subchannel.endpoint_state = endpoint_state
            endpoint_state.subchannel.endpoint = endpoint_state.endpoint
            subchannels.append(endpoint_state.subchannel)
        return subchannels

    def take_gone(self) -> list[E]:
        """Return the removed endpoints, once. Calls in flight there may finish."""
        gone, self._gone = self._gone, []
        return gone

    def choose(self) -> None:
        """Choose the wanted and the warm endpoints, once for each list."""
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
        """Add the endpoints that the filters admit now, such as other zones in an outage. Return the new ones."""
        before, known = set(self.wanted), set(self._usual)
        left = (endpoint_state.subchannel for endpoint_state in self.places.left)
        self.wanted = [*self._usual, *(each for each in left if each is not None and each not in known)]
        return [each for each in self.wanted if each not in before]

    @property
    def places(self) -> EndpointSet:
        """The endpoint set, which must exist."""
        assert self.endpoint_set is not None
        return self.endpoint_set

    def find(self, address: Address) -> E | None:
        """Return the subchannel of one address."""
        if self._indexed is not self.subchannels:
            self._indexed = self.subchannels
            self._by_address = {each.endpoint.address: each for each in self.subchannels}
        return self._by_address.get(address)

    def mark(self, is_reachable: Callable[[E], bool]) -> bool:
        """Tell the endpoint set which endpoints have no connection; return whether that changed anything.

        Calls go to such endpoints only while none is connected. With a keyed selector an endpoint keeps its keys
        during its first dial.
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
            # User-defined filters and selectors run in there. The next pick raises their error to its caller; a
            # connection that reports a change must not fail for it.
            logger.exception("%s: the selector cannot take the endpoints", self.target)
            return True

    # The next dial, and the next look

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
        """Return the instant from which calls ask the pool before they take a connection; None for never."""
        instants = [
            0.0 if each.connections else each.due
            for each in self.wanted
            # A failed endpoint is checked until SETTINGS arrive from its server again.
            if (each.error is not None if each.connections else not each.is_dialing)
        ]
        return min(instants, default=None)

    @staticmethod
    def is_in_vain(endpoints: Sequence[EndpointPlan], patience: Patience | None, now: float) -> bool:
        """Return whether a call without a connection to these endpoints, and without `wait_for_ready`, fails now."""
        if any(each.may_come for each in endpoints):
            return False
        return patience is None or patience.is_over(endpoints, now)

    # Messages

    def tried(self, registry_error: object) -> str:
        """Return the state of each address, for the message of an error."""
        if not self.subchannels:
            cause = "" if registry_error is None else f" ({registry_error})"
            return f"no endpoint of {self.target} is known{cause}"
        return _what_came_of(self.subchannels)

    def unreachable(self, endpoints: Sequence[EndpointPlan]) -> FastRPCError:
        """Return the error of a call without a connection to any of these."""
        refusals = [each.error for each in endpoints if isinstance(each.error, CallError)]
        if refusals and len(refusals) == len(endpoints):
            # An error of its own for each call.
            return CallError(refusals[0].status, refusals[0].message, processed="no")
        return ConnectError(
            f"no endpoint could be reached: {_what_came_of(endpoints)}", hint=_reach_hint(endpoints)
        )


def _choose_warm(endpoints: Sequence[EndpointPlan], count: int) -> None:
    """Mark the endpoints that stay connected, by each client's own random ranks, which survive changes of the list."""
    for place, each in enumerate(sorted(endpoints, key=lambda each: each.rank)):
        each.is_warm = place < count


def _without_frames(error: FastRPCError) -> FastRPCError:
    """Return an error without tracebacks, whose frames would keep their calls alive."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def _what_came_of(endpoints: Sequence[EndpointPlan]) -> str:
    """Return addresses with their errors, at most the first `MOST_NAMED`."""
    text = "; ".join(_trouble_at(each.endpoint, each.error) for each in endpoints[:MOST_NAMED])
    return text if len(endpoints) <= MOST_NAMED else f"{text}; and {len(endpoints) - MOST_NAMED} more"


def _reach_hint(endpoints: Sequence[EndpointPlan]) -> str:
    """Return the hint of a call without a connection: start the server, or check an address of another program."""
    errors = [str(each.error) for each in endpoints if each.error is not None]
    strangers = [error for error in errors if "not a fastrpc server" in error]
    if not strangers or len(strangers) < len(errors):
        return "is a server running there? with_options(wait_for_ready=True) waits for one"
    found = re.search(r"not a fastrpc server but ([^:]+):", strangers[0])
    return f"{found[1] if found else 'something else'} answered there: check host and port"


def _trouble_at(endpoint: Endpoint, error: FastRPCError | None) -> str:
    """Return an endpoint with its error; most errors name the endpoint already."""
    text = "no answer yet" if error is None else error.message
    return text if str(endpoint) in text else f"{endpoint}: {text}"
