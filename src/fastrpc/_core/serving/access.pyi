from collections.abc import Callable, Collection
from typing import Any, final

from fastrpc._core.calls.call import Route
from fastrpc.rpc.identity import Identity

@final
class Access:
    """Who may call what, for all connections of one server.

    Args:
        authentication: verifies credentials.
        authorize: a policy, whose answers are kept for each connection until its file changes, or a function, which is
            asked for each call; None allows whoever is identified.
    """

    def __init__(
        self,
        authentication: Any,
        authorize: Callable[[Identity | None, Any], bool] | None = None,
    ) -> None: ...
    @property
    def authentication(self) -> Any: ...
    @property
    def pending(self) -> Any:
        """The awaitable verdict of the call that was judged last."""

    def look(self, sessions: Collection[Any]) -> None:
        """Look for changed files. What was decided by the files before ends at once, for all connections."""

    def allows(self, identity: Identity | None, route: Route) -> bool:
        """Return whether a caller may call a method."""
