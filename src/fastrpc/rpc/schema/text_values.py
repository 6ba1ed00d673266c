"""Values of parameters as text in a URL: `?id=7&at=2026-01-31&color=red`.

If the type is `str`, the text is the value itself. If the JSON of every value is a text (UUIDs, dates and times,
decimals, enums of texts, bytes in base64, paths), the quotes may be omitted. If some values are texts, as in a union,
the text is first parsed as JSON. Every other value is written as JSON: a number looks as usual.
"""

import contextlib
import types
from collections.abc import Callable
from enum import Enum, Flag
from typing import Annotated, Any, Final, NewType, Union, get_args, get_origin

import msgspec

from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.schema.json_schema import JsonSchema, SchemaSet
from fastrpc.rpc.schema.wide_integers import wide_integer_decoder

__all__ = ["TextForm", "TextValue", "has_plain_texts", "is_part_of_path", "without_none"]

#: The most nested unions and references that are followed in a schema, because references may form a cycle.
_DEEPEST: Final = 20

#: The words for values of JSON types in error texts.
_WORDS: Final = {
    frozenset({"boolean"}): "true or false",
    frozenset({"integer"}): "a whole number",
    frozenset({"number"}): "a number",
}

#: Types that need decoding before they are encoded in msgpack: bytes, floats that may be written as integers of any
#: size, and integers that may be written as text.
_OTHER_IN_MSGPACK: Final = (bytes, bytearray, memoryview, float, int)

#: The errors of a decoder for an invalid text.
_UNFIT: Final = (ValueError, TypeError, RecursionError)

#: Types of JSON values without parts.
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean", "null"})


class TextForm(Enum):
    """How the values of a type are written as text."""

    #: The text is the value.
    AS_IS = "as it is"
    #: The text is the value, with or without the quotes of JSON.
    TEXT = "text"
    #: JSON if it can be parsed, else a text.
    EITHER = "either"
    #: JSON.
    JSON = "JSON"


class TextValue:
    """Converts texts to the JSON of values of a type.

    Args:
        kind: the type. None is written `null`, except in `str | None`, where every text is a `str`.
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        schemas = SchemaSet()
        plain = without_none(kind)
        found = frozenset(_types(_described(kind, schemas), schemas))
        self._form = TextForm.AS_IS if plain is str else _form(found)
        self._may_be_none = plain is not _unwrapped(kind)
        self._choices = _choices(plain)
        self._is_other_in_msgpack = _unwrapped(plain) in _OTHER_IN_MSGPACK
        self._words = _WORDS.get(found - {"null"}, "JSON")
        self._decode: Callable[[bytes], Any] | None = None

    @property
    def form(self) -> TextForm:
        return self._form

    def json(self, text: str) -> bytes:
        """Return the JSON of the value that a text represents.

        Raises:
            ValueError: the text is invalid; the message says which forms the type accepts. Only JSON syntax, booleans,
                enums, and texts with a space (which may be a mistaken plus) are checked here. Other values are checked
                when they are decoded.
        """
        raw = self._json(text)
        if self._choices and not self._is_choice(raw):
            raise ValueError(f"is not one of {', '.join(self._choices.values())}")
        if " " in text and self._form is TextForm.TEXT and not self._choices and not self._fits(raw):
            raise ValueError("is invalid; + stands for a space, write a plus as %2B")
        return raw

    def msgpack(self, text: str) -> bytes:
        """Return the value in msgpack, where bytes are not in base64. Raises the errors of `json`.

        An invalid text remains a text, which is refused when the arguments are decoded.
        """
        raw = self.json(text)
        value = msgspec.json.decode(raw)
        if self._is_other_in_msgpack:
            # Decode only types of `_OTHER_IN_MSGPACK`: no decoder of the program may run before the payload is checked.
            with contextlib.suppress(*_UNFIT):
                value = self._decoder()(raw)
        try:
            return msgspec.msgpack.encode(value)
        except OverflowError:
            raise ValueError("does not fit: msgpack has no integer so large; send application/json") from None

    def _json(self, text: str) -> bytes:
        if self._form is TextForm.AS_IS:
            return msgspec.json.encode(text)
        raw = text.encode()
        # Check the text alone: if it contained several values, it would change the meaning of the whole body.
        if not _is_json(raw):
            if self._form is TextForm.JSON and not self._choices:
                raise ValueError(f"must be written as {self._words}")
            return msgspec.json.encode(text)
        if self._words == "true or false" and not self._fits(raw):
            raise ValueError(f"must be written as {self._words}")
        if self._form is TextForm.TEXT:
            is_quoted = raw[:1] == b'"' or (self._may_be_none and raw == b"null")
            return raw if is_quoted else msgspec.json.encode(text)
        if self._form is TextForm.EITHER and not self._fits(raw):
            return msgspec.json.encode(text)
        return raw

    def _is_choice(self, raw: bytes) -> bool:
        value = msgspec.json.decode(raw)
        return (value is None and self._may_be_none) or (
            isinstance(value, str | int | float) and value in self._choices
        )

    def _fits(self, raw: bytes) -> bool:
        try:
            self._decoder()(raw)
        except _UNFIT:
            return False
        return True

    def _decoder(self) -> Callable[[bytes], Any]:
        """Return the JSON decoder of the type, created on first use."""
        if self._decode is None:
            hooks = hooks_for("json", self._kind)
            dec_hook = None if hooks is None else hooks.dec_hook
            decode = msgspec.json.Decoder(self._kind, dec_hook=dec_hook).decode
            self._decode = wide_integer_decoder(decode, self._kind)
        return self._decode


def has_plain_texts(described: JsonSchema, schemas: SchemaSet) -> bool:
    """Return whether every value of a schema is a scalar: text, number, boolean or null."""
    return all(one in _SCALARS for one in _types(described, schemas))


def is_part_of_path(described: JsonSchema, schemas: SchemaSet) -> bool:
    """Return whether every value of a schema is a scalar other than null, so that it can be part of a path."""
    return all(one in _SCALARS and one != "null" for one in _types(described, schemas))


def without_none(kind: Any) -> Any:
    """Return a type without its metadata, and without None."""
    kind = _unwrapped(kind)
    if get_origin(kind) in {Union, types.UnionType}:
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) == 1:
            return without_none(members[0])
    return kind


def _unwrapped(kind: Any) -> Any:
    """Return the type inside metadata and each NewType."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        else:
            return kind


def _described(kind: Any, schemas: SchemaSet) -> JsonSchema:
    try:
        return schemas.schema_of(kind)
    except TypeError:  # its values do not travel as JSON
        return {}


def _choices(kind: Any) -> dict[Any, str]:
    """Return the values of an enum for error texts; empty for other types, and for enums that accept further values."""
    if not isinstance(kind, type) or not issubclass(kind, Enum) or issubclass(kind, Flag):
        return {}
    if getattr(kind._missing_, "__func__", None) is not Enum._missing_.__func__:  # type: ignore[attr-defined]
        return {}
    if not all(isinstance(member.value, str | int) for member in kind):
        return {}
    return {
        member.value: member.value if isinstance(member.value, str) else f"{member.value} ({member.name})"
        for member in kind
    }


def _form(found: frozenset[str]) -> TextForm:
    if "string" not in found:
        return TextForm.JSON
    return TextForm.TEXT if found <= {"string", "null"} else TextForm.EITHER


def _types(described: JsonSchema, schemas: SchemaSet, depth: int = 0) -> list[str]:
    """Return the JSON types of a schema's values; "any" if it does not state them."""
    if depth == _DEEPEST:
        return ["any"]
    reference = described.get("$ref")
    if reference is not None:
        return _types(schemas.component(reference), schemas, depth + 1)
    if "anyOf" in described:
        return [kind for one in described["anyOf"] for kind in _types(one, schemas, depth + 1)]
    if "type" in described:
        return [described["type"]] if isinstance(described["type"], str) else list(described["type"])
    values = described.get("enum", [described["const"]] if "const" in described else None)
    return ["any"] if values is None else [_type_of(value) for value in values]


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True
