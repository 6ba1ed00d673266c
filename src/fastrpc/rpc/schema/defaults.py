"""Store missing defaults in decoded objects of plain dataclasses, because encoders skip fields that are not stored."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from inspect import getattr_static
from typing import Any, Final, get_origin

from msgspec import inspect as schema

from fastrpc._core.payload.msgspec_coders import DefaultFiller, FillingDecoder
from fastrpc.rpc.schema.type_graph import parts_of, without_metadata

__all__ = ["filled", "filler_for"]

_MISSING: Final = dataclasses.MISSING

#: The class of a decoded value, by msgspec's type of the annotation.
_BUILT_IN: Final[dict[type[Any], type[Any]]] = {
    schema.ListType: list,
    schema.VarTupleType: tuple,
    schema.TupleType: tuple,
    schema.SetType: set,
    schema.FrozenSetType: frozenset,
    schema.DictType: dict,
    schema.TypedDictType: dict,
}


def filler_for(kind: Any) -> DefaultFiller | None:
    """Return a function that fills in missing defaults in values of a type; None if no default can be missing."""
    root = without_metadata(schema.type_info(kind))
    concerned = _concerned(root)
    fillers = {number: DefaultFiller() for number in concerned}
    for number, part in concerned.items():
        _define(fillers[number], part, fillers)
    return fillers.get(id(root))


def filled(decode: Callable[[Any], Any], kinds: Sequence[Any], *, as_row: bool) -> Callable[[Any], Any]:
    """Return a decoder that fills in missing fields; `decode` itself if no field can be missing.

    Args:
        kinds: the type of the value as the only item, or the types of a tuple's items.
        as_row: True if the value is a tuple with one item for each of `kinds`.
    """
    fillers = {at: filler for at, kind in enumerate(kinds) if (filler := filler_for(kind)) is not None}
    if not fillers:
        return decode
    if not as_row:
        return FillingDecoder(decode, fillers[0])
    row = DefaultFiller()
    row.define("places", parts=fillers)
    return FillingDecoder(decode, row)


def _concerned(root: schema.Type) -> dict[int, schema.Type]:
    """Return, by `id`, the parts of a type whose values may lack a default or contain values that do."""
    holders: dict[int, list[schema.Type]] = {id(root): []}
    waiting = [root]
    lacking: list[schema.Type] = []
    while waiting:
        part = waiting.pop()
        if isinstance(part, schema.DataclassType) and _defaults(part):
            lacking.append(part)
        for inner in map(without_metadata, parts_of(part)):
            if id(inner) not in holders:
                holders[id(inner)] = []
                waiting.append(inner)
            holders[id(inner)].append(part)
    found: dict[int, schema.Type] = {}
    while lacking:
        part = lacking.pop()
        if id(part) not in found:
            found[id(part)] = part
            lacking += holders[id(part)]
    return found


def _define(filler: DefaultFiller, part: Any, fillers: Mapping[int, DefaultFiller]) -> None:
    def fillers_of(parts: Mapping[Any, schema.Type]) -> dict[Any, DefaultFiller]:
        found = ((place, filler_of(inner)) for place, inner in parts.items())
        return {place: filler for place, filler in found if filler is not None}

    def filler_of(inner: schema.Type) -> DefaultFiller | None:
        return fillers.get(id(without_metadata(inner)))

    if isinstance(part, schema.UnionType):
        members = ((without_metadata(member), filler_of(member)) for member in part.types)
        filler.define(
            "union", by_class={_class_of(one): found for one, found in members if found is not None}
        )
    elif isinstance(part, schema.TupleType | schema.NamedTupleType):
        filler.define("places", parts=fillers_of(dict(enumerate(parts_of(part)))))
    elif isinstance(part, schema.DictType):
        filler.define("map", keys=filler_of(part.key_type), each=filler_of(part.value_type))
    elif isinstance(part, schema.TypedDictType):
        filler.define("typed dict", parts=fillers_of({field.name: field.type for field in part.fields}))
    elif isinstance(part, schema.DataclassType | schema.StructType):
        parts = fillers_of({field.name: field.type for field in part.fields})
        defaults = _defaults(part) if isinstance(part, schema.DataclassType) else None
        filler.define("object", cls=_class_of(part), parts=parts, defaults=defaults)
    else:
        filler.define("collection", each=filler_of(part.item_type))


def _class_of(part: Any) -> type[Any]:
    """Return the class of decoded values."""
    if type(part) in _BUILT_IN:
        return _BUILT_IN[type(part)]
    owner: type[Any] = get_origin(part.cls) or part.cls
    return owner


def _defaults(part: schema.DataclassType) -> dict[str, tuple[Any, Callable[[], Any] | None, bool]] | None:
    """Return the fields that a decoded object's dict may lack: default, factory, True if there is neither.

    A field may be missing if the class or a base class has an attribute with its name.
    """
    owner = _class_of(part)
    if not dataclasses.is_dataclass(owner) or not owner.__dictoffset__:
        return None
    found: dict[str, tuple[Any, Callable[[], Any] | None, bool]] = {}
    for field in dataclasses.fields(owner):
        attribute = getattr_static(owner, field.name, _MISSING)
        if attribute is _MISSING or hasattr(type(attribute), "__set__"):
            continue
        factory = None if field.default_factory is _MISSING else field.default_factory
        is_required = field.default is _MISSING and factory is None
        found[field.name] = (None if field.default is _MISSING else field.default, factory, is_required)
    return found or None
