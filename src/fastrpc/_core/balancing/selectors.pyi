from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self, final

from fastrpc._core.balancing.endpoint_health import EndpointHealth
from fastrpc.endpoint import Endpoint

#: Narrows endpoints: gets all of them in order, and a function that tells whether one is healthy.
_Filter = Callable[[Sequence[Endpoint], Callable[[Endpoint], bool]], Sequence[Endpoint]]

@final
class EndpointState:
    """An endpoint that a selector may pick, with its state."""

    def __init__(self, endpoint: Endpoint) -> None: ...
    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def name(self) -> str:
        """The place of its address."""

    @property
    def weight(self) -> int:
        """Its weight, at most 65,536."""

    @property
    def in_flight(self) -> int:
        """Attempts picked and not observed."""
    @property
    def health(self) -> EndpointHealth: ...
    @property
    def is_leaving(self) -> bool:
        """Whether its server drains, so that others are taken first."""
    @property
    def breaker_state(self) -> int:
        """The worst state of its circuit breakers: 0 closed, 1 half open, 2 open."""
    #: An object of the owner, such as its subchannel; None at first.
    subchannel: Any
    #: Connections that calls may go out on, taken in turn. Replaced, never changed.
    connections: list[Any]
    def renew(self, endpoint: Endpoint) -> None:
        """Take the weight and labels of another record of the same address."""

class BaseSelector:
    """The base of the built-in selectors.

    Selectors are touched with the GIL held and run no Python code in a pick, so threads may share one.

    Args:
        filters: narrow the endpoints of each update, in this order.
        seed: makes random picks repeatable; None takes a random one.
    """

    def __init__(self, *, filters: Iterable[_Filter] = (), seed: str | bytes | int | None = None) -> None: ...
    def claimed(self) -> Self:
        """Return this selector for its first client, and a copy for each other client.

        A selector of a class with additional attributes is always returned itself: it belongs to one client.
        """

    @property
    def filters(self) -> tuple[_Filter, ...]: ...
    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that may be picked."""

    #: Whether calls are placed by the endpoints alone, connected or not.
    is_keyed: ClassVar[bool]
    #: Whether a pick reads more of a call than its key, so that it waits until the call is complete.
    needs_whole_call: ClassVar[bool]
    #: Whether each pick is followed by one `observe`, so that it stands while its endpoint connects.
    observes_each_pick: ClassVar[bool]

    def __len__(self) -> int: ...
    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the endpoints; an endpoint that stays keeps its state.

        An endpoint of weight 0 is not picked, unless all have weight 0. An address that comes twice counts once.
        """

    def update_endpoints(self, endpoint_states: Iterable[EndpointState]) -> None:
        """Replace the endpoints by objects that the caller keeps; the caller applies the filters."""

    def endpoint_state(self, endpoint: Endpoint) -> EndpointState | None:
        """Return the state of an endpoint of the last update."""

    def key_of(self, call: Any) -> str | bytes | int | None:
        """Return the key of a call, for selectors that hash: by default its `hash_key`."""

    def pick(self, call: Any, tried: Sequence[Endpoint] = ()) -> Endpoint:
        """Return the endpoint of the next attempt; one of `tried` only if there is no other.

        Raises NoEndpointError if there are no endpoints. Each pick needs one `observe`.
        """

    def pick_endpoint(self, call: Any, tried: Sequence[Endpoint] = ()) -> EndpointState:
        """Pick as `pick` does, and return the state of the endpoint."""

    def observe(self, endpoint: Endpoint, seconds: float, error: BaseException | None) -> None:
        """Record the outcome of an attempt; once for each pick, in any order. Removed endpoints are ignored."""

    def observe_endpoint(
        self, endpoint_state: EndpointState, seconds: float, error: BaseException | None
    ) -> None:
        """As `observe`, for an endpoint that `pick_endpoint` returned, even if it was removed."""

class RandomSelector(BaseSelector):
    """Picks any endpoint with equal probability."""

class RoundRobinSelector(BaseSelector):
    """Picks one endpoint after the other; begins anywhere."""

class SmoothWeightedSelector(BaseSelector):
    """Picks by weight, spread out: weights 5, 1, 1 give a a b a c a a."""

class LeastLoadedSelector(BaseSelector):
    """Picks the better of two random endpoints, by peak EWMA of their times and attempts under way, per weight.

    Args:
        decay: seconds in which an observation loses 63 % of its weight.
        clock: returns seconds; None takes the monotonic clock.
    """

    def __init__(
        self,
        *,
        decay: float = 1.0,
        clock: Callable[[], float] | None = None,
        filters: Iterable[_Filter] = (),
        seed: str | bytes | int | None = None,
    ) -> None: ...
    @property
    def decay(self) -> float: ...

@final
class UserSelector(BaseSelector):
    """The adapter of a user's selector, which may be any Python object.

    If it picks a tried endpoint, its `pick` is called up to four times for another one.

    A pick raises ConfigError if it returns anything but an endpoint of its last update.

    Args:
        on_failure: called with an exception of its `observe`, which goes no further.
    """

    is_keyed: ClassVar[bool]
    needs_whole_call: ClassVar[bool]
    observes_each_pick: ClassVar[bool]

    def __init__(self, selector: Any, on_failure: Callable[[Exception], None]) -> None: ...
    @property
    def selector(self) -> Any: ...
