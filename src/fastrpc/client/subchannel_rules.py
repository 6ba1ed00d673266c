"""What the subchannels of both pools have in common."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import FastRPCError

__all__ = [
    "LOOK_SECONDS",
    "SubchannelIndex",
    "Patience",
    "REACH_HINT",
    "choose_warm",
    "subchannels_of",
    "own_call",
    "reach_hint",
    "trouble_at",
    "wanted_subchannels",
    "what_came_of",
    "with_left",
    "without_frames",
]

#: How often it is looked whether the registry failed, as long as it has named nobody yet.
LOOK_SECONDS = 0.05

#: Addresses that one message names.
MOST_NAMED = 100

#: What to do where no connection came in time.
REACH_HINT = "check that the address is right and a server runs there, or give it more time"


@contextlib.contextmanager
def own_call() -> Iterator[None]:
    """Mark errors as raised by a call of this process: a handler that lets one through did not mean its own caller.

    The attempts of calls do so themselves; this is for what is awaited beside them.
    """
    try:
        yield
    except FastRPCError as error:
        error._of_own_call = True
        raise


class _Subchannel(Protocol):
    endpoint: Endpoint
    error: FastRPCError | None
    rank: float
    is_warm: bool
    #: How often a connection could not be made, or ended as soon as it was there.
    failures: int


L = TypeVar("L", bound=_Subchannel)


class Patience:
    """How long an attempt that follows another one waits where there is no connection: for one more dial in vain.

    A connection that ended within the first pause is not made again before that pause is over; a call that was on it,
    and has time left, must not fail for that. However many endpoints fail one after the other, the wait lasts for
    that pause at least.

    Args:
        least_seconds: the first pause.
        clock: gives an instant in seconds that never goes back.
    """

    def __init__(self, least_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least_seconds = least_seconds
        self._clock = clock
        self._ends: float | None = None
        self._failures: dict[_Subchannel, int] = {}

    def is_over(self, subchannels: Sequence[_Subchannel]) -> bool:
        """Whether an attempt without a connection fails now; the first question begins the wait."""
        if self._ends is None:
            self._ends = self._clock() + self._least_seconds
            self._failures = {subchannel: subchannel.failures for subchannel in subchannels}
        if not subchannels:
            return True
        if self._clock() < self._ends:
            return False
        return any(
            subchannel.failures != self._failures.get(subchannel, subchannel.failures)
            for subchannel in subchannels
        )


class SubchannelIndex(Generic[L]):
    """Subchannels by their addresses: a list that is searched for each of its endpoints would take long."""

    def __init__(self) -> None:
        self._subchannels: Sequence[L] = ()
        self._by_address: dict[Address, L] = {}

    def find(self, subchannels: Sequence[L], address: Address) -> L | None:
        """Return the subchannel of one address; a list that changes is another list."""
        if self._subchannels is not subchannels:
            self._subchannels, self._by_address = (
                subchannels,
                {subchannel.endpoint.address: subchannel for subchannel in subchannels},
            )
        return self._by_address.get(address)


def subchannels_of(endpoint_set: EndpointSet, make: Callable[[Endpoint], L]) -> list[L]:
    """Return the subchannels of all endpoints of an endpoint set; those that have none yet get one."""
    subchannels = []
    for endpoint_state in endpoint_set.endpoint_states:
        if endpoint_state.subchannel is None:
            endpoint_state.subchannel = make(endpoint_state.endpoint)
            endpoint_state.subchannel.endpoint_state = endpoint_state
        endpoint_state.subchannel.endpoint = endpoint_state.endpoint
        subchannels.append(endpoint_state.subchannel)
    return subchannels


def wanted_subchannels(endpoint_set: EndpointSet, subchannels: Sequence[L]) -> list[L]:
    """Return the subchannels of the endpoints that the selector may ever pick, given that all are in good health."""
    endpoints: Sequence[Endpoint] = [subchannel.endpoint for subchannel in subchannels]
    for narrow in endpoint_set.selector.filters:
        endpoints = narrow(endpoints, lambda _: True)
    addresses = {endpoint.address for endpoint in endpoints}
    return [subchannel for subchannel in subchannels if subchannel.endpoint.address in addresses]


def with_left(usual: Sequence[L], endpoint_set: EndpointSet) -> list[L]:
    """Return these subchannels and those of the endpoints that the filters leave now: in need a zone is not enough."""
    known = set(usual)
    left = (endpoint_state.subchannel for endpoint_state in endpoint_set.left)
    return [
        *usual,
        *(subchannel for subchannel in left if subchannel is not None and subchannel not in known),
    ]


def choose_warm(subchannels: Sequence[_Subchannel], count: int) -> None:
    """Say which endpoints stay connected: by an order of each client's own, which no change of the list disturbs."""
    for place, subchannel in enumerate(sorted(subchannels, key=lambda subchannel: subchannel.rank)):
        subchannel.is_warm = place < count


def without_frames(error: FastRPCError) -> FastRPCError:
    """Return an error that is to be kept: the frames it came through would keep all calls that are in them."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def what_came_of(subchannels: Sequence[_Subchannel]) -> str:
    """Name addresses and why there is no connection; of very many the first."""
    text = "; ".join(
        trouble_at(subchannel.endpoint, subchannel.error) for subchannel in subchannels[:MOST_NAMED]
    )
    return text if len(subchannels) <= MOST_NAMED else f"{text}; and {len(subchannels) - MOST_NAMED} more"


def reach_hint(subchannels: Sequence[_Subchannel]) -> str:
    """Say what to do where no connection came: look for the server, or at the address where somebody else answers."""
    errors = [str(subchannel.error) for subchannel in subchannels if subchannel.error is not None]
    strangers = [error for error in errors if "not a fastrpc server" in error]
    if not strangers or len(strangers) < len(errors):
        return "is a server running there? with_options(wait_for_ready=True) waits for one"
    found = re.search(r"not a fastrpc server but ([^:]+):", strangers[0])
    return f"{found[1] if found else 'something else'} answered there: check host and port"


def trouble_at(endpoint: Endpoint, error: FastRPCError | None) -> str:
    """Name an endpoint and its error, which mostly names it already."""
    text = "no answer yet" if error is None else error.message
    return text if str(endpoint) in text else f"{endpoint}: {text}"
