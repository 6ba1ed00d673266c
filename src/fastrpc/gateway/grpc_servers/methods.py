"""Methods of gRPC servers, called with values: from JSON to messages, and back."""

from typing import Any, Final

from fastrpc.errors import ConfigError
from fastrpc.grpc.definitions import GeneratedMethod, callable_method, kind_of
from fastrpc.rpc.given_coders import GivenCoders

__all__ = ["GrpcMethod", "MessageValues"]

#: Deepest nesting of messages in JSON.
DEPTH: Final = 100

_GOOGLE: Final = "google.protobuf."


class MessageValues:
    """The messages of one type as values, in the JSON of protobuf.

    https://protobuf.dev/programming-guides/json/

    Args:
        descriptor: the descriptor of the type.
        pool: the pool with the types of messages in fields of google.protobuf.Any.
    """

    def __init__(self, descriptor: Any, pool: Any) -> None:
        from google.protobuf.message_factory import GetMessageClass

        self.descriptor = descriptor
        self._pool = pool
        self._class = GetMessageClass(descriptor)

    def encoded(self, value: Any) -> bytes:
        """Return a message from its values.

        Raises:
            ConfigError: a value does not fit its field, or a required field has none.
        """
        from google.protobuf import json_format

        message = self._class()
        try:
            json_format.ParseDict(value, message, descriptor_pool=self._pool, max_recursion_depth=DEPTH)
        except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
            text = " ".join(str(error).split())
            raise ConfigError(f"the values do not fit {self.descriptor.full_name}: {text}") from None
        if missing := message.FindInitializationErrors():
            raise ConfigError(
                f"the values do not fit {self.descriptor.full_name}: required are {', '.join(missing)}"
            )
        found: bytes = message.SerializeToString()
        return found

    def decoded(self, content: bytes) -> Any:
        """Return the values of a message."""
        from google.protobuf import json_format

        message = self._class.FromString(bytes(content))
        try:
            return json_format.MessageToDict(message, descriptor_pool=self._pool)
        except (json_format.Error, TypeError, ValueError) as error:
            # A google.protobuf.Any with an unknown type has no form in JSON.
            raise ValueError(f"{self.descriptor.full_name} has no form in JSON: {error}") from None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields by name, in the order of the .proto file."""
        return {field.name: field for field in self.descriptor.fields}

    def is_whole(self, value: Any) -> bool:
        """Return whether one argument is the whole message: an object, or a value whose type has a form in JSON."""
        name: str = self.descriptor.full_name
        return isinstance(value, dict) or (name.startswith(_GOOGLE) and name != f"{_GOOGLE}Empty")


class GrpcMethod:
    """A method of a gRPC server: its kind, its messages as values, and the way to call it.

    Args:
        descriptor: the descriptor of the method.
        pool: the pool of its server.
        decodes: whether answers are decoded to values; if not, they are bytes.
    """

    def __init__(self, descriptor: Any, pool: Any, *, decodes: bool = True) -> None:
        self.name: str = descriptor.full_name
        self.pool = pool
        self.kind: str = kind_of(descriptor.client_streaming, descriptor.server_streaming)
        self.request = MessageValues(descriptor.input_type, pool)
        self.answer = MessageValues(descriptor.output_type, pool)
        decode = self.answer.decoded if decodes else bytes
        service, _, own = self.name.rpartition(".")
        self.target: Any = callable_method(
            service,
            own,
            GeneratedMethod(
                kind_of(descriptor.client_streaming, descriptor.server_streaming),
                coders=GivenCoders(bytes, decode, decode),
            ),
        )

    @property
    def gives_stream(self) -> bool:
        return self.kind in {"server_stream", "both_ways"}

    @property
    def takes_stream(self) -> bool:
        return self.kind in {"client_stream", "both_ways"}
