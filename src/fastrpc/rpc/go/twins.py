"""Encode fields in the names of Go: a class has a twin, a Struct with those names, and its objects become twins.

::

    User(user_id=7, name="Ann")  ──►  Twin(UserID=7, Name="Ann")  ──►  msgspec encodes it

The writers of a type replace the objects in its values by twins. Values without fields are unchanged, and so are values
that do not have the annotated type: they are encoded with our own names, which the peer accepts as well.
"""

import dataclasses
from collections.abc import Iterator
from functools import cache
from operator import attrgetter
from typing import Any, Final, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc.rpc.aliases import go_names
from fastrpc.rpc.schema.type_graph import parts_of, without_metadata
from fastrpc.rpc.schema.type_writers import ROW_CLASSES, TypeWriters, Writer

__all__ = ["ROWS", "has_names", "is_class", "key_type", "names_of", "writer_for"]

#: Arrays of items of one type. Values of sets keep our names: the guard against collisions reads them by our names.
ROWS: Final = TypeWriters.rows

#: Types of keys that maps are opened with.
_KEYS: Final = (
    *(schema.AnyType, schema.StrType, schema.IntType, schema.FloatType, schema.BoolType, schema.NoneType),
    *(schema.BytesType, schema.DateType, schema.TimeType, schema.DateTimeType, schema.TimeDeltaType),
    *(schema.DecimalType, schema.UUIDType, schema.EnumType, schema.LiteralType),
    *(schema.UnionType, schema.TupleType, schema.VarTupleType),
)

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})

#: The writer of each class, for any annotation; None for a class without changes.
_by_class: dict[type, Writer | None] = {}


def is_class(part: Any) -> bool:
    """Whether a type is a dataclass, or a Struct with names."""
    if isinstance(part, schema.StructType):
        return not part.array_like
    return isinstance(part, schema.DataclassType) and dataclasses.is_dataclass(_class_of(part))


def names_of(part: Any) -> dict[str, str]:
    """Return Go's names of the fields of a type, by their names in our payloads; empty if it is not a class."""
    return _names_in_go(_class_of(part)) if is_class(part) else {}


def has_names(part: schema.Type) -> bool:
    """Whether a type has, or holds, a field whose name Go writes differently."""
    return any(own != written for inner in _all_in(part) for own, written in names_of(inner).items())


def key_type(part: schema.DictType) -> schema.Type | None:
    """Return the type of the keys of a map; None if msgspec cannot decode them without help."""
    return part.key_type if all(isinstance(key, _KEYS) for key in _all_in(part.key_type)) else None


def writer_for(part: schema.Type) -> Writer | None:
    """Return the writer of a type; None if nothing changes."""
    return _Writers().of(part)


def _all_in(root: schema.Type) -> Iterator[schema.Type]:
    """Yield a type and all types that it holds, each once, without metadata."""
    waiting: list[Any] = [root]
    seen: dict[int, Any] = {}
    while waiting:
        part = without_metadata(waiting.pop())
        if id(part) not in seen:
            seen[id(part)] = part
            yield part
            waiting += parts_of(part)


def _class_of(part: Any) -> Any:
    """Return the class of a type, without type arguments."""
    return get_origin(part.cls) or part.cls


@cache
def _names_in_go(cls: Any) -> dict[str, str]:
    """Return Go's names of the fields of a class, by their names in our payloads.

    A field keeps its name if its Struct renames it, if Go has no name for it, or if that name belongs to another field.
    """
    if not issubclass(cls, msgspec.Struct):
        return go_names([field.name for field in dataclasses.fields(cls)])
    fields = msgspec.structs.fields(cls)
    fixed = [field.encode_name for field in fields if field.encode_name != field.name]
    written = go_names(
        [field.name for field in fields if field.encode_name == field.name],
        [*fixed, cls.__struct_config__.tag_field or ""],
    )
    return {field.encode_name: written.get(field.encode_name, field.encode_name) for field in fields}


class _Twins:
    """Makes the twins of objects of one class."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        #: The keys are the places of fields, the values are the default for which a field is omitted and the writer of
        #: its values.
        self._children: list[tuple[int, Any, Writer]] = []
        names = _names_in_go(cls)
        fields: Any = (
            msgspec.structs.fields(cls) if issubclass(cls, msgspec.Struct) else dataclasses.fields(cls)
        )
        self.attributes: list[str] = [field.name for field in fields]
        self._defaults = [_left_out(cls, field) for field in fields]
        written = [names[getattr(field, "encode_name", field.name)] for field in fields]
        config = getattr(cls, "__struct_config__", None)
        self._twin = msgspec.defstruct(
            f"{cls.__name__}InGo",
            [(f"f{at}", Any, default) for at, default in enumerate(self._defaults)],
            rename={f"f{at}": name for at, name in enumerate(written)},
            omit_defaults=True,
            tag_field=None if config is None else config.tag_field,
            tag=None if config is None else config.tag,
            gc=False,
        )
        self._values = attrgetter(*self.attributes) if len(fields) > 1 else self._few_values

    def add(self, attribute: str, write: Writer) -> None:
        """Take over the writer of a field's values."""
        at = self.attributes.index(attribute)
        self._children.append((at, self._defaults[at], write))

    def __call__(self, value: Any) -> Any:
        if type(value) is not self._cls:
            return _written(value)
        try:
            values = self._values(value)
        except AttributeError:
            # Unset attributes are left out, as by msgspec.
            values = [getattr(value, name, msgspec.UNSET) for name in self.attributes]
        if self._children:
            values = list(values)
            for at, default, write in self._children:
                if values[at] is not default:
                    values[at] = write(values[at])
        return self._twin(*values)

    def _few_values(self, value: Any) -> list[Any]:
        return [getattr(value, name) for name in self.attributes]


def _left_out(cls: Any, field: Any) -> Any:
    """Return the default for which a field is omitted; if it is never omitted, an object that equals no value."""
    if issubclass(cls, msgspec.Struct) and cls.__struct_config__.omit_defaults:
        if field.default is not msgspec.NODEFAULT:
            return field.default
        if field.default_factory is not msgspec.NODEFAULT:
            return msgspec.field(default_factory=field.default_factory)
    return object()


class _Writers(TypeWriters):
    """The writers of the types within one."""

    def __init__(self) -> None:
        self._of_classes: dict[Any, _Twins] = {}

    def concerns(self, part: Any) -> bool:
        """Return whether a name inside the type differs in Go, or may differ since its type is unknown."""
        return has_names(part) or any(map(_is_untyped, _all_in(part)))

    def own(self, part: Any) -> Writer | None:
        """Return the writer of a value of any type."""
        return _written if _is_untyped(part) else None

    def of_map(self, part: schema.DictType) -> Writer | None:
        """Return the writer of a map; None for a map that stays unopened."""
        write = self.of(part.value_type)
        return None if write is None or key_type(part) is None else _entry_writer(write)

    def of_class(self, part: Any) -> Writer | None:
        """Return the function that makes the twins of a class; None for a class without names."""
        if not is_class(part):
            return None
        twins = self._of_classes.get(part.cls)
        if twins is None:
            twins = self._of_classes[part.cls] = _Twins(_class_of(part))
            for field in part.fields:
                write = self.of(field.type)
                if write is not None and field.name in twins.attributes:
                    twins.add(field.name, write)
        return twins

    def of_union(self, part: schema.UnionType) -> Writer | None:
        """Return the writer of each member by the class of a value."""
        known: dict[type, Writer] = {}
        for member in part.types:
            write = self.of(member)
            if write is None:
                continue
            if is_class(member):
                known[_class_of(member)] = write
            elif isinstance(member, schema.DictType | schema.TypedDictType):
                known[dict] = write
            elif isinstance(member, schema.NamedTupleType):
                known[member.cls] = write
            else:
                known |= dict.fromkeys(ROW_CLASSES, write)
        find = known.get
        return (lambda value: find(type(value), _object_written)(value)) if known else None


def _is_untyped(part: Any) -> bool:
    return isinstance(part, schema.AnyType) or (isinstance(part, schema.CustomType) and part.cls is object)


def _entry_writer(write: Writer) -> Writer:
    def write_entries(value: Any) -> Any:
        return {key: write(item) for key, item in value.items()} if isinstance(value, dict) else value

    return write_entries


def _written(value: Any) -> Any:
    """Return the value to encode in place of a value of any type."""
    cls = type(value)
    if cls in _SCALARS:
        return value
    if cls in ROW_CLASSES:
        return value if _SCALARS.issuperset(map(type, value)) else list(map(_written, value))
    if cls is dict:
        # The decoder may not open a map with keys of other classes.
        if _SCALARS.issuperset(map(type, value.values())) or not _SCALARS.issuperset(map(type, value)):
            return value
        return {key: _written(item) for key, item in value.items()}
    return _object_written(value)


def _object_written(value: Any) -> Any:
    """Return the twin of an object of a dataclass or Struct, for any annotated type; return other values unchanged."""
    cls = type(value)
    try:
        write = _by_class[cls]
    except KeyError:
        write = _by_class[cls] = _writer_of(cls)
    return value if write is None else write(value)


def _writer_of(cls: Any) -> Writer | None:
    is_struct = issubclass(cls, msgspec.Struct)
    if not dataclasses.is_dataclass(cls) and not (is_struct and not cls.__struct_config__.array_like):
        return None
    twins = _Twins(cls)
    for attribute in twins.attributes:
        twins.add(attribute, _written)
    return twins
