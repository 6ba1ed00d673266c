"""Writers for the types of a method. A writer takes a value and returns the value to encode, usually unchanged.

::

    list[Point]  ──►  row writer  ──►  writer of Point, from the subclass

This module iterates over arrays, tuples and maps, for all changes of values before encoding: Go's names
(`rpc/go/twins.py`) and 32-bit floats (`narrow_floats`). A value of a wrong type is unchanged, because its receiver
refuses it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import inspect as schema

__all__ = ["ROW_CLASSES", "TypeWriters", "Writer", "key_writer", "place_writer"]

#: Returns the value to encode in place of a value; the same object if nothing changes.
Writer: TypeAlias = Callable[[Any], Any]

#: The classes of values that count as arrays.
ROW_CLASSES: Final = (list, tuple, set, frozenset)


class TypeWriters:
    """Creates the writers of types. A subclass defines which parts change, and how."""

    #: Array types, with items of one type, whose items are changed.
    rows: tuple[type[Any], ...] = (schema.ListType, schema.VarTupleType)

    def of(self, part: Any) -> Writer | None:
        """Return the writer of a type; None if nothing changes."""
        if not self.concerns(part):
            return None
        own = self.own(part)
        if own is not None:
            return own
        if isinstance(part, schema.Metadata):
            return self.of(part.type)
        if isinstance(part, schema.UnionType):
            return self.of_union(part)
        if isinstance(part, schema.DictType):
            return self.of_map(part)
        if isinstance(part, self.rows):
            return _row_writer(self.of(part.item_type))
        if isinstance(part, schema.TypedDictType):
            return key_writer({field.encode_name: self.of(field.type) for field in part.fields})
        if isinstance(part, schema.TupleType):
            return place_writer([self.of(kind) for kind in part.item_types])
        if isinstance(part, schema.NamedTupleType):
            return place_writer([self.of(field.type) for field in part.fields])
        return self.of_class(part) if isinstance(part, schema.StructType | schema.DataclassType) else None

    def concerns(self, part: Any) -> bool:
        """Return whether anything in a type changes."""
        raise NotImplementedError

    def own(self, part: Any) -> Writer | None:
        """Return the subclass's writer for a whole type; None to examine the parts of the type."""
        raise NotImplementedError

    def of_class(self, part: Any) -> Writer | None:
        """Return the writer of a Struct or dataclass, created once per class: types may refer to themselves."""
        raise NotImplementedError

    def of_map(self, part: schema.DictType) -> Writer | None:
        """Return the writer of a map."""
        raise NotImplementedError

    def of_union(self, part: schema.UnionType) -> Writer | None:
        """Return the writer of a value that may have several types."""
        raise NotImplementedError


def place_writer(writers: Sequence[Writer | None]) -> Writer | None:
    """Return a writer of arrays with a separate writer for each item; None if no item has a writer."""
    if not any(writers):
        return None

    def write_places(value: Any) -> Any:
        if not isinstance(value, tuple | list) or len(value) > len(writers):
            return value
        pairs = zip(writers, value, strict=False)
        return tuple(item if write is None else write(item) for write, item in pairs)

    return write_places


def key_writer(writers: Mapping[Any, Writer | None]) -> Writer | None:
    """Return a writer of maps with a separate writer for each known key; None if no key has a writer."""
    changed = {key: write for key, write in writers.items() if write is not None}
    if not changed:
        return None

    def write_keys(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = dict(value)
        for key in changed.keys() & found.keys():
            found[key] = changed[key](found[key])
        return found

    return write_keys


def _row_writer(write: Writer | None) -> Writer | None:
    if write is None:
        return None

    def write_row(value: Any) -> Any:
        # Keep an empty value: it may be a default that msgspec omits.
        return list(map(write, value)) if value and isinstance(value, ROW_CLASSES) else value

    return write_row
