from collections.abc import Callable, Collection
from typing import Any, final

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.rpc.identity import Identity

@final
class Access:
    """Who may call what, for all connections of one server.

    Args:
        authentication, own_credentials: verify credentials, of connections and of single calls.
        authorize: rules, whose answers are kept for each connection until their file changes, or a function, which is
            asked for each call; None allows whoever is identified.
        has_rules: whether `authorize` has rules (`fastrpc.auth.policy.Rules`).
    """

    def __init__(
        self,
        authentication: Any,
        own_credentials: Any,
        authorize: Callable[[Identity | None, Any], bool] | None = None,
        *,
        has_rules: bool = False,
    ) -> None: ...
    @property
    def authentication(self) -> Any: ...
    @property
    def own_credentials(self) -> Any: ...
    def look(self) -> None:
        """Look for changed files: the next call of each connection is judged by them."""

    def renew(self, sessions: Collection[Any]) -> None:
        """End what was decided by files that have changed, for all connections, those without a call included."""

    def expire(self, connection: ServedConnection) -> None:
        """End the credential of a connection now, and the streams that depend on it."""

    def replace(
        self, connection: ServedConnection, identity: Identity, valid_seconds: float | None = None
    ) -> None:
        """Note what the files say of a caller now; calls under way keep the identity that they started with.

        Args:
            valid_seconds: for how long its credential holds from now on; None: as long as the connection lasts.
        """

    def expire_call(self, call: ServerCall) -> None:
        """End the credential that a call has of its own now; a stream ends, a unary call that runs goes on."""

    def may_learn(self, identity: Identity | None, method: str) -> bool:
        """Return whether a caller may learn that a method is not known yet.

        Whoever is identified where nothing authorises; whom rules allow it; nobody where a function authorises, which
        is told what a method is.
        """

    def allows(self, identity: Identity | None, route: MethodRoute) -> bool:
        """Return whether a caller may call a method."""
