"""Arguments that only a later version acts upon: their defaults are taken, all else is refused."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from fastrpc.errors import ConfigError

__all__ = ["check_later", "later_arguments"]

P = ParamSpec("P")
T = TypeVar("T")

#: The default of each argument, and why anything else would have no effect.
_Later = Mapping[str, tuple[object, str]]

_CLIENT: Final[_Later] = {
    "credentials": (None, "clients do not yet prove who they are: nothing would be sent"),
    "services": ((), "clients do not yet serve: nobody could call them"),
}
_SERVER: Final[_Later] = {
    "authenticate": (None, "servers do not yet ask callers who they are: everybody could call"),
    "authorize": (None, "servers do not yet ask who may call what: everybody could call"),
    "limits": (
        (),
        "servers do not yet limit single callers: nobody would be held back",
    ),
}

#: By what takes them.
LATER_ARGUMENTS: Final[Mapping[str, _Later]] = {
    "Client": _CLIENT,
    "Server": _SERVER,
    "App": {
        **_SERVER,
        "registry": (
            None,
            "an App does not yet say where it is registered (give it to serve, or to --registry)",
        ),
    },
    "serve": _SERVER,
    "method": {
        "roles": ((), "callers do not yet have to prove who they are: everybody could call"),
        "safe": (False, "nothing yet asks whether a method is safe"),
        "tool": (False, "methods are not yet offered as tools"),
        "alias": ((), "methods do not yet have other names: nobody could call it by them"),
    },
    "service": {
        "alias": ((), "services do not yet have other names: nobody could call it by them"),
        "rpcx": (None, "services do not yet speak rpcx: nobody could call it that way"),
    },
}


def check_later(owner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that this version acts upon.

    Raises:
        ConfigError: another one is not what it is by default.
    """
    later = LATER_ARGUMENTS.get(owner, {})
    left = {}
    for name, value in given.items():
        if name not in later:
            left[name] = value
            continue
        default, reason = later[name]
        # Without the value: it may be a secret.
        if value is not default and value != default:
            raise ConfigError(f"{name} is given to {owner}, but {reason}", hint=f"leave {name} out")
    return left


def later_arguments(owner: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have a function take the defaults of what only a later version acts upon.

    Its signature does not show them: a name that has no effect is none to write.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs:
                kwargs = check_later(owner, kwargs)  # type: ignore[assignment]
            return function(*args, **kwargs)

        return checked

    return decorate
