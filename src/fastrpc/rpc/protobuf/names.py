"""Names in a schema of protobuf."""

import re
from typing import Annotated, Any, Final, get_args, get_origin

from fastrpc.rpc.protobuf.annotations import UnfitTypeError
from fastrpc.rpc.protobuf.field import FieldError
from fastrpc.rpc.protobuf.messages import ProtoMessage
from fastrpc.rpc.schema.annotation import type_text

__all__ = ["check_fields", "class_name", "field_name", "snake"]

#: https://protobuf.dev/reference/protobuf/proto3-spec/#identifiers
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_NAMES: Final = re.compile(r"\W+", re.ASCII)
#: Where a word begins within a name in CamelCase.
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def class_name(annotation: Any) -> str:
    """Return the name of a class, with the names of its type arguments, as OpenAPI has it."""
    arguments = [one for one in get_args(annotation) if not isinstance(one, list)]
    owner = get_origin(annotation) or annotation
    if owner is Annotated:
        return class_name(arguments[0])
    if not isinstance(owner, type):
        return _NOT_IN_NAMES.sub("_", type_text(annotation))
    return "_".join((owner.__name__, *map(class_name, arguments)))


def field_name(name: str) -> str:
    found = name.replace("-", "_")
    if not _NAME.fullmatch(found):
        raise UnfitTypeError(f"{name!r} is no name there", "give it one of ASCII letters, digits and `_`")
    return found


def snake(name: str) -> str:
    """Return the name of a class as that of a field: HTTPOrder is http_order."""
    return _WORDS.sub("_", name).lower()


def check_fields(message: ProtoMessage) -> None:
    """Refuse two fields with one number or one name.

    Raises:
        FieldError: a number is there twice.
        UnfitTypeError: a name is.
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
