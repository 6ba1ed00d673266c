"""Recognition of web applications by their parameters."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from fastrpc.rpc.service import is_service

__all__ = ["FixedPaths", "arguments_of", "is_application", "makes_application"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
#: The number of arguments of an ASGI application: the scope, and the functions `receive` and `send`.
_ARGUMENTS = 3


class FixedPaths:
    """A base class for applications of this package that answer only some of the paths below their mount."""

    #: The paths below the mount, as they are sent. The server answers all others.
    paths: frozenset[bytes]


def arguments_of(application: Callable[..., Any]) -> int:
    """Return the number of positional arguments of an application; 3 if unknown, 0 if it requires none."""
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return _ARGUMENTS
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return _ARGUMENTS
    needed = [one.default is one.empty for one in parameters if one.kind in _POSITIONAL]
    is_made = len(needed) >= _ARGUMENTS and not isinstance(application, type)
    return len(needed) if any(needed) or is_made else 0


def is_application(thing: Any) -> bool:
    """Return whether this is an ASGI 3 application: a callable with three parameters, neither class nor service."""
    if isinstance(thing, type) or not callable(thing) or is_service(thing):
        return False
    return _takes(thing, _ARGUMENTS)


def makes_application(thing: Any) -> bool:
    """Return whether this is a function without parameters whose annotation says that it returns an application."""
    if not inspect.isfunction(thing) or inspect.signature(thing).parameters:
        return False
    try:
        made = get_type_hints(thing).get("return")
    except Exception:
        # An annotation in text form may use a name that only type checkers know, or raise any exception.
        return False
    # A class without its own `__call__` has the `__call__` of its metaclass. `self` is the first parameter.
    return (
        isinstance(made, type) and inspect.isfunction(made.__call__) and _takes(made.__call__, 1 + _ARGUMENTS)
    )


def _takes(thing: Callable[..., Any], count: int) -> bool:
    """Return whether a callable has exactly `count` parameters without defaults, all positional."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = [one.kind for one in parameters if one.default is one.empty]
    return len(kinds) == count and all(kind in _POSITIONAL for kind in kinds)
