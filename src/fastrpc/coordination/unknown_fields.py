"""Find fields of a value that its type does not have, so that a misspelt setting is not taken for its default."""

import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc.types.base import find

__all__ = ["unknown_fields"]

_Object = schema.StructType | schema.DataclassType | schema.TypedDictType
_List = schema.ListType | schema.SetType | schema.FrozenSetType | schema.VarTupleType
_Row = schema.TupleType | schema.NamedTupleType


def unknown_fields(value: bytes, kind: Any) -> list[str]:
    """Return the paths of the fields of a JSON value that its type does not have, such as `$.limits.rat`."""
    return list(_unknown(msgspec.json.decode(value), _type_of(kind), "$"))


@lru_cache(maxsize=256)
def _type_of(kind: Any) -> schema.Type:
    return schema.type_info(kind)


@lru_cache(maxsize=256)
def _keys_of(cls: type[Any]) -> tuple[dict[str, schema.Type], bool] | schema.Type:
    """Return a model's types by key, and whether it accepts other keys. For a root model, return the type of its field.

    The fields of a class that is not a model are unknown.
    """
    known = find(cls) if isinstance(cls, type) else None
    if known is None or known.keys is None or known.fields is None:
        return schema.AnyType()
    keys = known.keys(cls)
    if keys is None:
        return _type_in_model(known.fields(cls)[0].annotation)
    return {key: _type_in_model(kind) for key, kind in keys.types.items()}, keys.takes_others


def _type_in_model(kind: Any) -> schema.Type:
    """Return the type that a model validates, such as a union of models, which msgspec does not decode."""
    try:
        return schema.type_info(kind)
    except Exception:
        origin, inner = get_origin(kind), [_type_in_model(one) for one in get_args(kind)]
        if origin in {Union, types.UnionType}:
            return schema.UnionType(tuple(inner))
        if origin is Annotated:
            return inner[0]
        if origin in {list, set, frozenset}:
            return schema.ListType(inner[0])
        if origin is dict:
            return schema.DictType(inner[0], inner[1])
        return schema.AnyType()


def _unknown(plain: Any, kind: schema.Type, path: str) -> list[str]:
    """Return the fields that the best-fitting union member does not know; [] if no member can have this value."""
    fewest: list[str] = []
    for part in _choices(kind):
        if not _may_be(plain, part):
            continue
        found = list(_unknown_in(plain, part, path))
        if not found:
            return []
        if not fewest or len(found) < len(fewest):
            fewest = found
    return fewest


def _may_be(plain: Any, part: schema.Type) -> bool:
    if isinstance(part, schema.CustomType):
        # The only custom types that are checked are models, which are objects in JSON.
        return isinstance(plain, dict)
    if isinstance(plain, list):
        return isinstance(part, _List | _Row)
    if isinstance(part, schema.StructType) and part.tag is not None and isinstance(plain, dict):
        # A value with another tag belongs to another member of the union.
        return plain.get(part.tag_field or "") == part.tag
    return isinstance(plain, dict) and isinstance(part, _Object | schema.DictType)


def _unknown_in(plain: Any, part: Any, path: str) -> Iterator[str]:
    if isinstance(part, schema.DictType):
        for name, inner in plain.items():
            yield from _unknown(inner, part.value_type, f"{path}[{name!r}]")
    elif isinstance(part, _List):
        for index, inner in enumerate(plain):
            yield from _unknown(inner, part.item_type, f"{path}[{index}]")
    elif isinstance(part, _Row):
        for index, (inner, item) in enumerate(zip(plain, _items_of(part), strict=False)):
            yield from _unknown(inner, item, f"{path}[{index}]")
    elif isinstance(part, schema.CustomType):
        keys = _keys_of(part.cls)
        if isinstance(keys, tuple):
            yield from _unknown_keys(plain, *keys, path)
    else:
        fields = {field.encode_name: field.type for field in part.fields}
        if isinstance(part, schema.StructType) and part.tag_field is not None:
            fields[part.tag_field] = schema.AnyType()
        yield from _unknown_keys(plain, fields, False, path)


def _unknown_keys(
    plain: dict[str, Any], fields: dict[str, schema.Type], takes_others: bool, path: str
) -> Iterator[str]:
    for name, inner in plain.items():
        if name in fields:
            yield from _unknown(inner, fields[name], f"{path}.{name}")
        elif not takes_others:
            yield f"{path}.{name}"


def _items_of(row: schema.TupleType | schema.NamedTupleType) -> tuple[schema.Type, ...]:
    if isinstance(row, schema.TupleType):
        return row.item_types
    return tuple(field.type for field in row.fields)


def _choices(kind: schema.Type) -> Iterator[schema.Type]:
    """Yield a union's members, or the type itself. Several fit one value only if they are tagged objects or models."""
    if isinstance(kind, schema.Metadata):
        yield from _choices(kind.type)
    elif isinstance(kind, schema.UnionType):
        for choice in kind.types:
            yield from _choices(choice)
    elif isinstance(kind, schema.CustomType) and isinstance(root := _keys_of(kind.cls), schema.Type):
        yield from _choices(root)
    else:
        yield kind
