from collections.abc import Callable
from typing import Any, final

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.blocking_wait import ReentryGuard
from fastrpc._core.client.caller_view import ViewState

@final
class BlockingState(ViewState):
    """The state that a SyncClient and its views share.

    Args:
        width: connections that an endpoint may have.
        crowd: the threads on the least used connection from which another one is allowed.
    """

    #: Connections that an endpoint may have: the runner is asked while there are fewer.
    width: int

    #: Gives it new parts by `take_parts`: in the child of a fork the present ones belong to the parent.
    remake: Callable[[], object]

    #: Whether a registry names the endpoints: then the pool's `has_news` is checked before each call.
    follows: bool

    def __init__(self, width: int, crowd: int = 0) -> None: ...
    def take_parts(
        self,
        runner: Any,
        resolve: Callable[[Any, str], MethodRoute],
        reentry: ReentryGuard,
        budget: RetryBudget,
        endpoint_set: EndpointSet | None = None,
    ) -> None:
        """Use these parts from now on, in views too.

        Args:
            runner: Python's part of the client, for all work that not every call needs.
            resolve: method and codec name -> MethodRoute.
            reentry: knows which threads wait inside.
            budget: counts the calls.
            endpoint set: picks the endpoint of each call if there are several; None if there is one.
        """

    @property
    def reentry(self) -> ReentryGuard: ...
    @property
    def is_of_parent(self) -> bool:
        """Whether this process is a forked child that has not used the client yet."""

    def set_connections(self, groups: list[list[BlockingSession]], look_after: float | None) -> None:
        """Replace the connections that calls are sent on.

        Args:
            groups: a list for each endpoint.
            look_after: the instant of `time.monotonic()` from which the runner is asked first, or None.
        """

    def look_now(self) -> None:
        """Make the next call ask the runner first."""

    def use(self, *, waits: bool = True) -> None:
        """Make the parts of the guard anew in the child of a fork, and warn of an event loop that the thread would
        block.

        Args:
            waits: whether the thread may wait for a server now.

        Raises:
            RuntimeError: this thread waits inside the client already, or a registry was used before the fork.
        """
