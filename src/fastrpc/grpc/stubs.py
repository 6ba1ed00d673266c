"""Call a service by its descriptor, with a `Client` or a `SyncClient`. This needs the protobuf package, not grpcio."""

from collections.abc import Callable, Mapping
from typing import Any

from fastrpc.grpc.definitions import callable_method
from fastrpc.grpc.described import method_of
from fastrpc.rpc.signature import Kind

__all__ = ["stub"]


def stub(descriptor: Any, client: Any) -> Any:
    """Return an object with the methods of a service, which it calls through a `Client` or a `SyncClient`.

    ::

        greeter = fastrpc.grpc.stub(hello_pb2.DESCRIPTOR.services_by_name["Greeter"], client)
        reply = await greeter.SayHello(hello_pb2.HelloRequest(name="Ada"), timeout=1.0)

    A method that streams its answers returns a stream, as `client.stream` does. Pass an iterable of messages to a
    method that takes a stream; without it the method returns a stream to send messages, as `client.open` does.
    """
    made = _Stub(descriptor.full_name)
    for one in descriptor.methods:
        generated = method_of(one)
        function = callable_method(descriptor.full_name, one.name, generated)
        setattr(made, one.name, _Method(generated.kind, function, client))
    return made


class _Stub:
    """The methods of one service."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __repr__(self) -> str:
        return f"<Stub of {self._service}>"


class _Method:
    """One method, called with its request."""

    def __init__(self, kind: Kind, function: Callable[..., Any], client: Any) -> None:
        self._kind = kind
        self._function = function
        self._client = client

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> Any:
        client = self._client
        if timeout is not None or metadata:
            options = {"timeout": timeout, "metadata": metadata}
            client = client.with_options(
                **{name: value for name, value in options.items() if value is not None}
            )
        match self._kind:
            case "unary":
                return client.call(self._function, request)
            case "server_stream":
                return client.stream(self._function, request)
        if request is None:
            return client.open(self._function)
        return (client.call if self._kind == "client_stream" else client.stream)(self._function, request)
