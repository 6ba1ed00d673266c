"""Give handlers and background work access to the store and the broker of their server."""

import contextvars
from collections.abc import Mapping
from typing import Any, Final

from fastrpc._core.calls.call import current_call

__all__ = ["resource_here", "run_with"]

_of_run: Final[contextvars.ContextVar[Mapping[str, Any]]] = contextvars.ContextVar("resources")


def run_with(resources: Mapping[str, Any]) -> None:
    """Set a server's resources, by name, for its code that runs outside calls, such as scheduled methods."""
    _of_run.set(resources)


def resource_here(name: str) -> Any:
    """Return the "store" or the "broker" of the server that runs the current code.

    Raises:
        LookupError: the server has no such resource, or the code does not run in a server.
    """
    found = _of_run.get({}).get(name)
    if found is None:
        connection: Any = getattr(current_call(), "connection", None)
        found = None if connection is None else getattr(connection.gate.dispatcher, name)
    if found is None:
        raise LookupError(f"this server has no {name}: write Server(…, {name}=URL)")
    return found
