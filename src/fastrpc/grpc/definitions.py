"""Definitions of generated services and methods, the same on both sides of a call."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.grpc.faults import GENERATED_FAULTS
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.claiming import METHOD_MARK, MethodMark
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.faults import Faults
from fastrpc.rpc.given_coders import GIVEN_CODEC, GivenCoders
from fastrpc.rpc.method_options import NAME, SERVICE_NAME, MethodOptions
from fastrpc.rpc.schema.annotation import Scope
from fastrpc.rpc.service import SERVICE_MARK, check_name_length
from fastrpc.rpc.signature import Kind, read_signature

__all__ = ["GeneratedMethod", "callable_method", "kind_of", "service_instance"]


class GeneratedMethod(NamedTuple):
    """One method of a generated service."""

    kind: Kind
    #: `request`, `response`: the classes of the messages; Any for an unknown class.
    request: Any = Any
    response: Any = Any
    #: The functions that encode and decode its messages on this side; None for the functions of the classes.
    coders: GivenCoders | None = None
    #: Whether the method changes nothing, so that web pages may call it by GET.
    is_safe: bool = False
    #: Runs the method on a server; None for callers.
    handler: Callable[..., Any] | None = None
    #: The rules by which the method's faults are reported to callers.
    faults: Faults = GENERATED_FAULTS


def kind_of(takes_stream: bool, gives_stream: bool) -> Kind:
    """Return the kind of a method, given which sides stream."""
    if takes_stream:
        return "both_ways" if gives_stream else "client_stream"
    return "server_stream" if gives_stream else "unary"


def service_instance(name: str, methods: Mapping[str, GeneratedMethod], servicer: Any = None) -> Any:
    """Return an instance of a class under `@service` with the methods of a generated service.

    Args:
        servicer: the object whose methods are called. If it is an asynchronous context manager, the server enters it.

    Raises:
        ConfigError: the service or a method has a name that fastrpc cannot send.
    """
    _check_name(name, SERVICE_NAME, "service")
    short = name.rpartition(".")[2]
    cls: Any = type(short, (_Entered,) if hasattr(servicer, "__aenter__") else (), {"__doc__": None})
    instance = cls()
    instance.servicer = servicer
    names, definitions = ServiceNames(name), {}
    for method, generated in methods.items():
        definitions[method] = _definition(cls, names, method, generated)
        setattr(instance, method, generated.handler)
    definition = ServiceDefinition(cls, names, definitions)
    # A program may add the methods of a service in several steps, as in grpcio.
    definition.is_part = True
    setattr(cls, SERVICE_MARK, definition)
    return instance


def callable_method(service: str, name: str, generated: GeneratedMethod) -> Callable[..., Any]:
    """Return a function that names a method to a client: `client.call(function, request)`."""
    _check_name(service, SERVICE_NAME, "service")
    owner = type(service.rpartition(".")[2], (), {})
    definition = _definition(owner, ServiceNames(service), name, generated)
    mark = MethodMark(definition.options, definition.signature)
    mark.owner, mark.attribute, mark.function = owner, name, definition.function
    mark.definition = definition
    setattr(definition.function, METHOD_MARK, mark)
    return definition.function


def _definition(
    owner: type[Any], names: ServiceNames, method: str, generated: GeneratedMethod
) -> MethodDefinition:
    _check_name(method, NAME, "method")
    function = _FORMS[generated.kind]()
    function.__name__ = method
    function.__qualname__ = f"{owner.__qualname__}.{method}"
    request: Any = generated.request
    response: Any = generated.response
    takes_stream, gives_stream = generated.kind in _TAKING, generated.kind in _GIVING
    function.__annotations__ = {
        "requests" if takes_stream else "request": _stream_of(request) if takes_stream else request,
        "return": _stream_of(response) if gives_stream else response,
    }
    definition = MethodDefinition(
        owner,
        names,
        method,
        function,
        options=MethodOptions(name=method, codec=GIVEN_CODEC, safe=generated.is_safe),
        signature=read_signature(function).with_scope(Scope(function, owner)),
    )
    check_name_length(definition.full_name)
    definition.given_coders = generated.coders
    definition.faults = generated.faults
    return definition


def _stream_of(kind: Any) -> Any:
    return AsyncIterator.__class_getitem__(kind)  # type: ignore[attr-defined]


def _check_name(name: str, pattern: Any, what: str) -> None:
    if not pattern.fullmatch(name):
        raise ConfigError(f"{name!r} is not a {what} name", hint="write letters, digits and `_`")


class _Entered:
    """A service whose servicer is an async context manager: entered before the first call, exited after the last."""

    servicer: Any

    async def __aenter__(self) -> Any:
        return await self.servicer.__aenter__()

    async def __aexit__(self, *failure: Any) -> Any:
        return await self.servicer.__aexit__(*failure)


# The functions of methods, with the attributes and annotations that `@method` sets.


def _unary() -> Callable[..., Any]:
    async def method(self: Any, request: Any, /) -> Any: ...

    return method


def _server_stream() -> Callable[..., Any]:
    def method(self: Any, request: Any, /) -> Any: ...

    return method


def _client_stream() -> Callable[..., Any]:
    async def method(self: Any, requests: Any, /) -> Any: ...

    return method


def _both_ways() -> Callable[..., Any]:
    def method(self: Any, requests: Any, /) -> Any: ...

    return method


_TAKING = frozenset({"client_stream", "both_ways"})
_GIVING = frozenset({"server_stream", "both_ways"})
_FORMS: Mapping[Kind, Callable[[], Any]] = {
    "unary": _unary,
    "server_stream": _server_stream,
    "client_stream": _client_stream,
    "both_ways": _both_ways,
}
