"""Methods of servers of gRPC, called with values: JSON -> message, and back."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from fastrpc.cli.calling.method_kinds import INPUT_MARK, Prepared
from fastrpc.cli.calling.standard_streams import read_lines
from fastrpc.cli.calling.values import read_arguments, read_message
from fastrpc.cli.grpc_servers.described import is_repeated
from fastrpc.cli.grpc_servers.reflection import ServerDescriptors
from fastrpc.cli.printing import counted
from fastrpc.errors import ConfigError
from fastrpc.grpc.definitions import GeneratedMethod, callable_method, kind_of
from fastrpc.rpc.description import nearest_name
from fastrpc.rpc.given_coders import GivenCoders

__all__ = ["GrpcMethod", "MessageValues", "grpc_method", "text_kind"]

#: Deepest nesting of messages in JSON.
DEPTH: Final = 100

_GOOGLE: Final = "google.protobuf."

#: Types of the command line by google.protobuf.FieldDescriptorProto.Type.
_TEXTS: Final[Mapping[int, str]] = {
    **dict.fromkeys((1, 2), "float | str"),
    8: "bool",
    **dict.fromkeys((9, 12), "str"),
    14: "int | str",
    **dict.fromkeys((3, 4, 5, 6, 7, 13, 15, 16, 17, 18), "int"),
}
_OTHER: Final = "object"


class MessageValues:
    """The messages of one type as values, in the JSON of protobuf.

    https://protobuf.dev/programming-guides/json/

    Args:
        descriptor: of the message.
        pool: has the types of messages of any type in it.
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
            # As of a message of any type whose own type is unknown.
            raise ValueError(f"{self.descriptor.full_name} has no form in JSON: {error}") from None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields by name, in the order of the .proto file."""
        return {field.name: field for field in self.descriptor.fields}

    def values_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the values of a message from arguments, which are its fields by position and by name.

        Raises:
            ConfigError: there is no such field, or one is given twice.
        """
        fields = list(self.descriptor.fields)
        name = self.descriptor.full_name
        if len(args) > len(fields):
            raise ConfigError(
                f"{len(args)} arguments are given by position, {name} has {counted(len(fields), 'field')}"
            )
        found = {field.name: value for field, value in zip(fields, args, strict=False)}
        by_name = {alias: field.name for field in fields for alias in (field.json_name, field.name)}
        for given, value in kwargs.items():
            if given not in by_name:
                near = nearest_name(given, by_name)
                names = ", ".join(field.name for field in fields) or "none"
                raise ConfigError(
                    f"{name} has no field {given!r}",
                    hint=f"did you mean {near!r}?" if near else f"there are {names}",
                )
            if by_name[given] in found:
                raise ConfigError(f"argument {given!r} is given twice")
            found[by_name[given]] = value
        return found

    def is_whole(self, value: Any) -> bool:
        """Return whether one argument is the whole message: an object, or the value of a type known to JSON."""
        name: str = self.descriptor.full_name
        return isinstance(value, dict) or (name.startswith(_GOOGLE) and name != f"{_GOOGLE}Empty")


class GrpcMethod:
    """A method of a server of gRPC, with the same face as `KnownMethod`.

    Args:
        descriptor: of the method.
        pool: that of its server.
        decodes: whether answers are values; else they are bytes.
    """

    is_certain = True

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

    def prepare(self, texts: Sequence[str], codec: str | None) -> Prepared:
        """Return the message that the texts on the command line make.

        Raises:
            ConfigError: the place of the stream is not marked, or an argument is wrong.
        """
        if self.takes_stream:
            if list(texts) != [INPUT_MARK]:
                raise ConfigError(
                    f"{self.name} takes a stream of messages alone",
                    hint=f"write {INPUT_MARK} in its place, and give the messages as lines on standard input",
                )
            return Prepared([], {}, True)
        return Prepared([self.request.encoded(self._values(texts))], {}, False)

    def _values(self, texts: Sequence[str]) -> Any:
        """Return the values of the message that arguments make, or of the one that is the whole message."""
        value = read_message(texts[0]) if len(texts) == 1 else None
        if len(texts) == 1 and self.request.is_whole(value):
            return value
        fields = self.request.fields
        types = {name: text_kind(field) for name, field in fields.items()}
        # Behind those, which are in the order of positions.
        types |= {field.json_name: types[name] for name, field in fields.items()}
        return self.request.values_of(*read_arguments(texts, types=types))

    async def input(self, codec: str | None) -> AsyncIterator[bytes]:
        """Yield the messages on standard input; each line is one, and a line that is no object is its first field."""
        fields = list(self.request.fields.values())
        kind = text_kind(fields[0]) if fields else ""
        async for line in read_lines():
            if line or kind == "str":
                value = read_message(line)
                if not self.request.is_whole(value):
                    value = self.request.values_of([read_message(line, None, kind)], {})
                yield self.request.encoded(value)


def text_kind(field: Any) -> str:
    """Return the type of a field as the command line reads values for it."""
    return _OTHER if is_repeated(field) else _TEXTS.get(field.type, _OTHER)


async def grpc_method(view: Any, address: str, name: str, *, decodes: bool = True) -> GrpcMethod:
    """Ask a server for a method.

    Raises:
        CallError: it has none of this name, or no reflection.
        ConfigError: the protobuf package is not installed.
    """
    found = ServerDescriptors(view, address)
    return GrpcMethod(await found.method(name), found.pool, decodes=decodes)
