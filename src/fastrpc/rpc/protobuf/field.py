"""`Annotated[int, fastrpc.Field(7, kind="sint64")]`: the number, type, oneof and name of a field in protobuf."""

import re
from typing import Any, Final

from fastrpc.errors import ConfigError

__all__ = [
    "FLOAT_KINDS",
    "HIGHEST_NUMBER",
    "INTEGER_KINDS",
    "KNOWN_KINDS",
    "NAME",
    "RESERVED",
    "Field",
    "FieldError",
    "field_in",
]

#: The highest number of a field: https://protobuf.dev/programming-guides/proto3/#assigning
HIGHEST_NUMBER: Final = 536_870_911
#: Numbers that protobuf reserves.
RESERVED: Final = range(19_000, 20_000)
#: The form of an identifier: https://protobuf.dev/reference/protobuf/proto3-spec/#identifiers
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

INTEGER_KINDS: Final = (
    *("int32", "uint32", "uint64", "sint32", "sint64"),
    *("fixed32", "fixed64", "sfixed32", "sfixed64"),
)
FLOAT_KINDS: Final = ("float",)
#: Messages of google.protobuf that correspond to a Python type:
#: https://protobuf.dev/reference/protobuf/google.protobuf/
KNOWN_KINDS: Final = tuple(
    f"google.protobuf.{name}"
    for name in (
        *("BoolValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "StringValue"),
        *("UInt32Value", "UInt64Value", "Any", "Duration", "FieldMask", "ListValue", "Struct", "Timestamp"),
        "Value",
    )
)
_KINDS: Final = (*INTEGER_KINDS, *FLOAT_KINDS)


class Field:
    """The number, type, oneof and name of a field or parameter in protobuf: `Annotated[int, Field(7)]`.

    Other protocols ignore it. Without `Field`, a field's number is its position from 1, an int is int64, and a float is
    double.

    Args:
        number: from 1 to 536,870,911, without 19,000 to 19,999; unique among the fields of a class.
        kind: of an int: int32, uint32, uint64, sint32, sint64, fixed32, fixed64, sfixed32 or sfixed64; of a float:
            float; of other types a message such as google.protobuf.StringValue, Struct, ListValue or FieldMask.
        oneof: the oneof of the field, whose type must be `T | None`. At most one field of a oneof is set.
        name: the name in protobuf, if it differs from the name in Python, such as the keyword `from`.

    Raises:
        ConfigError: a number, kind or name is invalid, or none is given.
    """

    __slots__ = ("kind", "name", "number", "oneof")

    def __init__(
        self,
        number: int | None = None,
        /,
        *,
        kind: str | None = None,
        oneof: str | None = None,
        name: str | None = None,
    ) -> None:
        if all(one is None for one in (number, kind, oneof, name)):
            raise ConfigError("Field() has no effect", hint="give it a number or a kind, or leave it out")
        if number is not None and not _is_number(number):
            raise ConfigError(
                f"the number of Field is {number!r}, it must be from 1 to {HIGHEST_NUMBER:,}, without"
                f" {RESERVED[0]:,} to {RESERVED[-1]:,}"
            )
        if kind is not None and kind not in (*_KINDS, *KNOWN_KINDS):
            raise ConfigError(
                f"kind of Field is {kind!r}, it must be one of {', '.join((*_KINDS, *KNOWN_KINDS))}"
            )
        for option, value in (("oneof", oneof), ("name", name)):
            if value is not None and not (isinstance(value, str) and NAME.fullmatch(value)):
                raise ConfigError(
                    f"{option} of Field is {value!r}, it must be of ASCII letters, digits and `_`"
                )
        self.number: Final = number
        self.kind: Final = kind
        self.oneof: Final = oneof
        self.name: Final = name

    @property
    def is_of_field(self) -> bool:
        """True if it describes a whole field, not only a type inside the field."""
        return any(one is not None for one in (self.number, self.oneof, self.name))

    def __repr__(self) -> str:
        number = [] if self.number is None else [repr(self.number)]
        named = [
            f"{option}={value!r}"
            for option in ("kind", "oneof", "name")
            if (value := getattr(self, option)) is not None
        ]
        return f"Field({', '.join((*number, *named))})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Field):
            return NotImplemented
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class FieldError(TypeError):
    """An invalid `Field`, such as a repeated number, or a kind that the type cannot have."""


def field_in(metadata: tuple[Any, ...]) -> Field | None:
    """Return the Field in the metadata of an annotation; None if it has none.

    If there are several, the last given value of each setting is used.
    """
    found = [one for one in reversed(metadata) if isinstance(one, Field)]
    if len(found) < 2:
        return found[0] if found else None
    return Field(
        next((one.number for one in found if one.number is not None), None),
        kind=next((one.kind for one in found if one.kind is not None), None),
        oneof=next((one.oneof for one in found if one.oneof is not None), None),
        name=next((one.name for one in found if one.name is not None), None),
    )


def _is_number(number: Any) -> bool:
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    return is_whole and 1 <= number <= HIGHEST_NUMBER and number not in RESERVED
