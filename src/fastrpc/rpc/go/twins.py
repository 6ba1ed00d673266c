"""Encode fields with the names of Go: convert each object to a twin, an object of a Struct with Go's names.

::

    User(user_id=7, name="Ann")  ──►  Twin(UserID=7, Name="Ann")  ──►  msgspec encodes it

A writer replaces the objects in a value by twins. Values without fields are unchanged. Values of another type than the
annotated one are unchanged too, and are encoded with our own names, which fastrpc peers also accept.
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

#: Types of arrays whose items are renamed. Sets are not included: the guard against hash collisions reads their items
#: by our names.
ROWS: Final = TypeWriters.rows

#: The types of keys with which maps can be opened.
_KEYS: Final = (
    *(schema.AnyType, schema.StrType, schema.IntType, schema.FloatType, schema.BoolType, schema.NoneType),
    *(schema.BytesType, schema.DateType, schema.TimeType, schema.DateTimeType, schema.TimeDeltaType),
    *(schema.DecimalType, schema.UUIDType, schema.EnumType, schema.LiteralType),
    *(schema.UnionType, schema.TupleType, schema.VarTupleType),
)

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})

#: The writer of each class, for objects of unknown annotated type; None for a class that needs no change.
_by_class: dict[type, Writer | None] = {}


def is_class(part: Any) -> bool:
    """Return whether a type is a dataclass, or a Struct that is encoded as a map."""
    if isinstance(part, schema.StructType):
        return not part.array_like
    return isinstance(part, schema.DataclassType) and dataclasses.is_dataclass(_class_of(part))


def names_of(part: Any) -> dict[str, str]:
    """Return Go's names of a type's fields, by their names in our payloads; empty if the type is not a class."""
    return _names_in_go(_class_of(part)) if is_class(part) else {}


def has_names(part: schema.Type) -> bool:
    """Return whether a type contains a field with another name in Go."""
    return any(own != written for inner in _all_in(part) for own, written in names_of(inner).items())


def key_type(part: schema.DictType) -> schema.Type | None:
    """Return the type of the keys of a map; None if msgspec cannot decode the keys without hooks."""
    return part.key_type if all(isinstance(key, _KEYS) for key in _all_in(part.key_type)) else None


def writer_for(part: schema.Type) -> Writer | None:
    """Return the writer of a type; None if its values need no change."""
    return _Writers().of(part)


def _all_in(root: schema.Type) -> Iterator[schema.Type]:
    """Yield a type and all types inside it, each once, without metadata."""
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
    """Return Go's names of a class's fields, by their names in our payloads.

    A field keeps its name if its Struct renames it, if the name has no Go form, or if another field has the Go form.
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
    """Converts objects of one class to twins."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        #: For each field whose value needs a writer: its index, the default for which it is omitted, and the writer.
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
        """Set the writer for a field's values."""
        at = self.attributes.index(attribute)
        self._children.append((at, self._defaults[at], write))

    def __call__(self, value: Any) -> Any:
        if type(value) is not self._cls:
            return _written(value)
        try:
            values = self._values(value)
        except AttributeError:
            # Unset attributes are omitted, as msgspec does.
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
    """Return the default for which a field is omitted. For a field that is never omitted, return a new object."""
    if issubclass(cls, msgspec.Struct) and cls.__struct_config__.omit_defaults:
        if field.default is not msgspec.NODEFAULT:
            return field.default
        if field.default_factory is not msgspec.NODEFAULT:
            return msgspec.field(default_factory=field.default_factory)
    return object()


class _Writers(TypeWriters):
    """Creates the writers of a type and of the types inside it."""

    def __init__(self) -> None:
        self._of_classes: dict[Any, _Twins] = {}

    def concerns(self, part: Any) -> bool:
        """Return whether a field inside the type has another name in Go, or might because its type is unknown."""
        return has_names(part) or any(map(_is_untyped, _all_in(part)))

    def own(self, part: Any) -> Writer | None:
        """Return the writer of an untyped value; None for any other type."""
        return _written if _is_untyped(part) else None

    def of_map(self, part: schema.DictType) -> Writer | None:
        """Return the writer of a map; None for a map that is not opened."""
        write = self.of(part.value_type)
        return None if write is None or key_type(part) is None else _entry_writer(write)

    def of_class(self, part: Any) -> Writer | None:
        """Return the writer that creates the twins of a class; None for a type that is not a class."""
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
        """Return a writer that selects the member's writer by the class of the value."""
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
        # The peer's decoder may be unable to open a map with keys of other classes.
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
