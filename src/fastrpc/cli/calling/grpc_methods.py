"""A method of a gRPC server on the command line: its arguments are the fields of a message."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from fastrpc.cli.calling.method_kinds import INPUT_MARK, Prepared
from fastrpc.cli.calling.standard_streams import read_lines
from fastrpc.cli.calling.values import read_arguments, read_message
from fastrpc.cli.printing import counted
from fastrpc.errors import ConfigError
from fastrpc.gateway.grpc_servers.described import is_repeated
from fastrpc.gateway.grpc_servers.methods import GrpcMethod, MessageValues
from fastrpc.gateway.grpc_servers.reflection import ServerDescriptors
from fastrpc.rpc.description import nearest_name

__all__ = ["KnownGrpcMethod", "grpc_method", "text_kind"]

#: Types of the command line by google.protobuf.FieldDescriptorProto.Type.
_TEXTS: Final[Mapping[int, str]] = {
    **dict.fromkeys((1, 2), "float | str"),
    8: "bool",
    **dict.fromkeys((9, 12), "str"),
    14: "int | str",
    **dict.fromkeys((3, 4, 5, 6, 7, 13, 15, 16, 17, 18), "int"),
}
_OTHER: Final = "object"


class KnownGrpcMethod(GrpcMethod):
    """A method of a gRPC server, with the interface of `KnownMethod`."""

    is_certain = True

    def prepare(self, texts: Sequence[str], codec: str | None) -> Prepared:
        """Return the message that the texts on the command line make.

        Raises:
            ConfigError: the place of the stream is not marked, or an argument is wrong.
        """
        if self.takes_stream:
            if list(texts) != [INPUT_MARK]:
                raise ConfigError(
                    f"{self.name} takes a stream of messages alone",
                    hint=f"write {INPUT_MARK} in place of the stream, and give its messages as lines on standard input",
                )
            return Prepared([], {}, True)
        return Prepared([self.request.encoded(self._values(texts))], {}, False)

    def _values(self, texts: Sequence[str]) -> Any:
        """Return the values of the message from arguments, or from the one argument that is the whole message."""
        value = read_message(texts[0]) if len(texts) == 1 else None
        if len(texts) == 1 and self.request.is_whole(value):
            return value
        fields = self.request.fields
        types = {name: text_kind(field) for name, field in fields.items()}
        # Add JSON names after the field names, whose order is the order of positions.
        types |= {field.json_name: types[name] for name, field in fields.items()}
        return _values_of(self.request, *read_arguments(texts, types=types))

    async def input(self, codec: str | None) -> AsyncIterator[bytes]:
        """Yield the messages on standard input, one per line; a line that is no object sets the first field."""
        fields = list(self.request.fields.values())
        kind = text_kind(fields[0]) if fields else ""
        async for line in read_lines():
            if line or kind == "str":
                value = read_message(line)
                if not self.request.is_whole(value):
                    value = _values_of(self.request, [read_message(line, None, kind)], {})
                yield self.request.encoded(value)


async def grpc_method(view: Any, address: str, name: str, *, decodes: bool = True) -> KnownGrpcMethod:
    """Ask a server for a method.

    Raises:
        CallError: the server has no method of this name, or no reflection.
        ConfigError: the protobuf package is not installed.
    """
    found = ServerDescriptors(view, address)
    return KnownGrpcMethod(await found.method(name), found.pool, decodes=decodes)


def text_kind(field: Any) -> str:
    """Return the name of the type by which the command line parses values for a field."""
    return _OTHER if is_repeated(field) else _TEXTS.get(field.type, _OTHER)


def _values_of(messages: MessageValues, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the values of a message from arguments, which are its fields by position and by name.

    Raises:
        ConfigError: the field is unknown, or given twice.
    """
    fields = list(messages.descriptor.fields)
    name = messages.descriptor.full_name
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
