"""The graph of types in payloads, as msgspec inspects them; types may refer to themselves."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import inspect as schema

__all__ = ["all_parts", "parts_of"]


def parts_of(part: Any) -> list[schema.Type]:
    """Return the element types of a type; of a union, its members."""
    if isinstance(part, schema.UnionType):
        return list(part.types)
    if isinstance(part, schema.TupleType):
        return list(part.item_types)
    if isinstance(part, schema.DictType):
        return [part.key_type, part.value_type]
    if isinstance(part, schema.ListType | schema.VarTupleType | schema.SetType | schema.FrozenSetType):
        return [part.item_type]
    return [field.type for field in getattr(part, "fields", ())]


def all_parts(kinds: Sequence[Any]) -> Iterator[schema.Type]:
    """Yield the types of these annotations and all that they hold, each once."""
    # The objects are kept as long as their ids.
    waiting = list(schema.multi_type_info(kinds))
    roots = list(waiting)
    seen = {id(root) for root in roots}
    while waiting:
        part = waiting.pop()
        yield part
        for inner in parts_of(part):
            if id(inner) not in seen:
                seen.add(id(inner))
                roots.append(inner)
                waiting.append(inner)
