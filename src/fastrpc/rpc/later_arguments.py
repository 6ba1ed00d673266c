"""Arguments without effect in this version, which functions refuse."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar, cast

from fastrpc.config import ServerConfig
from fastrpc.config.unknown_names import setting_with, unknown_name
from fastrpc.errors import ConfigError

__all__ = ["check_later", "later_arguments"]

P = ParamSpec("P")
T = TypeVar("T")

#: The default of each argument, and why anything else would have no effect.
_Later = Mapping[str, tuple[object, str]]

_CLIENT: Final[_Later] = {}
_SYNC_CLIENT: Final[_Later] = {
    "services": ((), "it reads only while it waits, so that nobody could call them (use Client)"),
}
_SERVER: Final[_Later] = {}

#: By what takes them.
LATER_ARGUMENTS: Final[Mapping[str, _Later]] = {
    "Client": _CLIENT,
    "SyncClient": _SYNC_CLIENT,
    "Server": _SERVER,
    "App": _SERVER,
    "serve": _SERVER,
    "method": {},
    "service": {},
}


_LISTEN: Final = "write await server.listen('tcp://host:port')"
_SERVE: Final = "write serve(app, …), or give it to `fastrpc run`"

#: The proper place of an argument that was given to the wrong function.
_BELONGS: Final[Mapping[str, Mapping[str, str]]] = {
    "Server": {
        "address": _LISTEN,
        "host": _LISTEN,
        "port": _LISTEN,
        "advertise": "write await server.listen(…, advertise=…)",
        "workers": "write fastrpc.serve(…, workers=…)",
        "services": "give them without a name: Server(first, second)",
    },
    "App": {
        "address": _SERVE,
        "host": _SERVE,
        "port": _SERVE,
        "advertise": _SERVE,
        "workers": _SERVE,
        "services": "give them as the first argument: App([first, second])",
    },
    "serve": {
        "host": "write address='tcp://host:port'",
        "port": "write address='tcp://host:port'",
        "services": "give them without a name: serve(first, second)",
    },
    "method": {"deadline": "write timeout=…", "retries": "write idempotent=True: then it can be tried again"},
    "service": {"timeout": "write @method(timeout=…)", "idempotent": "write @method(idempotent=True)"},
}
_WITH_CONFIG: Final = frozenset({"Server", "App", "serve"})
_TIMEOUT: Final = "write @method(timeout=…) for calls, config=ServerConfig(timeouts=Timeouts(…)) for the rest"


def _refusal(owner: str, name: str, known: tuple[str, ...]) -> TypeError:
    advice = _BELONGS[owner].get(name)
    if advice is None and owner in _WITH_CONFIG:
        setting = setting_with(ServerConfig(), name)
        advice = (
            _TIMEOUT if name == "timeout" else f"it is a setting: write config={setting}" if setting else None
        )
    return unknown_name(f"{owner}()", "argument", name, known, advice)


def check_later(owner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that have an effect in this version.

    Raises:
        ConfigError: another argument differs from its default.
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
    """Make a function accept the defaults of arguments that only a later version supports.

    Its signature does not show them, as they have no effect. For other unknown names the error says what to write.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        code = cast(Any, function).__code__
        names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        known = tuple(name for name in names if name != "self")

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs:
                kwargs = check_later(owner, kwargs)  # type: ignore[assignment]
                for name in kwargs:
                    if name not in known:
                        raise _refusal(owner, name, known)
            return function(*args, **kwargs)

        return checked

    return decorate
