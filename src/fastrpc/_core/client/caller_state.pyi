from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from typing import Any, final

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.caller_view import ViewState

@final
class CallerState(ViewState):
    """The state that a client and its views share.

    Args:
        runner: Python's part of the client, for all work that not every call needs.
        resolve: method and codec name -> MethodRoute.
        budget: counts the calls.
        endpoint set: picks if there is a choice; the `subchannel` of each endpoint has its `connection`.
    """

    #: Whether calls wait while the peer takes nothing, instead of being queued; `runner.run_later` makes them wait.
    bounds_output: bool

    def __init__(
        self,
        runner: Any,
        resolve: Callable[[Any, str], MethodRoute],
        budget: RetryBudget,
        endpoint_set: EndpointSet | None = None,
    ) -> None: ...
    @property
    def loop(self) -> AbstractEventLoop | None:
        """The loop of the first use."""

    def set_connections(self, connections: Iterable[Any]) -> None:
        """Replace the connections that calls may be sent on."""

    @property
    def is_of_parent(self) -> bool:
        """Whether the client was used before a fork that made this process."""

    def use(self) -> None:
        """Bind to the running loop, or refuse another one.

        Raises:
            RuntimeError: the client was used in another loop, or before a fork.
        """
