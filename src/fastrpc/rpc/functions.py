"""`@function`: remote methods that are plain functions.

All functions with the same prefix form one service. This module creates its class, which has no instances. Servers add
functions one by one, and each function becomes a method of the class.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, final, overload

from fastrpc.errors import ConfigError
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.claiming import METHOD_MARK, MethodMark
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marking import NOT_GIVEN, mark_function, set_options, show_defaults
from fastrpc.rpc.method_options import NAME, SERVICE_NAME, MethodOptions
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.rpc.schema.annotation import Scope, captured_names
from fastrpc.rpc.service import SERVICE_MARK, check_fields, checked_definition

__all__ = [
    "Functions",
    "RemoteFunction",
    "function",
    "function_services",
    "functions_of",
    "is_function",
    "take_function",
    "with_function",
]

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


@final
class _Served:
    """The type of `self` in the signature of a method that stands for a function. It has no instances."""


class RemoteFunction(Protocol[P, R_co]):
    """A function under `@function`, for type checkers: to call directly, or to pass to a client's methods."""

    @overload
    def __call__(self, served: _Served, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Functions:
    """The base of the classes that hold the functions of one prefix."""


@explain_arguments("function")
def function(
    name: str,
    /,
    *,
    inline: bool = NOT_GIVEN,
    idempotent: bool = NOT_GIVEN,
    timeout: float | None = None,
    codec: str | None = None,
    public: bool = NOT_GIVEN,
    roles: Sequence[str] = NOT_GIVEN,
    renamed: Mapping[str, str] | None = None,
    safe: bool = NOT_GIVEN,
    tool: bool = NOT_GIVEN,
    alias: Sequence[str] = NOT_GIVEN,
    http: str | None = None,
) -> Callable[[Callable[P, T]], RemoteFunction[P, T]]:
    """Make a plain function a remote method. The function itself is unchanged.

    ::

        @fastrpc.function("math.mul")
        async def mul(a: int, b: int) -> int:
            return a * b

        server = fastrpc.Server(mul)
        await client.call(mul, 6, 7)

    Functions with the same name before the last dot form one service.

    Args:
        name: the full name on the wire, service and method.
        inline, idempotent, timeout, codec, public, roles, renamed, safe, tool, http: as for `method`.
        alias: other names for callers, without the service's name.

    Raises:
        TypeError: the function cannot be a remote method; the message shows the right form.
        ConfigError: the name is not the name of a method, or the value of an option is invalid.
    """
    prefix, short = _parts(name)
    options = MethodOptions(short, inline, idempotent, None, codec, public, safe=safe, tool=tool)
    options = set_options(options, timeout=timeout, roles=roles, renamed=renamed, alias=alias, http=http)

    def mark(handler: Any) -> Any:
        mark_function(handler, options, prefix=prefix)
        found: MethodMark = getattr(handler, METHOD_MARK)
        found.function, found.attribute = handler, short
        here = inspect.currentframe()
        captured = captured_names(_signature(found).annotations(), None if here is None else here.f_back)
        found.signature = _signature(found).with_scope(Scope(handler, None, captured))
        found.definition = take_function(with_function(None, handler)).methods[short]
        return handler

    return mark


show_defaults(
    function, inline=False, idempotent=False, public=False, roles=(), safe=False, tool=False, alias=()
)


def is_function(thing: Any) -> bool:
    """Return whether this is a function under `@function`."""
    mark = getattr(thing, METHOD_MARK, None)
    return isinstance(mark, MethodMark) and bool(mark.prefix) and not isinstance(thing, type)


def with_function(service: ServiceDefinition | None, handler: Any) -> ServiceDefinition:
    """Return the service of a function: a new service, or `service` with one more method.

    The service takes effect only after `take_function`.

    Raises:
        ConfigError: the service already has a method of that name.
    """
    mark: MethodMark = getattr(handler, METHOD_MARK)
    if service is None:
        cls: Any = type(mark.prefix.rpartition(".")[2], (Functions,), {"__doc__": None})
        cls.__qualname__, cls.__module__ = mark.prefix, handler.__module__
        service = ServiceDefinition(cls, ServiceNames(mark.prefix), {})
    cls = service.owner
    options, name = mark.options or MethodOptions(), mark.attribute
    if name in service.methods:
        raise ConfigError(f"two functions are called {service.name}.{name}", hint="rename one of them")
    definition = checked_definition(
        MethodDefinition(cls, service.names, name, handler, options=options, signature=_signature(mark))
    )
    grown = ServiceDefinition(cls, service.names, {**service.methods, name: definition})
    check_fields(grown)
    return grown


def functions_of(service: ServiceDefinition) -> Functions:
    """Return an object with all functions of a service, even if its class does not have all of them yet."""
    found = Functions()
    vars(found).update({name: method.function for name, method in service.methods.items()})
    return found


def take_function(service: ServiceDefinition) -> ServiceDefinition:
    """Make `service` the definition of its class, add its functions to the class, and return `service`."""
    for name, method in service.methods.items():
        setattr(service.owner, name, staticmethod(method.function))
    setattr(service.owner, SERVICE_MARK, service)
    return service


def function_services(functions: Iterable[Any]) -> list[type[Any]]:
    """Return a service class for each prefix of these functions, in their order."""
    services: dict[str, ServiceDefinition] = {}
    for one in functions:
        prefix = getattr(one, METHOD_MARK).prefix
        services[prefix] = take_function(with_function(services.get(prefix), one))
    return [service.owner for service in services.values()]


def _parts(name: Any) -> tuple[str, str]:
    """Return the service and the method of a full name."""
    if not isinstance(name, str):
        raise TypeError('@fastrpc.function needs a name: write @fastrpc.function("service.method")')
    prefix, _, short = name.rpartition(".")
    if not SERVICE_NAME.fullmatch(prefix) or not NAME.fullmatch(short):
        raise ConfigError(
            f"{name!r} is not the full name of a method",
            hint="write service and method, letters, digits, `_` and `-`, joined by a dot: 'math.mul'",
        )
    return prefix, short


def _signature(mark: MethodMark) -> Any:
    assert mark.signature is not None
    return mark.signature
