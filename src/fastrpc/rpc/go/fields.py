"""Field names of Go in the payloads of services with `rpcx="go"`: `user_id` is `UserID`.

::

    {"UserID": 7, "Items": [{"ItemName": …}]}  ──►  {"user_id": 7, "items": [{"item_name": …}]}  ──► decoded as usual
    Order(user_id=7, items=[…])                ──►  a twin of it with fields UserID, Items       ──► encoded as usual

A received payload may have either name. Sent fields of dataclasses and Structs have Go's names, even inside lists,
tuples, maps and optional values. A sent value of type `Any` has the names of its class. Values inside sets keep our
names, because the guard against hash collisions reads them. Methods without such fields use the plain coders. This
module decodes, `twins` encodes.

A payload is opened level by level, along fields whose types contain names, so the bytes of a level are read again for
each level above it. The total has a limit in proportion to the payload's size.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect as schema

from fastrpc._core.payload.coders import PayloadCoders
from fastrpc.rpc.definition import MethodTypes
from fastrpc.rpc.go.twins import ROWS, has_names, is_class, key_type, names_of, writer_for
from fastrpc.rpc.schema.scans import plain_type

__all__ = ["coders_in_go"]

#: The limit for the bytes that are opened in all levels together: this many times the payload's size, plus SPARE_BYTES.
MOST_TIMES: Final = 24
SPARE_BYTES: Final = 1 << 20

#: Codecs whose payloads contain field names.
_NAMED: Final = {"msgpack": msgspec.msgpack, "json": msgspec.json}


def coders_in_go(
    coders: PayloadCoders, types: MethodTypes, written: Mapping[str, str] | None
) -> PayloadCoders:
    """Return coders that accept fields with our names or Go's names, and write Go's names.

    Args:
        coders: the coders for payloads of one value, with our names.
        types: the types of the method.
        written: Go's names of the parameters by our names, if arguments are a map; None for a single argument.
    """
    if coders.codec not in _NAMED:
        return coders
    codec: Any = _NAMED[coders.codec]
    if written is None:
        encode = _encoder(coders.encode_arguments, types.parameters[0])
    else:
        encode = _argument_encoder(coders.encode_arguments, written, types.parameters)
    items = zip(coders.items, types.parameters, strict=True)
    return PayloadCoders(
        coders.codec,
        coders.codec_id,
        encode=(encode, _encoder(coders.encode_result, types.result), coders.encode_message),
        decode=(_decoder(codec, coders.decode_result, types.result), coders.decode_message),
        exact=None,
        open=coders.open,
        items=tuple(_decoder(codec, decode, kind) for decode, kind in items),
        scan=(coders.scan_arguments, coders.scan_result, coders.scan_message),
    )


def _encoder(encode: Callable[[Any], bytes], kind: Any) -> Callable[[Any], bytes]:
    write = writer_for(schema.type_info(kind))
    return encode if write is None else lambda value: encode(write(value))


def _argument_encoder(
    encode: Callable[[Any], bytes], written: Mapping[str, str], kinds: Sequence[Any]
) -> Callable[[Any], bytes]:
    """Return the encoder for a map of arguments."""
    writers = [writer_for(schema.type_info(kind)) for kind in kinds]
    if not any(writers) and all(name == own for own, name in written.items()):
        return encode
    known = {own: (name, write) for (own, name), write in zip(written.items(), writers, strict=True)}

    def encode_renamed(named: Any) -> bytes:
        if named is None:
            return encode(None)
        found: dict[str, Any] = {}
        for own, value in named.items():
            name, write = known[own]
            found[name] = value if write is None else write(value)
        return encode(found)

    return encode_renamed


def _decoder(codec: Any, decode: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
    """Return a decoder that also accepts Go's field names; `decode` itself if the type has no such fields."""
    plan = _Plans(codec).of(schema.type_info(kind))
    if plan is None:
        return decode
    encode = codec.Encoder().encode

    def decode_renamed(payload: Any) -> Any:
        renamed = plan.renamed(payload, _Budget(payload))
        return decode(payload if renamed is payload else encode(renamed))

    return decode_renamed


class _Budget:
    """The bytes of a payload that may still be opened."""

    def __init__(self, payload: Any) -> None:
        #: True if a part of the payload does not match its type. This part and all later parts keep their names. The
        #: decoder then refuses the payload, and names the place of this part; for a map with a wrong key, the place of
        #: the map's first entry.
        self.is_unfit = False
        self._left = MOST_TIMES * len(memoryview(payload)) + SPARE_BYTES

    def spend(self, payload: Any) -> None:
        self._left -= len(memoryview(payload))
        if self._left < 0:
            raise ValueError(
                f"nested fields need more than {MOST_TIMES} times the payload's size to be read for names of Go:"
                " nest less, or send smaller payloads"
            )


class _Plan:
    """Renames the fields in values of one type. In place of a plan, None means that there is nothing to rename."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._open: Callable[[Any], Any] | None = None
        self.array: _Row | _Places | None = None
        self.map: _Entries | _Fields | _Tagged | None = None
        #: True if the type allows values other than arrays and maps. They are returned unchanged.
        self.takes_others = False

    def renamed(self, payload: Any, budget: _Budget) -> Any:
        """Return the value to encode in place of a payload; the payload itself if nothing is renamed.

        Raises:
            ValueError: a field has both names, or too much would have to be opened.
        """
        if budget.is_unfit:
            return payload
        if self._open is None:
            self._open = self._opener()
        budget.spend(payload)
        try:
            opened: Any = self._open(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self._renamed_in_part(payload, budget)
        if isinstance(opened, dict) and self.map is not None:
            return self.map.renamed(opened, budget)
        if isinstance(opened, list) and self.array is not None:
            return self.array.renamed(opened, budget)
        return payload

    def _renamed_in_part(self, payload: Any, budget: _Budget) -> Any:
        """Return the value to encode in place of a payload that could not be opened together with its items."""
        if isinstance(self.array, _Row) and self.array.items is not msgspec.Raw:
            budget.spend(payload)
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                return self.array.renamed_singly(self._codec.decode(payload, type=list[msgspec.Raw]), budget)
        budget.is_unfit = not self.takes_others
        return payload

    def _opener(self) -> Callable[[Any], Any]:
        # Exceptions are slow, so the type allows all likely values.
        kinds: Any = str | int | float | bool | None if self.takes_others else None
        if self.map is not None:
            # The type of the keys must be exact: the guard against hash collisions has checked only such keys.
            kinds |= dict.__class_getitem__((self.map.keys, msgspec.Raw))
        if self.array is not None:
            kinds |= list.__class_getitem__(self.array.items)
        found: Callable[[Any], Any] = self._codec.Decoder(kinds).decode
        return found


class _Row:
    """Renames the items of an array, all of one type."""

    def __init__(self, items: _Plan) -> None:
        #: The type of the items when the array is decoded: a map or None if all items must be maps of fields, else Raw,
        #: which keeps the items encoded.
        self.items: Any = msgspec.Raw
        self._plan = items
        self._rename: Callable[[Any, _Budget], Any] = items.renamed
        if isinstance(items.map, _Fields) and items.array is None and not items.takes_others:
            self.items = dict[str, msgspec.Raw] | None
            self._rename = items.map.renamed

    def renamed(self, opened: list[Any], budget: _Budget) -> list[Any]:
        rename = self._rename
        return [None if item is None else rename(item, budget) for item in opened]

    def renamed_singly(self, opened: list[Any], budget: _Budget) -> list[Any]:
        return [self._plan.renamed(item, budget) for item in opened]


class _Places:
    """Renames the items of a tuple."""

    items: Final = msgspec.Raw

    def __init__(self, places: Sequence[_Plan | None]) -> None:
        self._places = places

    def renamed(self, opened: list[Any], budget: _Budget) -> list[Any]:
        for at, plan in enumerate(self._places[: len(opened)]):
            if plan is not None:
                opened[at] = plan.renamed(opened[at], budget)
        return opened


class _Entries:
    """Renames fields in the values of a map."""

    def __init__(self, keys: Any, values: _Plan) -> None:
        self.keys = keys
        self._values = values

    def renamed(self, opened: dict[Any, Any], budget: _Budget) -> dict[Any, Any]:
        rename = self._values.renamed
        return {key: rename(value, budget) for key, value in opened.items()}


class _Fields:
    """Renames the fields of a class or of a typed dict."""

    keys: Final = str

    def __init__(self, part: Any) -> None:
        #: For each accepted name: our name, and the plan of the value.
        self.known: dict[str, tuple[str, _Plan | None]] = {}
        self._keeps_unknown = getattr(part, "forbid_unknown_fields", False)
        if (tag_field := getattr(part, "tag_field", None)) is not None:
            self.known[tag_field] = tag_field, None

    def renamed(self, opened: dict[str, Any], budget: _Budget) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in opened.items():
            known = self.known.get(name)
            if known is None:
                if self._keeps_unknown:
                    found[name] = value
                continue
            own, plan = known
            if own in found:
                raise ValueError(f"{own!r} comes twice: under this name and under its name in Go")
            found[own] = value if plan is None else plan.renamed(value, budget)
        return found


class _Tagged:
    """Renames the fields of one of several Structs, which a tag distinguishes."""

    keys: Final = str

    def __init__(self, codec: Any, tag_field: str) -> None:
        self._decode = codec.Decoder(str | int).decode
        self._tag_field = tag_field
        self.structs: dict[Any, _Fields] = {}

    def renamed(self, opened: dict[str, Any], budget: _Budget) -> dict[str, Any]:
        tag = opened.get(self._tag_field)
        fields = None if tag is None else self.structs.get(self._decoded(tag))
        return opened if fields is None else fields.renamed(opened, budget)

    def _decoded(self, tag: Any) -> Any:
        try:
            return self._decode(tag)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None


class _Plans:
    """Creates the plans of a type and of the types inside it."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._of_classes: dict[Any, _Plan] = {}

    def of(self, part: Any) -> _Plan | None:
        """Return the plan of a type; None if Go's names do not differ from ours."""
        if isinstance(part, schema.Metadata):
            return self.of(part.type)
        if not has_names(part):
            return None
        if is_class(part) or isinstance(part, schema.TypedDictType):
            return self._of_class(part)
        plan = _Plan(self._codec)
        if isinstance(part, schema.UnionType):
            self._add_members(plan, part)
        elif isinstance(part, schema.DictType):
            values = self.of(part.value_type)
            if values is not None and key_type(part) is not None:
                plan.map = _Entries(plain_type(part.key_type), values)
        elif isinstance(part, ROWS):
            items = self.of(part.item_type)
            plan.array = None if items is None else _Row(items)
        elif isinstance(part, schema.TupleType | schema.NamedTupleType):
            kinds = (
                part.item_types if isinstance(part, schema.TupleType) else [one.type for one in part.fields]
            )
            places = [self.of(kind) for kind in kinds]
            plan.array = _Places(places) if any(places) else None
        return plan if plan.map is not None or plan.array is not None else None

    def _of_class(self, part: Any) -> _Plan:
        plan = self._of_classes.get(part.cls)
        if plan is None:
            plan = self._of_classes[part.cls] = _Plan(self._codec)
            plan.map = _Fields(part)
            written = names_of(part)
            for field in part.fields:
                own = field.encode_name
                plan.map.known[own] = plan.map.known[written.get(own, own)] = own, self.of(field.type)
        return plan

    def _add_members(self, plan: _Plan, part: schema.UnionType) -> None:
        """Add the plans of a union's members: at most one array, and one map or several tagged Structs."""
        has_tags = sum(map(is_class, part.types)) > 1
        for member in part.types:
            found = self.of(member)
            if found is None:
                plan.takes_others |= not isinstance(member, schema.NoneType)
                continue
            if has_tags and isinstance(member, schema.StructType) and is_class(member):
                if not isinstance(plan.map, _Tagged):
                    plan.map = _Tagged(self._codec, str(member.tag_field))
                if isinstance(found.map, _Fields):
                    plan.map.structs[member.tag] = found.map
            else:
                plan.map = found.map or plan.map
                plan.array = found.array or plan.array
