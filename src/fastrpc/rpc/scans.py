"""The scan of a method's payloads before they are decoded: the messages and keys they may hold.

Keys of maps and values of sets are checked if a sender can predict the hashes of their type. Python seeds the hash of
text and bytes, an enum is hashed by its name, and `bool` and literals have few values.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any, Final, Literal
from uuid import UUID

from msgspec import inspect as schema

from fastrpc._core.payload.hash_flood import HashFloodGuard, key_decoder
from fastrpc._core.payload.payload_scan import PayloadScan
from fastrpc._core.payload.prescan_protobuf import MessageLayout
from fastrpc.codecs.base import Codec
from fastrpc.codecs.protobuf import message_layout
from fastrpc.rpc.type_graph import all_parts

__all__ = ["colliding_types", "scan_for"]

_SEEDED: Final = (schema.StrType, schema.BytesType, schema.ByteArrayType, schema.MemoryViewType)
_FEW: Final = (schema.EnumType, schema.BoolType, schema.NoneType, schema.LiteralType)

_PLAIN: Final[dict[type[Any], Any]] = {
    schema.IntType: int,
    schema.FloatType: float,
    schema.StrType: str,
    schema.BytesType: bytes,
    schema.ByteArrayType: bytes,
    schema.MemoryViewType: bytes,
    schema.BoolType: bool,
    schema.NoneType: None,
    schema.DateType: date,
    schema.TimeType: time,
    schema.DateTimeType: datetime,
    schema.TimeDeltaType: timedelta,
    schema.DecimalType: Decimal,
    schema.UUIDType: UUID,
}


def scan_for(codec: Codec, kinds: Sequence[Any]) -> PayloadScan | None:
    """Return the scan of payloads with values of these types; None if the codec's payloads cannot be scanned."""
    if codec.name == "protobuf":
        return _protobuf_scan(codec, kinds)
    if codec.name not in {"msgpack", "json"}:
        return None
    keys, values = colliding_types(kinds, is_text=codec.name == "json")
    if not keys and not values:
        return PayloadScan(codec.wire_id)
    guard = HashFloodGuard(
        codec.wire_id,
        keys=tuple(key_decoder(codec.wire_id, kind) for kind in keys),
        values=tuple(key_decoder(codec.wire_id, kind, is_key=False) for kind in values),
        skips_texts=all(kind is Any for kind in keys),
    )
    return PayloadScan(codec.wire_id, guard=guard)


def colliding_types(kinds: Sequence[Any], *, is_text: bool) -> tuple[list[Any], list[Any]]:
    """Return the types of map keys and set values whose hashes are predictable.

    Args:
        is_text: keys are text, as in JSON: they are numbers only where an annotation says so.
    """
    keys: list[Any] = []
    values: list[Any] = []
    for part in all_parts(kinds):
        if isinstance(part, schema.DictType):
            if not (is_text and _takes_text(part.key_type)):
                _note(keys, part.key_type)
        elif isinstance(part, schema.SetType | schema.FrozenSetType):
            _note(values, part.item_type)
        elif _is_untyped(part) and not is_text:
            _note(keys, part)
    return keys, values


def _protobuf_scan(codec: Codec, kinds: Sequence[Any]) -> PayloadScan | None:
    if not kinds or kinds[0] in {None, NoneType, Any}:
        return None
    # A class with unknown fields is scanned as one of scalars: its own fields count.
    layout = MessageLayout(message_layout(kinds[0]) or [{}])
    return PayloadScan(codec.wire_id, layout=layout)


def _note(found: list[Any], part: schema.Type) -> None:
    if _can_be_foreseen(part) and (kind := _type_of(part)) not in found:
        found.append(kind)


def _can_be_foreseen(part: Any) -> bool:
    if isinstance(part, schema.UnionType):
        return any(map(_can_be_foreseen, part.types))
    return not isinstance(part, _FEW) and not _is_seeded(part)


def _is_seeded(part: Any) -> bool:
    """Return whether the hash of each value depends on a secret."""
    if isinstance(part, schema.TupleType):
        return bool(part.item_types) and all(map(_is_seeded, part.item_types))
    return isinstance(part, _SEEDED)


def _takes_text(part: Any) -> bool:
    members = part.types if isinstance(part, schema.UnionType) else [part]
    return any(isinstance(member, schema.StrType) or _is_untyped(member) for member in members)


def _is_untyped(part: Any) -> bool:
    return isinstance(part, schema.AnyType) or (isinstance(part, schema.CustomType) and part.cls is object)


def _type_of(part: Any) -> Any:
    """Return a type that decodes whatever `part` decodes: without its constraints."""
    if type(part) in _PLAIN:
        return _PLAIN[type(part)]
    if isinstance(part, schema.UnionType):
        return reduce(or_, map(_type_of, part.types))
    if isinstance(part, schema.TupleType):
        return tuple.__class_getitem__(tuple(map(_type_of, part.item_types)))
    if isinstance(part, schema.VarTupleType):
        return tuple.__class_getitem__((_type_of(part.item_type), ...))
    if isinstance(part, schema.FrozenSetType):
        return frozenset.__class_getitem__(_type_of(part.item_type))
    if isinstance(part, schema.LiteralType):
        return Literal.__getitem__(tuple(part.values))
    # Objects, named tuples and enums; lists and maps are no keys and match nothing.
    return getattr(part, "cls", Any) if not _is_untyped(part) else Any
