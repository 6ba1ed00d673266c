"""The handlers that generated code adds to a server, as a source of services."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.grpc.definitions import GeneratedMethod, kind_of, service_instance
from fastrpc.grpc.names import split_path
from fastrpc.grpc.serving import Servicing, handler_for
from fastrpc.rpc.given_coders import GivenCoders
from fastrpc.rpc.signature import Kind

__all__ = ["Handlers", "class_of", "coders_of", "is_of_protobuf", "kind_and_function", "served_method"]


class Handlers:
    """A source of the handlers that generated code adds, for a server that may also have services written for fastrpc.

    ::

        handlers = fastrpc.grpc.Handlers()
        add_GreeterServicer_to_server(Greeter(), handlers)
        server = fastrpc.Server(Orders, handlers)

    Servicers have the methods of grpc.aio: `async def` on the loop, plain `def` in threads.
    """

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Add the handlers of services, as generated code does.

        Raises:
            ConfigError: a handler does not state its methods.
        """
        for generic in generic_rpc_handlers:
            known = getattr(generic, "_method_handlers", None)
            if not isinstance(known, Mapping):
                raise ConfigError(
                    f"the generic handler {generic!r} does not say which methods it has",
                    hint="make it by grpc.method_handlers_generic_handler",
                )
            for path, handler in known.items():
                service, method = split_path(path)
                # A handler registered for a single method takes precedence, in whatever order handlers are added.
                self._services.setdefault(service, {}).setdefault(method, handler)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Add the handlers of one service, as generated code does since grpcio-tools 1.64."""
        self._services.setdefault(service_name, {}).update(method_handlers)

    def __call__(self) -> list[Any]:
        """Return the services, as a source of a server does."""
        return [
            service_instance(
                name, {method: self._served(name, method, one) for method, one in handlers.items()}
            )
            for name, handlers in self._services.items()
        ]

    def _served(self, service: str, method: str, handler: Any) -> GeneratedMethod:
        return served_method(handler, Servicing.now())


def served_method(handler: Any, servicing: Servicing) -> GeneratedMethod:
    """Return a method for a `grpc.RpcMethodHandler`."""
    kind, function = kind_and_function(handler)
    request = class_of(handler.request_deserializer)
    coders = coders_of(handler, servicing)
    return GeneratedMethod(
        kind,
        request=request,
        coders=GivenCoders(*coders, None, request),
        handler=handler_for(kind, function, servicing),
        faults=servicing.faults,
    )


def coders_of(handler: Any, servicing: Servicing) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Return the functions by which a `grpc.RpcMethodHandler` encodes answers and decodes requests."""
    encode, decode = handler.response_serializer, handler.request_deserializer
    if servicing.takes_none:
        encode = encode if is_of_protobuf(encode) else _of_any(encode, servicing.faults.ends_quietly)
    given = GivenCoders(encode or bytes, decode or bytes, None)
    return servicing.limits.around(given, "SERVER")[:2]


def is_of_protobuf(encode: Callable[[Any], bytes] | None) -> bool:
    """Return whether a function encodes messages of protobuf."""
    return getattr(encode, "__name__", "") == "SerializeToString"


def _of_any(encode: Callable[[Any], bytes] | None, is_strict: bool) -> Callable[[Any], bytes]:
    """Return a function that encodes results of a servicer. Unless strict it encodes None as b"" and str as UTF-8."""

    def encoded(value: Any) -> bytes:
        if isinstance(value, str) and not is_strict:
            value = value.encode()
        payload = value if encode is None else encode(value)
        if payload is None and not is_strict:
            return b""
        if not isinstance(payload, bytes):
            raise TypeError(f"Expected bytes, got {type(payload).__name__}")
        return payload

    return encoded


def kind_and_function(handler: Any) -> tuple[Kind, Callable[..., Any]]:
    """Return the kind of a `grpc.RpcMethodHandler`, and the function that it has for this kind."""
    functions = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    found = next(one for one in functions if one is not None)
    return kind_of(handler.request_streaming, handler.response_streaming), found


def class_of(decode: Callable[[bytes], Any] | None) -> Any:
    """Return the message class whose `FromString` this is; Any for another function."""
    owner = getattr(decode, "__self__", None)
    is_class = isinstance(owner, type) and hasattr(owner, "FromString") and hasattr(owner, "DESCRIPTOR")
    return owner if is_class else Any
