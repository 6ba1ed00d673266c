"""The shape of an interceptor: a function around calls, the same on both sides and for all kinds of calls."""

from collections.abc import Awaitable, Iterable
from typing import Any, Protocol

from fastrpc._core.calls.call import Call
from fastrpc.errors import ConfigError

__all__ = ["Interceptor", "Proceed", "admits_none", "checked_interceptors"]


class Proceed(Protocol):
    """The rest of the call: the interceptors behind this one, then the call itself."""

    def __call__(self, call: Call, /) -> Awaitable[Any]:
        """Return what the call came to, once it is over; for a stream that is after its last message."""
        ...


class Interceptor(Protocol):
    """A function around calls: `async def log(call, proceed)`, or an object with such a `__call__`.

    ::

        async def log(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
            try:
                return await proceed(call)
            finally:
                print(call.method, call.status)

    The first one in a list is outermost. Raising refuses the call, returning without `proceed` answers it.
    On a client it runs once per call, around all attempts.
    """

    def __call__(self, call: Call, proceed: Proceed, /) -> Awaitable[Any]:
        """Return what the call is to come to."""
        ...


def admits_none(call: Any) -> bool:
    """Whether None can be what a call comes to, as far as is known of its method; nobody looks at a one-way call's."""
    definition = call.route.definition
    return definition is None or call._is_one_way or definition.admits_none


def checked_interceptors(given: Any) -> tuple[Interceptor, ...]:
    """Return what was given for `interceptors`.

    Raises:
        ConfigError: it is no list of functions; the message names what is none.
    """
    hint = "write `async def name(call, proceed)` and give interceptors=[name]"
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ConfigError(f"interceptors is {given!r}, it must be a list", hint=hint)
    interceptors = tuple(given)
    for index, one in enumerate(interceptors):
        if not callable(one) or isinstance(one, type):
            raise ConfigError(f"interceptors[{index}] is {one!r}, it must be a function", hint=hint)
    return interceptors
