"""Names in a protobuf schema."""

import enum
import keyword
import re
from typing import Final

from fastrpc.rpc.protobuf.annotations import UnfitTypeError
from fastrpc.rpc.protobuf.field import NAME, FieldError
from fastrpc.rpc.protobuf.messages import ProtoField, ProtoMessage

__all__ = [
    "NAMES_OF_ENUMS",
    "check_fields",
    "field_name",
    "file_of",
    "snake",
    "written_member",
]

#: Attributes of every enum, which cannot be names of members.
NAMES_OF_ENUMS: Final = frozenset(dir(enum.IntEnum)) | {"mro", "name", "value"}
#: The places in a CamelCase name where a new word begins.
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def field_name(name: str) -> str:
    found = name.replace("-", "_")
    if not NAME.fullmatch(found):
        raise UnfitTypeError(
            f"{name!r} is not a protobuf name", "give it one of ASCII letters, digits and `_`"
        )
    return found


def written_member(name: str) -> str:
    """Return the protobuf name of an enum member: `None_` becomes `None`, which Python does not allow as a name."""
    own = name[:-1]
    return own if name.endswith("_") and (keyword.iskeyword(own) or own in NAMES_OF_ENUMS) else name


def file_of(package: str) -> str:
    """Return the file name of a package: shop/v1.proto for shop.v1."""
    return f"{package.replace('.', '/') or 'services'}.proto"


def snake(name: str) -> str:
    """Return the name of a class as a field name: HTTPOrder becomes http_order."""
    return _WORDS.sub("_", name).lower()


def check_fields(message: ProtoMessage) -> None:
    """Refuse fields with the same or reserved numbers and names.

    Raises:
        FieldError: a number is used twice, a number or name is reserved, or a oneof has the name of a field.
        UnfitTypeError: a name occurs twice.
    """
    numbers: dict[int, str] = {}
    names: dict[str, str] = {}
    for field in message.fields:
        other = numbers.setdefault(field.number, field.name)
        if other is not field.name:
            raise FieldError(
                f"{message.name}: {other!r} and {field.name!r} both have the number {field.number} in protobuf:"
                " give one of them another Field"
            )
        other = names.setdefault(field.json_name, field.name)
        if other is not field.name:
            raise UnfitTypeError(f"{other!r} and {field.name!r} are one name in JSON", "rename one of them")
        _check_reserved(message, field)
    for oneof in message.oneofs:
        if any(field.name == oneof for field in message.fields):
            raise FieldError(
                f"{message.name}: {oneof!r} is the name of a field and of a oneof: rename one of them"
            )


def _check_reserved(message: ProtoMessage, field: ProtoField) -> None:
    declared = message.declared
    if any(field.number in one for one in declared.numbers):
        raise FieldError(f"{message.name}: {field.name!r} has the number {field.number}, which is reserved")
    if field.name in declared.names:
        raise FieldError(f"{message.name}: the name {field.name!r} is reserved")
