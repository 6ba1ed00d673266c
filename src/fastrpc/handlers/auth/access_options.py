"""The options of a server for authentication and authorisation."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from fastrpc.auth.policy import Policy, Route
from fastrpc.auth.verdict import Authenticator
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

__all__ = ["Authenticate", "Authorize", "checked_authenticate", "checked_authorize", "is_authenticator"]

Authenticate = Authenticator | Callable[[Peer], Awaitable[Identity | None]]
Authorize = Callable[[Identity | None, Route], bool]


def checked_authenticate(authenticate: Any) -> Any:
    """Return the authenticator.

    Raises:
        TypeError: it is neither an object of `fastrpc.auth` nor an `async def` function with a peer as its argument.
    """
    if authenticate is None or is_authenticator(authenticate):
        return authenticate
    called: Any = authenticate if inspect.isroutine(authenticate) else getattr(authenticate, "__call__", None)  # noqa: B004
    while hasattr(called, "func"):
        called = called.func
    if isinstance(authenticate, type) or not inspect.iscoroutinefunction(called):
        raise TypeError(
            f"authenticate is {type(authenticate).__name__}, it must be an object of fastrpc.auth,"
            " or async (Peer) -> Identity | None"
        )
    return authenticate


def checked_authorize(authorize: Any) -> Any:
    """Return the authorising policy or function.

    Raises:
        TypeError: it is neither a policy nor a plain function.
    """
    if authorize is None or isinstance(authorize, Policy):
        return authorize
    if isinstance(authorize, type) or not callable(authorize) or inspect.iscoroutinefunction(authorize):
        raise TypeError(
            f"authorize is {type(authorize).__name__}, it must be a Policy,"
            " or a plain function (Identity | None, Route) -> bool"
        )
    return authorize


def is_authenticator(authenticate: Any) -> bool:
    """Return whether this is an object like the ones in `fastrpc.auth`, not a function."""
    return not isinstance(authenticate, type) and all(
        callable(getattr(authenticate, name, None)) for name in ("verify", "handles")
    )
