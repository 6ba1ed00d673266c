"""Encode values as protobuf's JSON form of messages: names in camelCase, 64-bit integers as text, enum names.

::

    values ─► bytes of the message ─► plain values ─► JSON

The detour over bytes gives JSON the rules of the message: for example, a zero that the message omits is omitted in
JSON.

https://protobuf.dev/programming-guides/json/
"""

import base64
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.errors import EncodeError
from fastrpc.rpc.protobuf.messages import ANY, ProtoField, ProtoMessage, packed
from fastrpc.rpc.protobuf.packages import EnumNames
from fastrpc.rpc.schema.finite_numbers import has_other_number
from fastrpc.types.floats import shortest_float

__all__ = ["JsonEncoder"]

#: Kinds of integers that JavaScript numbers cannot express.
_WIDE: Final = frozenset({"int64", "uint64", "sint64", "fixed64", "sfixed64"})
_FLOATS: Final = frozenset({"double", "float"})
_LARGEST_FLOAT: Final = float.fromhex("0x1.fffffep+127")

#: _PATH: a path of a field mask. _WORD: the start of a word in a path.
_PATH: Final = re.compile(r"([a-z0-9.]|_[a-z])*")
_WORD: Final = re.compile("_([a-z])")

_unpacked: Final = msgspec.msgpack.Decoder().decode


class JsonEncoder:
    """Converts values to the JSON of a message.

    Args:
        message: the message.
        names: the names of the values of enums.
        encode: converts a value to its plain value, encoded in msgpack.
        in_row: the plain value is an array that holds the message's value.
    """

    def __init__(
        self,
        message: ProtoMessage,
        names: EnumNames,
        encode: Callable[[Any], bytes],
        *,
        in_row: bool = False,
    ) -> None:
        self._message = message
        self._names = names
        table = message.compiled()
        self._write = MessageEncoder(table, encode, in_row=in_row)
        # Read without limits, because this program made the values.
        self._read = MessageDecoder(table, depth=1 << 30, items=1 << 40)

    def __call__(self, value: Any) -> bytes:
        """Return the JSON of the message.

        Raises:
            EncodeError: the value does not match the schema (the text names the field), or JSON cannot express a
                number.
        """
        plain = _unpacked(self._read(self._write(value)))
        return msgspec.json.encode(_message_out(self._message, plain, self._names))


def _message_out(message: ProtoMessage, plain: Any, names: EnumNames) -> Any:
    """Return the JSON form of a message, given the plain value that was decoded from its bytes."""
    match message.form:
        case "any":
            if has_other_number(plain):
                raise EncodeError("NaN and infinity are not numbers of JSON")
            return plain
        case "timestamp":
            return _instant_out(plain)
        case "duration":
            return _duration_out(plain)
        case "nothing":
            return {}
        case "value" if message.is_bare:
            field = message.fields[0]
            return _mask_out(plain) if field.name == "paths" else _field_out(field, plain, names)
        case "value":
            return _fields_out([(message.fields[0], plain)], names)
        case "union":
            return {} if plain is None else _member_out(message, plain, names)
        case "row" if message is ANY:
            raise EncodeError("the JSON of google.protobuf.Any needs the type in it, which is unknown here")
        case "row":
            values = plain[1:] if message.head else plain
            return _fields_out(list(zip(message.fields, values, strict=False)), names)
    if isinstance(plain, list):
        return _fields_out(list(zip(message.fields, plain, strict=False)), names)
    given = [(field, plain[field.plain_key]) for field in message.fields if field.plain_key in plain]
    return _fields_out(given, names)


def _member_out(message: ProtoMessage, plain: Any, names: EnumNames) -> Any:
    for field in message.fields:
        inner = field.message
        if inner is None:
            continue
        is_row = isinstance(plain, list)
        if packed(plain[0]) == inner.head if is_row else inner.tag.items() <= plain.items():
            return {field.json_name: _message_out(inner, plain, names)}
    return {}


def _fields_out(given: list[tuple[ProtoField, Any]], names: EnumNames) -> dict[str, Any]:
    found = {}
    for field, value in given:
        if value is None and not (field.is_any and not field.takes_none):
            continue
        if not field.has_presence and field.zero() is not None and packed(value) == field.zero():
            continue
        found[field.json_name] = _field_out(field, value, names)
    return found


def _field_out(field: ProtoField, value: Any, names: EnumNames) -> Any:
    if field.shape == "repeated":
        return [_single_out(field, item, names) for item in value]
    if field.shape == "map" and field.message is not None:
        inner = field.message.fields[1]
        return {_key_out(name): _single_out(inner, item, names) for name, item in value.items()}
    return _single_out(field, value, names)


def _key_out(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _single_out(field: ProtoField, value: Any, names: EnumNames) -> Any:
    if field.message is not None:
        return _message_out(field.message, value, names)
    if field.enum is not None:
        number = next((one.number for one in field.enum.members if one.value == value), value)
        return names.of(field.enum)[1].get(number, number)
    if field.kind in _WIDE:
        return str(value)
    if field.kind in _FLOATS:
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return _narrow_out(value) if field.kind == "float" else value
    return base64.b64encode(value).decode() if field.kind == "bytes" else value


def _narrow_out(value: float) -> float:
    found = shortest_float(value)
    # The shortest text of the largest float is greater than the float itself, and protobuf's parser for Python would
    # refuse it.
    return found if abs(found) <= _LARGEST_FLOAT else value


def _mask_out(paths: list[str]) -> str:
    for path in paths:
        if not _PATH.fullmatch(path):
            raise EncodeError(f"{path!r:.100} in a google.protobuf.FieldMask has no form in JSON")
    return ",".join(_WORD.sub(lambda found: found[1].upper(), path) for path in paths)


def _instant_out(value: datetime) -> str:
    text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}{_fraction(value.microsecond)}Z"


def _duration_out(plain: str) -> str:
    value = msgspec.convert(plain, timedelta)
    length = abs(value)
    sign = "-" if value < timedelta(0) else ""
    return f"{sign}{length.days * 86_400 + length.seconds}{_fraction(length.microseconds)}s"


def _fraction(microseconds: int) -> str:
    """Return a decimal point with three or six digits; "" for a whole second."""
    if not microseconds:
        return ""
    return f".{microseconds // 1000:03}" if microseconds % 1000 == 0 else f".{microseconds:06}"
