"""Decode protobuf's JSON form of messages: names in camelCase or unchanged, integers as text or numbers, enum names.

::

    JSON ─► plain values ─► bytes of the message ─► plain values, checked

The detour over bytes gives JSON the rules of the message: for example, an int32 is limited to 32 bits, and a missing
field means its default.

https://protobuf.dev/programming-guides/json/
"""

import base64
import binascii
import math
import re
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.double_keys import find_double_key
from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.assigned_numbers import CODECS
from fastrpc.errors import CallError, DecodeError, EncodeError
from fastrpc.rpc.protobuf.messages import ANY, ProtoEnum, ProtoField, ProtoMessage, packed
from fastrpc.rpc.protobuf.packages import EnumNames
from fastrpc.status import Status

__all__ = ["JsonDecoder"]

_INTEGERS: Final = frozenset(
    {"int64", "uint64", "sint64", "fixed64", "sfixed64", "int32", "uint32", "sint32", "fixed32", "sfixed32"}
)
_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_DURATION: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")
_WHOLE: Final = re.compile(r"-?\d{1,20}")
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_CAPITAL: Final = re.compile("[A-Z]")
_JSON: Final = CODECS["json"]


class JsonDecoder:
    """Converts the JSON of a message to its plain value in msgpack.

    Args:
        message: the message.
        names: the names of the values of enums.
        depth: the deepest nesting of containers.
        items: the most values in all containers.
        in_row: True if the plain value is an array that contains the message's value.
    """

    def __init__(
        self, message: ProtoMessage, names: EnumNames, *, depth: int, items: int, in_row: bool = False
    ) -> None:
        self._message = message
        self._names = names
        self._depth = depth
        self._items = items
        self._scan = PayloadScan(_JSON)
        table = message.compiled()
        self._write = MessageEncoder(table, packed)
        self._read = MessageDecoder(table, depth=depth, items=items, in_row=in_row)

    def __call__(self, payload: bytes | bytearray | memoryview) -> bytes:
        """Return the plain value.

        Raises:
            DecodeError: the payload does not match the message; the text names the field.
            CallError: the payload has too many values.
        """
        self._check(payload)
        try:
            value = msgspec.json.decode(payload)
        except msgspec.DecodeError as error:
            raise DecodeError(str(error)) from None
        try:
            return self._read(self._write(_message_in(self._message, value, self._names)))
        except EncodeError as error:
            raise DecodeError(error.message) from None
        except _MisfitError as error:
            raise DecodeError(f"{self._message.name}: {error}") from None

    def _check(self, payload: bytes | bytearray | memoryview) -> None:
        found, _ = self._scan.scan(payload, max_depth=self._depth, max_items=self._items)
        if found == "too deep":
            raise DecodeError(f"nested deeper than {self._depth} levels (Limits.depth)")
        if found == "too many items":
            raise CallError(
                Status.RESOURCE_EXHAUSTED, f"more than {self._items} items (Memory.items)", processed="no"
            )
        if found == "ok" and (name := find_double_key(_JSON, bytes(payload))) is not None:
            raise DecodeError(f"{name!r:.100} comes twice in one object")


def _message_in(message: ProtoMessage, value: Any, names: EnumNames) -> Any:
    """Return the plain value of a message."""
    match message.form:
        case "any":
            return value
        case "timestamp":
            return _instant_in(value)
        case "duration":
            return _duration_in(value)
    if message.is_bare:
        (only,) = message.fields
        return _mask_in(value) if only.name == "paths" else _field_in(message, only, value, names)
    if message is ANY:
        raise _MisfitError("the JSON of google.protobuf.Any needs the type in it, which is unknown here")
    if not isinstance(value, dict):
        raise DecodeError(f"expected an object as {message.name}, got {_kind_of(value)}")
    if message.form == "nothing":
        return None
    known = {name: field for field in message.fields for name in (field.name, field.json_name)}
    found: dict[ProtoField, Any] = {}
    for name, item in value.items():
        field = known.get(name)
        if field is None or (item is None and not field.is_any):
            continue
        if field in found:
            raise DecodeError(f"{message.name}.{field.name}: comes twice, by both of its names")
        found[field] = _field_in(message, field, item, names)
        if found[field] is None and field.enum is not None:
            # The enum's number is 0, which means that the field is missing.
            del found[field]
    return _assembled(message, found)


def _assembled(message: ProtoMessage, found: dict[ProtoField, Any]) -> Any:
    """Return the plain value of a message from the values of its fields."""
    if message.form == "union":
        if len(found) > 1:
            names = " and ".join(field.name for field in found)
            raise DecodeError(f"only one field of {message.name} may be given, not {names}")
        return next(iter(found.values()), None)
    if message.form == "value":
        field = message.fields[0]
        return found[field] if field in found else _absent(field)
    if message.form == "row":
        row = [found[field] if field in found else _absent(field) for field in message.fields]
        return [*([msgspec.Raw(message.head)] if message.head else []), *row]
    return message.tag | {field.plain_key: item for field, item in found.items()}


def _absent(field: ProtoField) -> Any:
    zero = field.absent or field.zero()
    return None if zero is None else msgspec.Raw(zero)


def _field_in(message: ProtoMessage, field: ProtoField, value: Any, names: EnumNames) -> Any:
    try:
        if field.shape == "repeated":
            return [_single_in(field, item, names) for item in _expected(value, list, "a list")]
        if field.shape == "map" and field.message is not None:
            key, inner = field.message.fields
            return {
                _key_in(key, name): _single_in(inner, item, names)
                for name, item in _expected(value, dict, "an object").items()
            }
        return _single_in(field, value, names)
    except _MisfitError as error:
        raise DecodeError(f"{message.name}.{field.name}: {error}") from None


class _MisfitError(Exception):
    """A value does not match its field."""


def _expected(value: Any, kind: type[Any], name: str) -> Any:
    if not isinstance(value, kind):
        raise _MisfitError(f"expected {name}, got {_kind_of(value)}")
    return value


def _single_in(field: ProtoField, value: Any, names: EnumNames) -> Any:
    if field.message is not None:
        return _message_in(field.message, value, names)
    if field.enum is not None:
        return _enum_in(field.enum, value, names)
    if field.kind in _INTEGERS:
        return _integer_in(value)
    if field.kind in {"double", "float"}:
        return _float_in(value)
    if field.kind == "bytes":
        return _bytes_in(value)
    return _expected(value, bool, "a bool") if field.kind == "bool" else _expected(value, str, "a text")


def _key_in(field: ProtoField, text: str) -> Any:
    if field.kind == "bool":
        if text not in {"true", "false"}:
            raise _MisfitError(f"expected the key true or false, got {text!r:.50}")
        return text == "true"
    return text if field.kind == "string" else _integer_in(text)


def _integer_in(value: Any) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 64:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MisfitError(f"expected an integer, got {_kind_of(value)}")
    return value


def _float_in(value: Any) -> float:
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or value != value.strip() or "_" in value:
            raise _MisfitError(f"expected a number, got the text {value!r:.50}")
        return found
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _MisfitError(f"expected a number, got {_kind_of(value)}")
    return float(value)


def _bytes_in(value: Any) -> bytes:
    text = _expected(value, str, "base64")
    # Accept the standard and the URL-safe alphabet, with or without padding.
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _MisfitError("expected base64") from None


def _enum_in(enum: ProtoEnum, value: Any, names: EnumNames) -> Any:
    number = names.of(enum)[0].get(value) if isinstance(value, str) else _integer_in(value)
    for member in enum.members:
        if member.number == number:
            return member.value
    if number is not None and enum.by_value:
        return number
    if number == 0:
        return None
    raise _MisfitError(f"{value!r:.100} is not a member of {enum.cls.__name__}")


def _mask_in(value: Any) -> list[str]:
    text = _expected(value, str, "a text such as user.name,size")
    return [_CAPITAL.sub(lambda found: f"_{found[0].lower()}", path) for path in text.split(",") if path]


def _instant_in(value: Any) -> Any:
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _MisfitError("expected a time such as 2026-01-31T12:00:00Z")
    whole, part, zone = found.groups()
    try:
        # Python's datetime has only microseconds, so drop further digits.
        return datetime.fromisoformat(
            f"{whole}.{(part or '').ljust(6, '0')[:6]}{zone.replace('Z', '+00:00')}"
        )
    except ValueError as error:
        raise _MisfitError(str(error)) from None


def _duration_in(value: Any) -> timedelta:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _MisfitError("expected a duration such as 1.5s")
    sign, seconds, part = found.groups()
    length = timedelta(seconds=int(seconds), microseconds=int((part or "").ljust(6, "0")[:6]))
    return -length if sign else length


def _kind_of(value: Any) -> str:
    names = {type(None): "null", bool: "a bool", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
