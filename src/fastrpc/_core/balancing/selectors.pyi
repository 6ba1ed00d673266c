from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, final

from fastrpc._core.balancing.endpoint_health import EndpointHealth
from fastrpc.endpoint import Endpoint

#: Narrows endpoints: told all of them in their order and how to ask whether one is in good health.
_Filter = Callable[[Sequence[Endpoint], Callable[[Endpoint], bool]], Sequence[Endpoint]]

def always_sound(endpoint: Endpoint) -> bool:
    """Return True: what filters are told of endpoints when nobody watches their health."""

@final
class EndpointState:
    """An endpoint a selector may pick, with what it knows about it."""

    def __init__(self, endpoint: Endpoint) -> None: ...
    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def name(self) -> str:
        """The text of its address."""

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
    #: A place for the owner, such as what makes connections to it; None at first.
    subchannel: Any
    #: Connections that calls may go out on, taken in turn. Replaced, never changed.
    sessions: list[Any]
    def renew(self, endpoint: Endpoint) -> None:
        """Take the weight and labels of another record of the same address."""

class BaseSelector:
    """What the built-in selectors share.

    Selectors are touched with the GIL held and run no Python code in a pick, so threads may share one.

    Args:
        filters: narrow the endpoints of each update, in this order.
        seed: makes random picks repeatable; None takes a random one.
    """

    def __init__(self, *, filters: Iterable[_Filter] = (), seed: str | bytes | int | None = None) -> None: ...
    @property
    def filters(self) -> tuple[_Filter, ...]: ...
    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that may be picked."""

    #: Whether calls are placed by what the endpoints are, not by which of them is connected.
    is_keyed: ClassVar[bool]
    #: Whether a pick looks at more of a call than its key, so that it waits until the call is complete.
    needs_whole_call: ClassVar[bool]
    #: Whether each pick is followed by one `observe`, so that it stands while its endpoint connects.
    observes_each_pick: ClassVar[bool]

    def __len__(self) -> int: ...
    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the endpoints; those that stay keep what was learned of them.

        An endpoint of weight 0 is not picked, unless all have weight 0. An address that comes twice counts once.
        """

    def update_endpoints(self, endpoint_states: Iterable[EndpointState]) -> None:
        """Replace the endpoints by objects that the caller keeps; filters are the caller's work then."""

    def endpoint_state(self, endpoint: Endpoint) -> EndpointState | None:
        """Return the endpoint of an endpoint of the last update."""

    def key_of(self, call: Any) -> str | bytes | int | None:
        """Return what places a call, for selectors that hash: by default its `hash_key`."""

    def pick(self, call: Any, tried: Sequence[Endpoint] = ()) -> Endpoint:
        """Return the endpoint of the next attempt; one of `tried` only when there is no other.

        Raises NoEndpointError when there is none at all. To each pick belongs one `observe`.
        """

    def pick_endpoint(self, call: Any, tried: Sequence[Endpoint] = ()) -> EndpointState:
        """Do the same and return the endpoint."""

    def observe(self, endpoint: Endpoint, seconds: float, error: BaseException | None) -> None:
        """Learn how an attempt went; once for each pick, in any order. Endpoints that are gone are ignored."""

    def observe_endpoint(
        self, endpoint_state: EndpointState, seconds: float, error: BaseException | None
    ) -> None:
        """Do the same for an endpoint that `pick_endpoint` returned, whether it is gone or not."""

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
    """A selector of the user's own, which may be any Python object, as the built-in ones look.

    When endpoints were tried, its `pick` is asked up to four times for another one.

    Raises ConfigError from a pick when it returns what is not one of the endpoints of its last update.
    """

    is_keyed: ClassVar[bool]
    needs_whole_call: ClassVar[bool]
    observes_each_pick: ClassVar[bool]

    def __init__(self, selector: Any) -> None: ...
    @property
    def selector(self) -> Any: ...
