"""Error messages for unknown arguments: they state where the argument belongs, or the most similar name."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar, cast

from fastrpc.config.unknown_names import setting_with, unknown_name

__all__ = ["explain_arguments"]

P = ParamSpec("P")
T = TypeVar("T")

_LISTEN: Final = "write await server.listen('tcp://host:port')"
_SERVE: Final = "write serve(app, …), or give it to `fastrpc run`"

#: For each function, arguments that users give to it by mistake, and where these belong.
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
    "asgi": {
        "limits": "write call_limits=…",
        "registry": "an ASGI application has no address to register; fastrpc.serve() does",
        **dict.fromkeys(
            ("address", "host", "port", "workers"), "give it to uvicorn, or what serves the application"
        ),
        "services": "give them without a name: asgi(first, second)",
    },
    "method": {"deadline": "write timeout=…", "retries": "write idempotent=True: then it can be tried again"},
    "function": {
        "deadline": "write timeout=…",
        "retries": "write idempotent=True: then it can be tried again",
    },
    "subscriber": {
        "retries": "write deliveries=…: the first one counts",
        "max_deliveries": "write deliveries=…",
        "key": "give each message its key: broker.publish(…, key=…)",
    },
    "service": {"timeout": "write @method(timeout=…)", "idempotent": "write @method(idempotent=True)"},
}
_WITH_CONFIG: Final = frozenset({"Server", "App", "asgi", "serve"})
_TIMEOUT: Final = (
    "write @method(timeout=…) for calls, config=ServerConfig(timeouts=Timeouts(…)) for other times"
)


def _refusal(owner: str, name: str, known: tuple[str, ...]) -> TypeError:
    advice = _BELONGS.get(owner, {}).get(name)
    if advice is None and owner in _WITH_CONFIG:
        from fastrpc.config import ServerConfig  # Its modules are imported only for the message.

        setting = setting_with(ServerConfig(), name)
        advice = (
            _TIMEOUT if name == "timeout" else f"it is a setting: write config={setting}" if setting else None
        )
    return unknown_name(f"{owner}()", "argument", name, known, advice)


def explain_arguments(owner: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that its error for an unknown argument suggests another argument.

    Args:
        owner: the name of the function for users; for a constructor, the name of the class.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        code = cast(Any, function).__code__
        names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        known = tuple(name for name in names if name != "self")

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name not in known:
                    raise _refusal(owner, name, known)
            return function(*args, **kwargs)

        return checked

    return decorate
