"""Marks of methods that servers call by themselves. A mark is an attribute of the function."""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastrpc.rpc.signature import form_of, name_of

__all__ = ["SCHEDULE_MARK", "SUBSCRIBER_MARK", "background_methods", "marks_of", "set_mark"]

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M")

SCHEDULE_MARK: Final = "__fastrpc_schedule__"
SUBSCRIBER_MARK: Final = "__fastrpc_subscriber__"
_MARKS: Final = (SCHEDULE_MARK, SUBSCRIBER_MARK)


def set_mark(handler: F, mark: str, value: Any, parameters: int, shape: str) -> F:
    """Mark a function of a class.

    Args:
        parameters: the number of its parameters, `self` included.
        shape: the text of the error, after the name: the required form, such as "is scheduled, so it takes no
            parameters: write (self)".

    Raises:
        TypeError: the function has other parameters, or it is a generator.
    """
    if not inspect.isfunction(handler) or len(inspect.signature(handler).parameters) != parameters:
        raise TypeError(f"{name_of(handler)} {shape}")
    if form_of(handler) in ("generator", "async_generator"):
        reason = shape.partition(",")[0]
        raise TypeError(f"{name_of(handler)} {reason}, so it yields nothing: no caller would read it")
    setattr(handler, mark, value)
    return handler


def marks_of(cls: type[Any], mark: str, kind: type[M]) -> dict[str, M]:
    """Return the values of a mark in a class, by the names of the methods."""
    # The entry of a class overrides the entries of its bases.
    names = (vars(base).items() for base in reversed(cls.__mro__))
    found = {name: getattr(value, mark, None) for items in names for name, value in items}
    return {name: value for name, value in found.items() if isinstance(value, kind)}


def background_methods(cls: type[Any]) -> list[str]:
    """Return the sorted names of a class's methods that servers call by themselves."""
    functions = {name: inspect.getattr_static(cls, name, None) for name in dir(cls)}
    return [
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and not vars(function).keys().isdisjoint(_MARKS)
    ]
