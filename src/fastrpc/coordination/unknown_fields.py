"""Fields of a value that its type does not have: a misspelt setting must not count as its default."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect as schema

__all__ = ["unknown_fields"]

_Object = schema.StructType | schema.DataclassType | schema.TypedDictType
_List = schema.ListType | schema.SetType | schema.FrozenSetType | schema.VarTupleType


def unknown_fields(value: bytes, kind: Any) -> list[str]:
    """Return the paths of the fields of a JSON value that its type does not have, such as `$.limits.rat`."""
    return list(_unknown(msgspec.json.decode(value), _type_of(kind), "$"))


@lru_cache(maxsize=256)
def _type_of(kind: Any) -> schema.Type:
    return schema.type_info(kind)


def _unknown(plain: Any, kind: schema.Type, path: str) -> Iterator[str]:
    for part in _choices(kind):
        if isinstance(plain, dict) and isinstance(part, _Object):
            yield from _unknown_in_object(plain, part, path)
        elif isinstance(plain, dict) and isinstance(part, schema.DictType):
            for name, inner in plain.items():
                yield from _unknown(inner, part.value_type, f"{path}[{name!r}]")
        elif isinstance(plain, list) and isinstance(part, _List):
            for index, inner in enumerate(plain):
                yield from _unknown(inner, part.item_type, f"{path}[{index}]")
        elif isinstance(plain, list) and isinstance(part, schema.TupleType):
            for index, (inner, item) in enumerate(zip(plain, part.item_types, strict=False)):
                yield from _unknown(inner, item, f"{path}[{index}]")


def _unknown_in_object(plain: dict[str, Any], part: Any, path: str) -> Iterator[str]:
    if isinstance(part, schema.StructType) and part.tag is not None:
        if plain.get(part.tag_field or "") != part.tag:
            # Another member of a union.
            return
        plain = {name: inner for name, inner in plain.items() if name != part.tag_field}
    fields = {field.encode_name: field.type for field in part.fields}
    for name, inner in plain.items():
        if name in fields:
            yield from _unknown(inner, fields[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"


def _choices(kind: schema.Type) -> Iterator[schema.Type]:
    """Yield the members of a union; of those that are no tagged objects, at most one fits a value."""
    if isinstance(kind, schema.Metadata):
        yield from _choices(kind.type)
    elif isinstance(kind, schema.UnionType):
        for choice in kind.types:
            yield from _choices(choice)
    else:
        yield kind
