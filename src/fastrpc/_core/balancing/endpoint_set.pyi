from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, final

from fastrpc import config
from fastrpc._core.balancing.selectors import BaseSelector, EndpointState
from fastrpc.endpoint import Endpoint
from fastrpc.errors import NoEndpointError

@final
class Pick:
    """One attempt and where it goes. It ends once; what comes after that changes nothing.

    A pick that is thrown away without an end counts as dropped.
    """

    @property
    def endpoint_state(self) -> EndpointState: ...
    @property
    def endpoint(self) -> Endpoint: ...
    def ended(self, error: BaseException | None = None) -> None:
        """Tell selector, breaker and outlier detection how the attempt went; None for success.

        One that no server looked at counts as dropped.
        """

    def dropped(self) -> None:
        """Take the attempt back: it was not made, or says nothing about the endpoint."""

    def undone(self) -> None:
        """Take the pick back: it led nowhere, and the attempt is about to be picked for once more."""

@final
class EndpointSet:
    """The endpoints of a client: which of them may be picked, and what their results come to.

    Does no input or output and has no timer: a pick that finds a comparison of the endpoints due makes it. Threads
    may share one.

    Args:
        selector: picks among the endpoints that are left; its filters are applied here.
        breaker: holds back calls of a method at an endpoint where they fail; None does not.
        outlier: ejects endpoints that do worse than the others; None does not.
        clock: returns seconds; None takes the monotonic clock.
        source: who names the endpoints, for the message of an error.
    """

    def __init__(
        self,
        selector: BaseSelector,
        *,
        breaker: config.Breaker | None = None,
        outlier: config.Outlier | None = None,
        clock: Callable[[], float] | None = None,
        source: str = "",
    ) -> None: ...
    @property
    def source(self) -> str: ...
    def nobody(self, method: str) -> NoEndpointError:
        """Return the error of a call for which there is no endpoint."""

    @property
    def selector(self) -> BaseSelector: ...
    @property
    def endpoint_states(self) -> list[EndpointState]:
        """All endpoints that the registry named last."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those that may be picked now."""

    @property
    def left(self) -> list[EndpointState]:
        """Those that the filters leave now, whether they may be picked or not."""

    #: Called after filters were asked, in whatever thread that was; they may leave others than before.
    on_narrowed: Callable[[], object] | None

    def reseed(self) -> None:
        """Have a selector without a seed pick by other random numbers: after a fork the parent has the same."""

    @property
    def is_panicking(self) -> bool:
        """Whether all are used because more than half were ejected, or down by their probes."""

    def __len__(self) -> int: ...
    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Make these the endpoints; those that stay keep what was learned of them, their `subchannel` too."""

    def set_leaving(self, endpoint_state: EndpointState, is_leaving: bool) -> None:
        """Say whether a server drains: then it gets calls only when all do."""

    def set_all_leaving(
        self, leaving: Collection[EndpointState], untried: Collection[EndpointState] = ()
    ) -> bool:
        """Say which servers drain or are not connected; all others are not. Returns whether that was news.

        `untried` are those of which nothing is known yet, as they are being connected for the first time at most: that
        is nothing against them, where filters ask for health.
        """

    def probe_failed(self, endpoint_state: EndpointState, fall: int) -> bool:
        """Count a failed probe of an endpoint; with `fall` in a row it is down: it gets calls only when most are.

        Return whether it is from now on. It counts from the next pick.
        """

    def probe_passed(self, endpoint_state: EndpointState, rise: int) -> bool:
        """Count a passed probe; with `rise` in a row a down endpoint is up. Return whether it is from now on."""

    def pick(self, call: Any, tried: Sequence[Endpoint] = ()) -> Pick:
        """Return where the next attempt of a call goes; one of `tried` only when there is no other.

        Raises NoEndpointError when there is no endpoint, CircuitOpenError when breakers hold the call back everywhere.
        """

    def pick_at(self, call: Any, endpoint_state: EndpointState) -> Pick:
        """Return the pick of an attempt that goes to this endpoint and no other.

        Raises CircuitOpenError when its breaker holds the call back.
        """
