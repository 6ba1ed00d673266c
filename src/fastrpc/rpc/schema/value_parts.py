"""Split an encoded value into parts by its type: the items of an array, the values of a map, the fields of a class."""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NewType,
    Protocol,
    Union,
    get_args,
    get_origin,
)

from fastrpc.rpc.schema.annotation import FIELD_MARKS, substitute, unaliased
from fastrpc.rpc.schema.payload_classes import PayloadClass, payload_class
from fastrpc.rpc.schema.type_graph import MAPS, ROWS
from fastrpc.types.base import find

__all__ = ["Opener", "ValuePart", "parts_of"]


class ValuePart(NamedTuple):
    """A part of a value: its type, its payload (None if missing), and its place."""

    kind: Any
    raw: bytes | None
    path: str


class Opener(Protocol):
    """Opens values one level deep."""

    def map(self, raw: bytes) -> Mapping[str, bytes]: ...

    def row(self, raw: bytes) -> Sequence[bytes]: ...

    def type_of(self, raw: bytes) -> str:
        """Return msgspec's name for the type of a value."""


def parts_of(opener: Opener, part: ValuePart) -> Iterator[ValuePart]:
    """Yield the parts of a value; nothing if it does not have the form of its type, or has no parts."""
    return _Parts(opener, part).of(part.kind)


def _named(kind: Any) -> Any:
    """Return the type inside an alias or metadata. Other types are returned unchanged."""
    if isinstance(kind, NewType):
        return kind.__supertype__
    return get_args(kind)[0] if get_origin(kind) is Annotated else unaliased(kind)


class _Parts:
    """The parts of one value."""

    def __init__(self, opener: Opener, part: ValuePart) -> None:
        assert part.raw is not None
        self._opener = opener
        self._raw = part.raw
        self._path = part.path
        self._type = opener.type_of(part.raw)

    def of(self, kind: Any) -> Iterator[ValuePart]:
        while (named := _named(kind)) is not kind:
            kind = named
        origin, arguments = get_origin(kind) or kind, get_args(kind)
        if origin in {Union, types.UnionType}:
            fitting = [one for one in arguments if self._has_form_of(one)]
            # If several members match, the value does not show which of them was meant.
            yield from self.of(fitting[0]) if len(fitting) == 1 else ()
        elif origin in MAPS and self._type == "object" and arguments:
            for item in self._opener.map(self._raw).values():
                # The key is not shown, because it is data.
                yield ValuePart(arguments[1], item, f"{self._path}[...]")
        elif origin in ROWS and self._type == "array" and arguments:
            yield from self._items(origin, arguments)
        elif isinstance(origin, type) and find(origin) is None:
            yield from self._fields(payload_class(origin), arguments)

    def _has_form_of(self, kind: Any) -> bool:
        form = get_origin(kind) or kind
        if form in MAPS or form in ROWS:
            return self._type == ("object" if form in MAPS else "array")
        return (
            isinstance(form, type) and self._type in {"object", "array"} and bool(payload_class(form).fields)
        )

    def _items(self, origin: Any, arguments: tuple[Any, ...]) -> Iterator[ValuePart]:
        items = self._opener.row(self._raw)
        if origin is tuple and Ellipsis not in arguments:
            kinds: tuple[Any, ...] = arguments if len(items) == len(arguments) else ()
        else:
            kinds = arguments[:1] * len(items)
        for at, (kind, item) in enumerate(zip(kinds, items, strict=False)):
            yield ValuePart(kind, item, f"{self._path}[{at}]")

    def _fields(self, known: PayloadClass, arguments: tuple[Any, ...]) -> Iterator[ValuePart]:
        config = getattr(known.cls, "__struct_config__", None)
        # For a Struct that is encoded as an array, only the first mistake is reported.
        is_row = config is not None and config.array_like
        if is_row or known.kind not in {"struct", "dataclass", "typed_dict"} or self._type != "object":
            return
        given = self._opener.map(self._raw)
        variables = dict(zip(getattr(known.cls, "__parameters__", ()), arguments, strict=False))
        for field in known.fields:
            if field.wire_name in given or field.is_required:
                kind = substitute(field.annotation, variables)
                if get_origin(kind) in FIELD_MARKS:
                    kind = get_args(kind)[0]
                yield ValuePart(kind, given.get(field.wire_name), f"{self._path}.{field.wire_name}")
