"""Encode a package as google.protobuf.FileDescriptorProto, which reflection sends and every protobuf library reads.

The field numbers are written here, so that no protobuf package is needed.
"""

from fastrpc.rpc.protobuf.descriptor_wire import written_number, written_part, written_text
from fastrpc.rpc.protobuf.messages import KINDS, ProtoEnum, ProtoField, ProtoMessage
from fastrpc.rpc.protobuf.names import file_of
from fastrpc.rpc.protobuf.packages import ProtoMethod, ProtoPackage, enum_values

__all__ = ["file_descriptor", "file_name"]

# https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto
# Numbers of FieldDescriptorProto.Label: LABEL_OPTIONAL and LABEL_REPEATED.
_SINGLE, _REPEATED = 1, 3


def file_name(package: ProtoPackage) -> str:
    """Return the name of a package's file: `shop.v1` is shop/v1.proto."""
    return file_of(package.name)


def file_descriptor(package: ProtoPackage, name: str | None = None) -> bytes:
    """Return the descriptor of a package, encoded.

    Args:
        name: the name of the file; None means `file_name(package)`.
    """
    messages, enums = package.nested(None)
    parts = [
        written_text(1, name or file_name(package)),
        written_text(2, package.name),
        *(written_text(3, file) for file in package.imports() if file != name),
        *(written_part(4, _message(package, message)) for message in messages),
        *(written_part(5, _enum(package, enum)) for enum in enums),
    ]
    for service in package.services:
        methods = [
            written_part(2, _method(package, one)) for one in service.methods if one.messages is not None
        ]
        parts.append(written_part(6, [written_text(1, service.name), *methods]))
    return b"".join([*parts, written_text(12, "proto3")])


def _message(package: ProtoPackage, message: ProtoMessage) -> list[bytes]:
    parts = [written_text(1, _own_name(package, message))]
    messages, enums = package.nested(message)
    nested = [written_part(3, _message(package, one)) for one in messages]
    nested += [written_part(4, _enum(package, one)) for one in enums]
    if message in package.places:
        return [*parts, *nested]
    oneofs: list[str] = ["value"] if message.form == "union" else message.oneofs
    for field in message.fields:
        place = 0 if message.form == "union" else None if field.oneof is None else oneofs.index(field.oneof)
        if field.is_optional:
            place = len(oneofs)
            oneofs.append(f"_{field.name}")
        parts.append(written_part(2, _field(package, message, field, place)))
        if field.shape == "map":
            nested.append(written_part(3, _entry(package, message, field)))
    return [*parts, *nested, *(written_part(8, [written_text(1, name)]) for name in oneofs)]


def _own_name(package: ProtoPackage, found: ProtoMessage | ProtoEnum) -> str:
    return package.name_of(found).rpartition(".")[2]


def _field(package: ProtoPackage, message: ProtoMessage, field: ProtoField, oneof: int | None) -> list[bytes]:
    parts = [
        written_text(1, field.name),
        written_number(3, field.number),
        written_number(4, _SINGLE if field.shape == "single" else _REPEATED),
        written_number(5, KINDS[field.kind]),
    ]
    if field.shape == "map":
        parts.append(written_text(6, f"{_full(package, message)}.{field.entry_name}"))
    elif field.message is not None:
        parts.append(written_text(6, _full(package, field.message)))
    elif field.enum is not None:
        parts.append(written_text(6, _full(package, field.enum)))
    if oneof is not None:
        parts.append(written_number(9, oneof))
    parts.append(written_text(10, field.json_name))
    return [*parts, written_number(17, 1)] if field.is_optional else parts


def _entry(package: ProtoPackage, message: ProtoMessage, field: ProtoField) -> list[bytes]:
    """Return the message for the entries of a map. It is nested in the message with the map."""
    fields = () if field.message is None else field.message.fields
    parts = [written_part(2, _field(package, message, one, None)) for one in fields]
    return [written_text(1, field.entry_name), *parts, written_part(7, [written_number(7, 1)])]


def _enum(package: ProtoPackage, enum: ProtoEnum) -> list[bytes]:
    values = enum_values(package, enum)
    parts = [written_part(2, [written_text(1, name), written_number(2, number)]) for name, number in values]
    if len({number for _, number in values}) < len(values):
        # The option allow_alias.
        parts.append(written_part(3, [written_number(2, 1)]))
    return [written_text(1, _own_name(package, enum)), *parts]


def _method(package: ProtoPackage, method: ProtoMethod) -> list[bytes]:
    if method.messages is None:
        return []
    parts = [
        written_text(1, method.name),
        written_text(2, _full(package, method.messages.request)),
        written_text(3, _full(package, method.messages.result)),
    ]
    kind = method.definition.kind
    if kind in {"client_stream", "both_ways"}:
        parts.append(written_number(5, 1))
    if kind in {"server_stream", "both_ways"}:
        parts.append(written_number(6, 1))
    options = method.definition.options
    if options.safe or options.idempotent:
        # The option idempotency_level: NO_SIDE_EFFECTS or IDEMPOTENT.
        parts.append(written_part(4, [written_number(34, 1 if options.safe else 2)]))
    return parts


def _full(package: ProtoPackage, found: ProtoMessage | ProtoEnum) -> str:
    return f".{package.full_name(found)}"
