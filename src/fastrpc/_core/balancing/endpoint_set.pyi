from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, final

from fastrpc import config
from fastrpc._core.balancing.selectors import BaseSelector, EndpointState
from fastrpc.endpoint import Endpoint
from fastrpc.errors import NoEndpointError

@final
class Pick:
    """One attempt and its endpoint. It ends once; later ends change nothing.

    A pick that is deallocated before it ends counts as dropped.
    """

    @property
    def endpoint_state(self) -> EndpointState: ...
    @property
    def endpoint(self) -> Endpoint: ...
    def ended(self, error: BaseException | None = None) -> None:
        """Report the outcome of the attempt to selector, breaker and outlier detection; None for success.

        An attempt that reached no server counts as dropped.
        """

    def dropped(self) -> None:
        """Drop the attempt: it was not made, or says nothing about the endpoint."""

    def undone(self) -> None:
        """Undo the pick: it led to no connection, and another pick follows for the same attempt."""

@final
class EndpointSet:
    """The endpoints of a client: their states, picks and results.

    Does no I/O and has no timer: a pick compares the endpoints if that is due. Threads may share one.

    Args:
        selector: picks among the endpoints that are left; its filters are applied here.
        breaker: settings of the circuit breakers; None has none.
        outlier: settings of outlier ejection; None ejects none.
        clock: returns seconds; None takes the monotonic clock.
        source: the registry, for the message of an error.
        filters: the registry's filters, applied after the selector's.
    """

    def __init__(
        self,
        selector: BaseSelector,
        *,
        breaker: config.Breaker | None = None,
        outlier: config.Outlier | None = None,
        clock: Callable[[], float] | None = None,
        source: str = "",
        filters: Iterable[Callable[..., Any]] = (),
    ) -> None: ...
    @property
    def filters(self) -> tuple[Callable[..., Any], ...]: ...
    @property
    def source(self) -> str: ...
    def no_endpoint(self, method: str) -> NoEndpointError:
        """Return the error of a call without an endpoint."""

    @property
    def selector(self) -> BaseSelector: ...
    @property
    def endpoint_states(self) -> list[EndpointState]:
        """All endpoints of the registry's last list."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that may be picked now; for selectors that place keys, all that the filters leave."""

    @property
    def left(self) -> list[EndpointState]:
        """The endpoints that pass the filters now, whether they may be picked or not."""

    #: Called after the filters ran, in any thread; their result may have changed.
    on_narrowed: Callable[[], object] | None

    def reseed(self) -> None:
        """Reseed a selector without a given seed: after a fork, parent and child have the same random numbers."""

    @property
    def places_keys(self) -> bool:
        """Whether the selector places keys: by the list that the filters leave, not by the connections."""

    def has_key(self, call: Any) -> bool:
        """Return whether a key places a call, by a selector that places keys; other calls may go to any endpoint."""

    @property
    def is_panicking(self) -> bool:
        """Whether all are used because more than half were ejected, or down by their probes."""

    def __len__(self) -> int: ...
    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the endpoints; an endpoint that stays keeps its state and its `subchannel`."""

    def is_sound(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint of the list is neither out nor known to be unreachable, as filters are told."""

    def set_leaving(self, endpoint_state: EndpointState, is_leaving: bool) -> None:
        """Set whether a server drains: then it gets calls only if all servers drain."""

    def set_all_leaving(
        self, leaving: Collection[EndpointState], untried: Collection[EndpointState] = ()
    ) -> bool:
        """Set the servers that drain or are not connected. Return whether this changed.

        `untried` endpoints were never connected; filters see them as healthy.
        """

    def probe_failed(self, endpoint_state: EndpointState, fall: int) -> bool:
        """Count a failed probe of an endpoint; after `fall` in a row it is down: it gets calls only if most are down.

        Return whether it just went down. It takes effect at the next pick.
        """

    def probe_passed(self, endpoint_state: EndpointState, rise: int) -> bool:
        """Count a passed probe; after `rise` in a row a down endpoint is up. Return whether it just came up."""

    def pick(self, call: Any, tried: Sequence[Endpoint] = ()) -> Pick:
        """Pick the endpoint of a call's next attempt; one of `tried` only if there is no other.

        Raises NoEndpointError if there is no endpoint, CircuitOpenError if the breakers of all refuse the call.
        """

    def pick_preferred(self, call: Any, name: str, tried: Sequence[Endpoint] = ()) -> Pick | None:
        """Start an attempt at the endpoint of this address; None if it is not listed, not sound, or was tried."""

    def pick_at(self, call: Any, endpoint_state: EndpointState) -> Pick:
        """Return the pick of an attempt at this endpoint only.

        Raises CircuitOpenError if its breaker refuses the call.
        """
