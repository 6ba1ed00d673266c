"""The scan of a method's payloads before they are decoded: it checks nested messages and keys.

Keys of maps and values of sets are checked if a sender can predict the hashes of their type. Other types are safe:
Python seeds the hash of text and bytes, an enum is hashed by its name, and `bool` and literals have few values.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin
from uuid import UUID

from msgspec import inspect as schema

from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.hash_flood import HashFloodGuard, key_decoder
from fastrpc._core.payload.prescan_protobuf import MessageLayout
from fastrpc.codecs.base import Codec
from fastrpc.codecs.protobuf import message_layout
from fastrpc.rpc.schema.conversion import hooks_for, payload_type, written_types
from fastrpc.rpc.schema.type_graph import all_annotations, all_parts
from fastrpc.types.base import find

__all__ = ["colliding_types", "plain_type", "scan_for"]

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
    own = written_types(kinds)
    kinds = [*kinds, *(known.plain_type(kind) for kind in own if (known := payload_type(kind)).plain_type)]
    keys, values = colliding_types(kinds, is_text=codec.name == "json")
    model_keys, model_values = _model_types(own)
    if not (keys or values or model_keys or model_values):
        return PayloadScan(codec.wire_id)
    guard = HashFloodGuard(
        codec.wire_id,
        keys=(*(_decoder(codec, kind) for kind in keys), *(_of_models(codec, kind) for kind in model_keys)),
        values=(
            *(_decoder(codec, kind, is_key=False) for kind in values),
            *(_of_models(codec, kind) for kind in model_values),
        ),
        skips_texts=all(kind is Any for kind in keys) and not model_keys,
    )
    return PayloadScan(codec.wire_id, guard=guard)


def colliding_types(kinds: Sequence[Any], *, is_text: bool) -> tuple[list[Any], list[Any]]:
    """Return the types of map keys and set values whose hashes are predictable.

    Args:
        is_text: True if keys are text, as in JSON. Then keys are numbers only if an annotation says so.
    """
    keys: list[Any] = []
    values: list[Any] = []
    for part in all_parts(kinds):
        if isinstance(part, schema.DictType):
            if not (is_text and _takes_text(part.key_type)):
                _note(keys, part.key_type)
        elif isinstance(part, schema.SetType | schema.FrozenSetType):
            _note(values, part.item_type)
        elif isinstance(part, schema.AnyType | schema.CustomType) and not is_text and Any not in keys:
            # Values of a class that msgspec does not know are first decoded as plain values, which may contain maps.
            keys.append(Any)
    return keys, values


def _decoder(codec: Codec, kind: Any, *, is_key: bool = True) -> Callable[[bytes], Any]:
    hooks = hooks_for(codec.name, kind)
    dec_hook = None if hooks is None else hooks.dec_hook
    return key_decoder(codec.wire_id, kind, is_key=is_key, dec_hook=dec_hook)


def _of_models(codec: Codec, kind: Any) -> Callable[[bytes], Any]:
    """Return a decoder of keys that a pydantic model converts, such as texts to numbers."""
    from fastrpc.types.models import key_converter

    plain, convert = key_decoder(codec.wire_id, Any), key_converter(kind)
    if codec.name == "json":
        return lambda payload: convert(plain(payload))
    return lambda payload: [convert(next(iter(plain(payload))))]


def _model_types(kinds: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the types of map keys and set values in models whose hashes are predictable."""
    keys: list[Any] = []
    values: list[Any] = []
    waiting = [kind for kind in kinds if payload_type(kind).fields is not None]
    seen: set[Any] = set()
    while waiting:
        model = waiting.pop()
        fields = payload_type(model).fields
        if model in seen or fields is None:
            continue
        seen.add(model)
        for kind in all_annotations([field.annotation for field in fields(model)]):
            owner = get_origin(kind) or kind
            if not isinstance(owner, type):
                continue
            if (known := find(owner)) is not None and known.fields is not None:
                waiting.append(owner)
            elif issubclass(owner, Mapping | Set):
                found, key = keys if issubclass(owner, Mapping) else values, (*get_args(kind), Any)[0]
                if key not in found and not _is_seeded_class(key):
                    found.append(key)
    return keys, values


def _protobuf_scan(codec: Codec, kinds: Sequence[Any]) -> PayloadScan | None:
    if not kinds or kinds[0] in {None, NoneType, Any}:
        return None
    # A class with unknown fields is scanned as if all its fields were scalars.
    layout = MessageLayout(message_layout(kinds[0]) or [{}])
    return PayloadScan(codec.wire_id, layout=layout)


def _note(found: list[Any], part: schema.Type) -> None:
    if _can_be_foreseen(part) and (kind := plain_type(part)) not in found:
        found.append(kind)


def _can_be_foreseen(part: Any) -> bool:
    if isinstance(part, schema.UnionType):
        return any(map(_can_be_foreseen, part.types))
    return not isinstance(part, _FEW) and not _is_seeded(part)


def _is_seeded(part: Any) -> bool:
    """Return whether the hash of every value depends on a secret seed."""
    if isinstance(part, schema.TupleType):
        return bool(part.item_types) and all(map(_is_seeded, part.item_types))
    if isinstance(part, schema.CustomType) and part.cls is not object:
        return payload_type(part.cls).is_seeded
    return isinstance(part, _SEEDED)


def _is_seeded_class(kind: Any) -> bool:
    """Return whether the hash of every key of a class in a pydantic model depends on a secret seed."""
    if not isinstance(kind, type):
        return False
    known = find(kind)
    return kind in {str, bytes, bool, NoneType} or (known is not None and known.is_seeded)


def _takes_text(part: Any) -> bool:
    members = part.types if isinstance(part, schema.UnionType) else [part]
    return any(isinstance(member, schema.StrType) or _is_untyped(member) for member in members)


def _is_untyped(part: Any) -> bool:
    return isinstance(part, schema.AnyType) or (isinstance(part, schema.CustomType) and part.cls is object)


def plain_type(part: Any) -> Any:
    """Return a type without constraints that accepts every value that `part` accepts."""
    if type(part) in _PLAIN:
        return _PLAIN[type(part)]
    if isinstance(part, schema.UnionType):
        return reduce(or_, map(plain_type, part.types))
    if isinstance(part, schema.TupleType):
        return tuple.__class_getitem__(tuple(map(plain_type, part.item_types)))
    if isinstance(part, schema.VarTupleType):
        return tuple.__class_getitem__((plain_type(part.item_type), ...))
    if isinstance(part, schema.FrozenSetType):
        return frozenset.__class_getitem__(plain_type(part.item_type))
    if isinstance(part, schema.LiteralType):
        return Literal.__getitem__(tuple(part.values))
    # Objects, named tuples and enums have a `cls`. Lists and maps cannot be keys, so Any stands for them.
    return getattr(part, "cls", Any) if not _is_untyped(part) else Any
