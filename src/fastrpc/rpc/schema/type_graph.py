"""The graph of types in payloads, both msgspec's types and annotations. Types may refer to themselves."""

from collections import abc
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin

from msgspec import inspect as schema

from fastrpc.rpc.schema.annotation import DEEPEST, FIELD_MARKS, substitute, type_text, unaliased
from fastrpc.rpc.schema.payload_classes import field_annotations
from fastrpc.types.base import find

__all__ = [
    "MAPS",
    "ROWS",
    "all_annotations",
    "all_parts",
    "field_types",
    "is_hashable",
    "parts_of",
    "parts_within",
    "with_plain_types",
    "without_metadata",
]

#: The types of arrays and maps in annotations.
ROWS: Final = frozenset(
    {
        *(list, set, frozenset, tuple),
        *(abc.Sequence, abc.MutableSequence, abc.Collection, abc.Set, abc.MutableSet),
    }
)
MAPS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})


def parts_of(part: Any) -> list[schema.Type]:
    """Return the types of a type's elements, or the members of a union."""
    if isinstance(part, schema.UnionType):
        return list(part.types)
    if isinstance(part, schema.TupleType):
        return list(part.item_types)
    if isinstance(part, schema.DictType):
        return [part.key_type, part.value_type]
    if isinstance(part, schema.ListType | schema.VarTupleType | schema.SetType | schema.FrozenSetType):
        return [part.item_type]
    return [field.type for field in getattr(part, "fields", ())]


def without_metadata(part: Any) -> Any:
    """Return the type inside metadata. Other types are returned unchanged."""
    while isinstance(part, schema.Metadata):
        part = part.type
    return part


def all_parts(kinds: Sequence[Any]) -> Iterator[schema.Type]:
    """Yield the types of these annotations and all types inside them, each once."""
    return parts_within(schema.multi_type_info(kinds))


def parts_within(roots: Iterable[schema.Type]) -> Iterator[schema.Type]:
    """Yield these types and all types inside them, each once. This includes types inside metadata."""
    # References keep each `id` unique.
    waiting = list(roots)
    roots = list(waiting)
    seen = {id(root) for root in roots}
    while waiting:
        part = waiting.pop()
        yield part
        for inner in [part.type] if isinstance(part, schema.Metadata) else parts_of(part):
            if id(inner) not in seen:
                seen.add(id(inner))
                roots.append(inner)
                waiting.append(inner)


def all_annotations(kinds: Sequence[Any]) -> Iterator[Any]:
    """Yield these annotations and all annotations inside them and in fields of classes, each once.

    Unlike `all_parts`, this yields type arguments of classes that msgspec does not know, as in `deque[int]`. Types that
    such a class decodes itself, such as the fields of a pydantic model, are not followed.

    Raises:
        TypeError: a recursive alias stands for endlessly growing types.
    """
    waiting = list(kinds)
    seen: set[Any] = set()
    while waiting:
        kind = waiting.pop()
        # An annotation with unhashable metadata is unhashable.
        identity = kind if is_hashable(kind) else repr(kind)
        if identity in seen:
            continue
        seen.add(identity)
        if _is_deeper(kind, DEEPEST):
            raise TypeError(f"it names itself: {type_text(kind)} is nested deeper than {DEEPEST} types")
        yield kind
        waiting += _inner_annotations(kind)


def _is_deeper(kind: Any, levels: int) -> bool:
    return any(not levels or _is_deeper(part, levels - 1) for part in get_args(kind))


def _inner_annotations(kind: Any) -> list[Any]:
    if isinstance(kind, NewType):
        return [kind.__supertype__]
    origin = get_origin(kind)
    if origin is Literal:
        return []
    if origin is Annotated:
        return [get_args(kind)[0]]
    named = unaliased(kind)
    if named is not kind:
        return [named]
    inner = [part for part in get_args(kind) if part is not Ellipsis and not isinstance(part, list)]
    owner = kind if origin is None else origin
    if owner is UnionType or not isinstance(owner, type):
        return inner
    known = find(owner)
    if known is not None:
        return [] if known.plain_type is None else [known.plain_type(kind)]
    values = dict(zip(getattr(owner, "__parameters__", ()), get_args(kind), strict=False))
    return [*inner, *(substitute(field, values) for field in _fields_of(owner))]


def _fields_of(owner: type[Any]) -> list[Any]:
    """Return the annotations of the fields of a class; empty if its fields cannot be sent."""
    marks = ("__dataclass_fields__", "__struct_fields__", "__total__", "_field_defaults", "__attrs_attrs__")
    if not any(hasattr(owner, mark) for mark in marks):
        return []
    # The annotations are None if a name is unknown at run time. msgspec refuses such a class.
    return list((field_annotations(owner) or {}).values())


def is_hashable(value: Any) -> bool:
    """Return whether an annotation is hashable: metadata of `Annotated` may be unhashable."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def field_types(part: Any) -> Iterator[tuple[Any, schema.Type]]:
    """Yield the fields of a class with their types, such as `list[int]` for `deque[int]`.

    The types come from annotations where msgspec drops type arguments: for classes that it does not know.
    """
    written = _annotations(part.cls)
    for field in part.fields:
        annotation = written.get(field.name)
        plain = with_plain_types(annotation)
        yield field, field.type if plain is annotation else schema.type_info(plain)


def _annotations(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class's fields, with its type arguments; empty if a name is unknown at run time.

    In that case msgspec's own types are used.
    """
    owner = get_origin(cls) or cls
    values = dict(zip(getattr(owner, "__parameters__", ()), get_args(cls), strict=False))
    found = field_annotations(owner) or {}
    return {name: substitute(annotation, values, keep=True) for name, annotation in found.items()}


def with_plain_types(annotation: Any) -> Any:
    """Return an annotation with `list[int]` for `deque[int]` and similar types; the same object if unchanged."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    known = find(origin) if isinstance(origin, type) else None
    if known is not None and known.plain_type is not None:
        return with_plain_types(known.plain_type(annotation))
    if origin is Annotated:
        inner = with_plain_types(arguments[0])
        return annotation if inner is arguments[0] else Annotated[(inner, *annotation.__metadata__)]
    if origin in FIELD_MARKS:
        inner = with_plain_types(arguments[0])
        return annotation if inner is arguments[0] else inner
    plain = tuple(one if isinstance(one, list) else with_plain_types(one) for one in arguments)
    if all(one is other for one, other in zip(plain, arguments, strict=True)):
        return annotation
    return reduce(or_, plain) if origin in {Union, UnionType} else origin[plain]
