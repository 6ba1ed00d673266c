"""`Annotated[int, fastrpc.Field(7, kind="sint64")]`: the number and the type of a field in protobuf."""

from typing import Any, Final

from fastrpc.errors import ConfigError

__all__ = ["FLOAT_KINDS", "HIGHEST_NUMBER", "INTEGER_KINDS", "RESERVED", "Field", "FieldError", "field_in"]

#: https://protobuf.dev/programming-guides/proto3/#assigning
HIGHEST_NUMBER: Final = 536_870_911
#: Numbers that protobuf keeps for itself.
RESERVED: Final = range(19_000, 20_000)

INTEGER_KINDS: Final = (
    *("int32", "uint32", "uint64", "sint32", "sint64"),
    *("fixed32", "fixed64", "sfixed32", "sfixed64"),
)
FLOAT_KINDS: Final = ("float",)


class Field:
    """The number of a field or parameter in protobuf, and its type there: `Annotated[int, Field(7)]`.

    Other wires ignore it. Without it a field has its position as its number, from 1, an int is int64, a float is
    double.

    Args:
        number: from 1 to 536,870,911, without 19,000 to 19,999; each field of a class has another one.
        kind: of an int: int32, uint32, uint64, sint32, sint64, fixed32, fixed64, sfixed32 or sfixed64; of a float:
            float.

    Raises:
        ConfigError: there is no such number or kind, or both are left out.
    """

    __slots__ = ("kind", "number")

    def __init__(self, number: int | None = None, /, *, kind: str | None = None) -> None:
        if number is None and kind is None:
            raise ConfigError("Field() has no effect", hint="give it a number or a kind, or leave it out")
        if number is not None and not _is_number(number):
            raise ConfigError(
                f"the number of Field is {number!r}, it must be from 1 to {HIGHEST_NUMBER:,}, without"
                f" {RESERVED[0]:,} to {RESERVED[-1]:,}"
            )
        if kind is not None and kind not in (*INTEGER_KINDS, *FLOAT_KINDS):
            raise ConfigError(
                f"kind of Field is {kind!r}, it must be one of {', '.join((*INTEGER_KINDS, *FLOAT_KINDS))}"
            )
        self.number: Final = number
        self.kind: Final = kind

    def __repr__(self) -> str:
        number = [] if self.number is None else [repr(self.number)]
        kind = [] if self.kind is None else [f"kind={self.kind!r}"]
        return f"Field({', '.join((*number, *kind))})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Field):
            return NotImplemented
        return (self.number, self.kind) == (other.number, other.kind)

    def __hash__(self) -> int:
        return hash((self.number, self.kind))


class FieldError(TypeError):
    """A `Field` where it cannot be: a number that is there twice, or the kind of another type."""


def field_in(metadata: tuple[Any, ...]) -> Field | None:
    """Return the Field in the metadata of an annotation; of several the last number and kind; None without one."""
    found = [one for one in reversed(metadata) if isinstance(one, Field)]
    if len(found) < 2:
        return found[0] if found else None
    number = next((one.number for one in found if one.number is not None), None)
    return Field(number, kind=next((one.kind for one in found if one.kind is not None), None))


def _is_number(number: Any) -> bool:
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    return is_whole and 1 <= number <= HIGHEST_NUMBER and number not in RESERVED
