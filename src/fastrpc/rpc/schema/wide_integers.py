"""Integers that JavaScript numbers cannot express, which HTTP callers may write as text: `"9007199254740993"`.

A payload is first decoded unchanged. If that fails, such texts are replaced by numbers wherever the type is an integer,
and the payload is decoded again. Methods without such integers use the plain decoder.

The search takes a hundred times as long as decoding, and any peer can send an invalid payload. So the search has a
limit, beyond which the first error is final.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect as schema

from fastrpc.rpc.schema.conversion import payload_type, written_types
from fastrpc.rpc.schema.type_graph import all_parts, field_types, is_hashable, with_plain_types

__all__ = ["may_hold_wide_integers", "wide_integer_decoder", "wide_integer_passer"]

#: JavaScript numbers can express all integers up to this one.
_LARGEST_EXACT: Final = 2**53

#: A text with an integer of 16 to 40 digits, in the form of a JSON number. No type accepts longer integers.
_WIDE: Final = re.compile(rb'"(-?[1-9][0-9]{15,39})"')

#: _MOST_VALUES: the most values of one payload that are searched. _MOST_BYTES: the most bytes that are decoded for the
#: search, in all levels.
_MOST_VALUES: Final = 10_000
_MOST_BYTES: Final = 1 << 20

#: Types whose values may be text, which is never replaced by a number.
_TEXTS: Final = (
    schema.AnyType,
    schema.RawType,
    schema.StrType,
    schema.BytesType,
    schema.ByteArrayType,
    schema.MemoryViewType,
    schema.DateTimeType,
    schema.DateType,
    schema.TimeType,
    schema.TimeDeltaType,
    schema.UUIDType,
    schema.DecimalType,
    schema.EnumType,
    schema.LiteralType,
    schema.CustomType,
)

_ROWS: Final = (schema.ListType, schema.VarTupleType, schema.SetType, schema.FrozenSetType)

_open_row = msgspec.json.Decoder(list[msgspec.Raw]).decode
_open_map = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_Items = TypeVar("_Items", list[msgspec.Raw], dict[str, msgspec.Raw])


class _TooMuchError(Exception):
    """The search of a payload exceeds a limit."""


class _Bounds:
    """The remaining budget for the search of one payload."""

    __slots__ = ("_bytes", "_values")

    def __init__(self) -> None:
        self._bytes = _MOST_BYTES
        self._values = _MOST_VALUES

    def row(self, value: bytes) -> list[msgspec.Raw]:
        """Return the items of an array."""
        self._open(value)
        return self._counted(_open_row(value))

    def map(self, value: bytes) -> dict[str, msgspec.Raw]:
        """Return the members of an object."""
        self._open(value)
        return self._counted(_open_map(value))

    def _open(self, value: bytes) -> None:
        self._bytes -= len(value)
        if self._bytes < 0:
            raise _TooMuchError

    def _counted(self, items: _Items) -> _Items:
        self._values -= len(items)
        if self._values < 0:
            raise _TooMuchError
        return items


#: Takes the JSON of a value; returns it with texts replaced by numbers.
_Rewriter = Callable[[bytes, _Bounds], bytes]


def may_hold_wide_integers(kind: Any) -> bool:
    """Return whether values of a type may contain integers beyond 2⁵³."""
    own = ((payload_type(one).plain_type, one) for one in written_types([kind]))
    plain = [plain_type(one) for plain_type, one in own if plain_type is not None]
    return any(_is_wide(part) for part in all_parts([kind, *plain]))


def wide_integer_decoder(decode: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
    """Return a JSON decoder that also accepts integers beyond 2⁵³ as text; `decode` itself if the type has none."""
    if not may_hold_wide_integers(kind):
        return decode
    rewritten = _Rewriters().of_kind(kind)

    def decode_wide(payload: Any) -> Any:
        try:
            return decode(payload)
        except msgspec.ValidationError:
            given = bytes(payload)
            found = _searched(given, rewritten)
            if found is given:
                raise
        return decode(found)

    return decode_wide


def wide_integer_passer(decode: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
    """Return a decoder for values that are passed on encoded, which replaces integers in text; `kind` is their type.

    The final reader checks the values, so texts are replaced wherever the type is an integer.
    """
    if not may_hold_wide_integers(kind):
        return decode
    rewritten = _Rewriters().of_kind(kind)
    return lambda payload: decode(_searched(bytes(payload), rewritten))


def _searched(given: bytes, rewritten: _Rewriter) -> bytes:
    """Return a payload with texts replaced by numbers; the same object if there is nothing to replace."""
    if _WIDE.search(given) is None:
        return given
    try:
        return rewritten(given, _Bounds())
    except _TooMuchError:
        return given


def _is_wide(part: schema.Type) -> bool:
    """Return whether a type allows integers beyond 2⁵³."""
    if not isinstance(part, schema.IntType):
        return False
    least = part.ge if part.ge is not None else part.gt
    most = part.le if part.le is not None else part.lt
    return least is None or most is None or least < -_LARGEST_EXACT or most > _LARGEST_EXACT


def _same(value: bytes, bounds: _Bounds) -> bytes:
    return value


def _number(value: bytes, bounds: _Bounds) -> bytes:
    found = _WIDE.fullmatch(value.strip())
    return value if found is None or abs(int(found[1])) <= _LARGEST_EXACT else found[1]


class _Rewriters:
    """Creates the rewriters of a type and its parts, each once, because types may refer to themselves."""

    def __init__(self) -> None:
        #: The keys are classes, and the `id` of other types. The values refer to the types, so that each `id` stays
        #: unique.
        self._made: dict[Any, tuple[schema.Type, list[_Rewriter]]] = {}

    def of_kind(self, kind: Any) -> _Rewriter:
        """Return the rewriter of an annotation."""
        return self.of(schema.type_info(with_plain_types(kind)))

    def of(self, part: Any) -> _Rewriter:
        """Return the rewriter of a type."""
        while isinstance(part, schema.Metadata):
            part = part.type
        cls = getattr(part, "cls", None)
        key = id(part) if cls is None or not is_hashable(cls) else cls
        if key not in self._made:
            place: list[_Rewriter] = []
            # Register the rewriter first, because parts may refer to the type.
            self._made[key] = (part, place)
            place.append(self._make(part))
        _, place = self._made[key]
        return place[0] if place else lambda value, bounds: place[0](value, bounds)

    def _make(self, part: Any) -> _Rewriter:
        if _is_wide(part):
            return _number
        if isinstance(part, schema.UnionType):
            return self._union(part)
        if isinstance(part, _ROWS):
            item = self.of(part.item_type)
            return lambda value, bounds: _row(value, bounds, lambda at: item)
        if isinstance(part, schema.TupleType):
            return self._places(part.item_types)
        if isinstance(part, schema.DictType):
            inner = self.of(part.value_type)
            return lambda value, bounds: _map(value, bounds, lambda name: inner)
        if getattr(part, "fields", None) is None or isinstance(part, schema.CustomType):
            return _same
        fields = list(field_types(part))
        if isinstance(part, schema.NamedTupleType):
            return self._places([kind for _, kind in fields])
        if isinstance(part, schema.StructType) and part.array_like:
            tag = [] if part.tag_field is None else [schema.StrType()]
            return self._places([*tag, *(kind for _, kind in fields)])
        return self._object({field.encode_name: self.of(kind) for field, kind in fields})

    def _object(self, fields: Mapping[str, _Rewriter]) -> _Rewriter:
        return lambda value, bounds: _map(value, bounds, lambda name: fields.get(name, _same))

    def _places(self, kinds: Any) -> _Rewriter:
        places = [self.of(kind) for kind in kinds]
        return lambda value, bounds: _row(value, bounds, lambda at: places[at] if at < len(places) else _same)

    def _union(self, part: Any) -> _Rewriter:
        members = [one.type if isinstance(one, schema.Metadata) else one for one in part.types]
        of_text = _number if any(map(_is_wide, members)) else _same
        if any(isinstance(one, _TEXTS) for one in members):
            of_text = _same
        of_rows, of_maps = self._one_of_rows(members), self._one_of_maps(members)

        def rewrite(value: bytes, bounds: _Bounds) -> bytes:
            first = value.lstrip()[:1]
            if first == b'"':
                return of_text(value, bounds)
            if first == b"[":
                return of_rows(value, bounds)
            return of_maps(value, bounds) if first == b"{" else value

        return rewrite

    def _one_of_rows(self, members: list[Any]) -> _Rewriter:
        """Return the rewriter of an array of several possible types: the first item of a Struct is its tag."""
        rows = [one for one in members if isinstance(one, (*_ROWS, schema.TupleType, schema.NamedTupleType))]
        structs = [one for one in members if getattr(one, "array_like", False)]
        if len(structs) < 2:
            found = [*rows, *structs]
            return self.of(found[0]) if found else _same
        tagged = {one.tag: self.of(one) for one in structs}

        def rewrite(value: bytes, bounds: _Bounds) -> bytes:
            items = bounds.row(value)
            tag = msgspec.json.decode(items[0]) if items else None
            return tagged[tag](value, bounds) if isinstance(tag, str | int) and tag in tagged else value

        return rewrite

    def _one_of_maps(self, members: list[Any]) -> _Rewriter:
        """Return the rewriter of an object that may have several types. msgspec distinguishes Structs by their tags."""
        tagged = {
            one.tag: self.of(one)
            for one in members
            if isinstance(one, schema.StructType) and one.tag_field is not None and not one.array_like
        }
        if not tagged:
            holders = [one for one in members if self._is_map(one)]
            return self.of(holders[0]) if holders else _same
        name = next(one.tag_field for one in members if getattr(one, "tag_field", None) is not None)

        def rewrite(value: bytes, bounds: _Bounds) -> bytes:
            tag = msgspec.json.decode(bounds.map(value).get(name, b"null"))
            return tagged[tag](value, bounds) if isinstance(tag, str | int) and tag in tagged else value

        return rewrite

    def _is_map(self, part: Any) -> bool:
        return isinstance(part, schema.DictType) or (
            hasattr(part, "fields")
            and not isinstance(part, schema.NamedTupleType)
            and not getattr(part, "array_like", False)
        )


def _row(value: bytes, bounds: _Bounds, rewriter: Callable[[int], _Rewriter]) -> bytes:
    if value.lstrip()[:1] != b"[" or b'"' not in value:
        return value
    items = [bytes(item) for item in bounds.row(value)]
    found = [rewriter(at)(item, bounds) for at, item in enumerate(items)]
    is_same = all(one is other for one, other in zip(items, found, strict=True))
    return value if is_same else _encode([msgspec.Raw(item) for item in found])


def _map(value: bytes, bounds: _Bounds, rewriter: Callable[[str], _Rewriter]) -> bytes:
    if value.lstrip()[:1] != b"{":
        return value
    items = {name: bytes(item) for name, item in bounds.map(value).items()}
    found = {name: rewriter(name)(item, bounds) for name, item in items.items()}
    is_same = all(items[name] is item for name, item in found.items())
    return value if is_same else _encode({name: msgspec.Raw(item) for name, item in found.items()})
