from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, final

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.rpc.identity import Identity

@final
class DigestTable:
    """A table of 32-byte digests; the number of a digest is its position in the given order.

    Args:
        digests: the digests, each once.

    Raises:
        ValueError: a digest has another length.
    """

    def __init__(self, digests: Sequence[bytes]) -> None: ...
    @property
    def reach(self) -> int:
        """The number of slots that every search reads."""

    def find(self, digest: bytes) -> int:
        """Return the number of a digest, counted from 0; -1 if it is not in the table."""

@final
class Access:
    """The callers that may call each method, for all connections of one server.

    Args:
        authentication, own_credentials: verify credentials, of connections and of single calls.
        authorize: rules, whose answers are kept for each connection until their file changes, or a function, which is
            asked for each call; None allows every identified caller.
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
        """Check for changed files. Their new content is used from the next call of each connection on."""

    def renew(self, engines: Collection[Any]) -> None:
        """Verify all connections again whose decisions are from files that have changed, including idle connections."""

    def forget(self, routes: Iterable[MethodRoute], connections: Iterable[ServedConnection]) -> None:
        """Drop the decisions about removed routes."""

    def expire(self, connection: ServedConnection) -> None:
        """End the credential of a connection now, and the streams that depend on it."""

    def replace(
        self, connection: ServedConnection, identity: Identity, valid_seconds: float | None = None
    ) -> None:
        """Replace a caller's identity by the present one in the files; calls under way keep the earlier identity.

        Args:
            valid_seconds: the validity of its credential from now on; None: as long as the connection lasts.
        """

    def expire_call(self, call: ServerCall) -> None:
        """End the credential of a call now. A stream ends; a running unary call continues."""

    def may_learn(self, identity: Identity | None, method: str) -> bool:
        """Return whether a caller may learn that a method is unknown so far.

        True for identified callers without `authorize`, and for callers that rules allow; False with a function, which
        decides by the properties of a method.
        """

    def allows(self, identity: Identity | None, route: MethodRoute) -> bool:
        """Return whether a caller may call a method."""
