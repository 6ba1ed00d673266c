"""Make a server's source from a service descriptor. This needs the protobuf package, not grpcio."""

import inspect
from collections.abc import Callable
from typing import Any, Final

from fastrpc.errors import ConfigError
from fastrpc.grpc.definitions import GeneratedMethod, kind_of, service_instance
from fastrpc.grpc.serving import Servicing, handler_for

__all__ = ["method_of", "service"]

#: google.protobuf.MethodOptions.IdempotencyLevel.
_NO_SIDE_EFFECTS: Final = 1


def service(descriptor: Any, servicer: Any) -> Any:
    """Return a source for a server: a descriptor's service, served by the methods of an object.

    ::

        greeter = fastrpc.grpc.service(hello_pb2.DESCRIPTOR.services_by_name["Greeter"], Greeter())
        server = fastrpc.Server(greeter)

    A method has the form `(self, request)` or `(self, request, context)`; if the caller streams, `request` is an
    asynchronous iterator. It is `async def`, with `yield` if it streams its answers, or plain `def`, which runs in a
    thread. The context has the methods of grpc.aio's.

    Raises:
        ConfigError: the object lacks a method, or a method has another form.
    """
    servicing = Servicing.now()
    methods = {one.name: _served(one, servicer, servicing) for one in descriptor.methods}
    return service_instance(descriptor.full_name, methods, servicer)


def method_of(method: Any) -> GeneratedMethod:
    """Return the method of a descriptor, with its message classes."""
    from google.protobuf.message_factory import GetMessageClass

    return GeneratedMethod(
        kind_of(method.client_streaming, method.server_streaming),
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        is_safe=method.GetOptions().idempotency_level == _NO_SIDE_EFFECTS,
    )


def _served(method: Any, servicer: Any, servicing: Servicing) -> GeneratedMethod:
    function = getattr(servicer, method.name, None)
    if not callable(function):
        of = method.containing_service.full_name
        raise ConfigError(
            f"{type(servicer).__qualname__} has no method {method.name}, which {of} has",
            hint=f"write `async def {method.name}(self, request)`",
        )
    generated = method_of(method)
    taking = _taking_context(function)
    return generated._replace(handler=handler_for(generated.kind, taking, servicing))


def _taking_context(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return a function of request and context; a function that takes only the request is wrapped."""
    signature = inspect.signature(function)
    for arguments in (2, 1):
        try:
            signature.bind(*[None] * arguments)
        except TypeError:
            continue
        return function if arguments == 2 else _WithoutContext(function)
    name = getattr(function, "__qualname__", repr(function))
    raise ConfigError(
        f"{name}{signature} takes no request", hint="write it as (self, request) or (self, request, context)"
    )


class _WithoutContext:
    """A function that is called with request and context, and passes on only the request."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, request: Any, context: Any) -> Any:
        return self.__wrapped__(request)
