"""Parse annotations for protobuf: the type inside aliases and metadata, and the settings of `Field`."""

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Final, Union, get_args, get_origin

from fastrpc.rpc.protobuf.field import FLOAT_KINDS, INTEGER_KINDS, Field, FieldError, field_in
from fastrpc.rpc.schema.annotation import DEEPEST, FIELD_MARKS, substitute, type_text, unaliased
from fastrpc.types.floats import Float32

__all__ = [
    "NARROW_FLOAT",
    "UnfitTypeError",
    "marks_of",
    "members_of",
    "opened",
    "refuse_kind",
    "unknown_type",
]

#: The Python type for each message of google.protobuf.
_KNOWN: Final = {
    f"google.protobuf.{name}": wanted
    for name, wanted in {
        "BoolValue": "a bool",
        "BytesValue": "bytes",
        **dict.fromkeys(("DoubleValue", "FloatValue"), "a float"),
        **dict.fromkeys(("Int32Value", "Int64Value", "UInt32Value", "UInt64Value"), "an int"),
        "StringValue": "a str",
        "Any": "an AnyMessage",
        "Duration": "a timedelta",
        "FieldMask": "list[str]",
        "ListValue": "list[Any]",
        "Struct": "dict[str, Any]",
        "Timestamp": "a datetime",
        "Value": "Any",
    }.items()
}

#: The kind of a number that is annotated with Float32. Types other than float ignore it.
NARROW_FLOAT: Final = "Float32"


class UnfitTypeError(Exception):
    """A type that protobuf cannot express.

    Args:
        reason: why protobuf cannot express it.
        hint: the replacement to suggest.
    """

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def opened(annotation: Any, kind: str | None, depth: int) -> tuple[Any, str | None]:
    """Return the type inside aliases and metadata, and the kind of number that the metadata state."""
    for _ in range(DEEPEST):
        origin = get_origin(annotation)
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing.TypeVar):
            annotation = substitute(annotation, {})
        elif (named := unaliased(annotation)) is not annotation:
            annotation = named
        elif origin is Annotated:
            found = field_in(annotation.__metadata__)
            if found is not None and depth and found.is_of_field:
                raise FieldError(
                    f"{found!r} is inside another type: write Annotated[…, {found!r}] around all of it"
                )
            if any(one is Float32 for one in annotation.__metadata__):
                kind = kind or NARROW_FLOAT
            kind = kind if found is None or found.kind is None else found.kind
            annotation = get_args(annotation)[0]
        elif origin in FIELD_MARKS:
            annotation = get_args(annotation)[0]
        else:
            return annotation, kind
    raise UnfitTypeError("it names itself", "make it a class, whose fields may have the class as their type")


def marks_of(annotation: Any) -> Field | None:
    """Return the outermost `Field` with the number, oneof or name of a field; None without a `Field`."""
    found: tuple[Field, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            field = field_in(annotation.__metadata__)
            found = found if field is None else (field, *found)
        elif get_origin(annotation) not in FIELD_MARKS:
            return field_in(found)
        annotation = get_args(annotation)[0]


def members_of(annotation: Any, depth: int) -> Iterator[Any]:
    """Yield the members of a union, including members of nested unions."""
    for one in get_args(annotation):
        inner, kind = opened(one, None, depth + 1)
        if get_origin(inner) in {Union, types.UnionType}:
            yield from members_of(inner, depth + 1)
        else:
            # Keep metadata that state the kind of a number.
            yield one if kind is not None else inner


def refuse_kind(kind: str | None, annotation: Any) -> None:
    if kind is not None and kind != NARROW_FLOAT:
        wanted = "a float" if kind in FLOAT_KINDS else "an int" if kind in INTEGER_KINDS else _KNOWN[kind]
        raise FieldError(f"Field(kind={kind!r}) is for {wanted}, not for {type_text(annotation)}")


def unknown_type(annotation: Any) -> UnfitTypeError:
    return UnfitTypeError(
        f"protobuf has no type for {type_text(annotation)}",
        "make it a dataclass, or bytes or str that you convert",
    )
