"""The store and the broker of a server, for the code that it runs: handlers and background work."""

import contextvars
from collections.abc import Mapping
from typing import Any, Final

from fastrpc._core.calls.call import current_call

__all__ = ["resource_here", "run_with"]

_of_run: Final[contextvars.ContextVar[Mapping[str, Any]]] = contextvars.ContextVar("resources")


def run_with(resources: Mapping[str, Any]) -> None:
    """Give code that runs outside calls the resources of its server, by their names."""
    _of_run.set(resources)


def resource_here(name: str) -> Any:
    """Return the "store" or the "broker" of the server whose code runs here.

    Raises:
        LookupError: the server has none, or the code does not run in a server.
    """
    found = _of_run.get({}).get(name)
    if found is None:
        connection: Any = getattr(current_call(), "connection", None)
        found = None if connection is None else getattr(connection.gate.dispatcher, name)
    if found is None:
        raise LookupError(f"this server has no {name}: give it one, Server(…, {name}=URL)")
    return found
