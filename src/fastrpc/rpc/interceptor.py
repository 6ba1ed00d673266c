"""The interface of an interceptor: a function around calls, for clients and servers and all kinds of calls."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Protocol

from fastrpc._core.calls.call import Call
from fastrpc._core.calls.call_log import CallLog
from fastrpc.errors import ConfigError

__all__ = [
    "Interceptor",
    "Proceed",
    "admits_none",
    "checked_interceptors",
    "client_interceptors",
    "put_around_clients",
    "split_call_log",
]


# Interceptors around the calls of each new client of this process.
_around_clients: tuple["Interceptor", ...] = ()


class Proceed(Protocol):
    """Runs the inner interceptors, then the call itself."""

    def __call__(self, call: Call, /) -> Awaitable[Any]:
        """Return the result of the call. For a stream, return after its last message."""
        ...


class Interceptor(Protocol):
    """A function around calls: `async def log(call, proceed)`, or an object with such a `__call__`.

    ::

        async def log(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
            try:
                return await proceed(call)
            finally:
                print(call.method, call.status)

    The first interceptor in a list is the outermost. To refuse the call, raise; to answer it, return without `proceed`.
    In a client an interceptor runs once per call, around all attempts.
    """

    def __call__(self, call: Call, proceed: Proceed, /) -> Awaitable[Any]:
        """Return the result of the call."""
        ...


def admits_none(call: Any) -> bool:
    """Return whether an interceptor may return None for a call: if None is a result, or the result is ignored."""
    definition = call.route.definition
    if definition is None or call._is_one_way:
        return True
    # A server has sent all messages of the stream before `proceed` returns.
    return bool(definition.kind in {"server_stream", "both_ways"} or definition.admits_none)


def checked_interceptors(given: Any) -> tuple[Interceptor, ...]:
    """Return the interceptors as a tuple after checking them.

    Raises:
        ConfigError: the value is not a list of functions; the message names the wrong item.
    """
    hint = "write `async def name(call, proceed)` and give interceptors=[name]"
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ConfigError(f"interceptors is {given!r}, it must be a list", hint=hint)
    interceptors = tuple(given)
    for index, one in enumerate(interceptors):
        if not callable(one) or isinstance(one, type):
            raise ConfigError(f"interceptors[{index}] is {one!r}, it must be a function", hint=hint)
    return interceptors


def put_around_clients(*interceptors: Interceptor) -> None:
    """Set the interceptors around the calls of all clients that this process creates from now on.

    This is for `fastrpc run --otel`, which traces unchanged programs. A library has to pass interceptors to its
    clients.
    """
    global _around_clients
    _around_clients = interceptors


def client_interceptors(given: Sequence[Interceptor]) -> Sequence[Interceptor]:
    """Return the interceptors of a new client: first the interceptors of the process, then the given ones.

    An interceptor of the process is left out if a given interceptor is of the same class.

    Raises:
        ConfigError: the value is not a list of functions.
    """
    if not _around_clients:
        return given
    own = checked_interceptors(given)
    around = [one for one in _around_clients if not any(isinstance(known, type(one)) for known in own)]
    return (*around, *own)


def split_call_log(
    interceptors: Sequence[Interceptor],
) -> tuple[CallLog | None, tuple[Interceptor, ...]]:
    """Return the log to which a server reports the end of each call, and the interceptors that run around calls.

    The first interceptor with a `_call_log` does not run: the compiled core writes to its log. All others run.
    """
    for index, one in enumerate(interceptors):
        log = getattr(one, "_call_log", None)
        if isinstance(log, CallLog):
            return log, (*interceptors[:index], *interceptors[index + 1 :])
    return None, tuple(interceptors)
