"""Fields in the names of Go, for payloads of one value of services with `rpcx="go"`: `user_id` is `UserID`.

::

    {"UserID": 7, "Items": [{"ItemName": …}]}  ──►  {"user_id": 7, "items": [{"item_name": …}]}  ──► decoded as ever
    Order(user_id=7, items=[…])                ──►  {"UserID": 7, …}                             ──► encoded as ever

What arrives may have either name. Fields of dataclasses and Structs have names of Go, also within lists, maps and
optional values. Methods without such fields have the plain coders.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc._core.payload.marshal import PayloadCoders
from fastrpc.rpc.aliases import go_name
from fastrpc.rpc.definition import MethodTypes
from fastrpc.rpc.type_graph import all_parts

__all__ = ["coders_in_go"]

#: Keys of maps that are neither text nor number in MessagePack.
_ODD_KEYS: Final = (bytes, datetime, tuple, frozenset)

_ROWS: Final = (schema.ListType, schema.VarTupleType, schema.SetType, schema.FrozenSetType)


class _Plan:
    """Where in a value of a type there are fields to rename."""

    def __init__(self) -> None:
        #: Of a class: its own names of fields by those of Go.
        self.own: dict[str, str] = {}
        #: Of a class: what is within its fields, by their own names.
        self.within: dict[str, _Plan] = {}
        #: Of a list, or of a map: what is within each item; of a tuple: what is at each place.
        self.items: _Plan | None = None
        self.places: list[_Plan | None] = []
        self.is_map = False
        #: Of several Structs: the field that tells which one it is, and the plans by what is in there.
        self.tag_field = ""
        self.tagged: dict[Any, _Plan] = {}


def coders_in_go(coders: PayloadCoders, types: MethodTypes, parameters: Sequence[str] = ()) -> PayloadCoders:
    """Return coders that take fields in the names of Go as well, and write them.

    Args:
        coders: those of a codec whose payloads are values, with our names.
        types: those of the method.
        parameters: the names in the maps of arguments that they encode, if they encode nothing else.
    """
    renaming = _Renaming(coders.codec)
    return PayloadCoders(
        coders.codec,
        coders.codec_id,
        encode=_encoder(coders.encode, (*types.parameters, types.result), parameters),
        decode=(renaming.decoder(coders.decode_result, types.result), coders.decode_message),
        exact=None,
        open=coders.open,
        items=tuple(map(renaming.decoder, coders.items, types.parameters)),
        scan=(coders.scan_arguments, coders.scan_result, coders.scan_message),
    )


def _encoder(
    encode: Callable[[Any], bytes], kinds: Sequence[Any], parameters: Sequence[str]
) -> Callable[[Any], bytes]:
    written = {name: go_name(name) for name in parameters}
    if not written and not any(map(_has_names, kinds)):
        return encode

    def encode_renamed(value: Any) -> bytes:
        found = _in_go(value)
        if written and isinstance(found, dict):
            found = {written.get(name, name): item for name, item in found.items()}
        return encode(found)

    return encode_renamed


def _has_names(kind: Any) -> bool:
    """Whether a type has a field whose name Go writes differently."""
    return any(_own_names(part) for part in all_parts([kind]))


def _own_names(part: Any) -> dict[str, str]:
    """Return the own names of the fields of a class by those of Go, as far as they differ."""
    if not _is_class(part):
        return {}
    return {written: name for name, written in _names_in_go(_class_of(part)).items() if written != name}


def _is_class(part: Any) -> bool:
    """Whether a type is a dataclass, or a Struct with names."""
    if isinstance(part, schema.StructType):
        return not part.array_like
    return isinstance(part, schema.DataclassType) and dataclasses.is_dataclass(_class_of(part))


def _class_of(part: Any) -> type:
    """Return the class of a type, without type arguments."""
    found: type = get_origin(part.cls) or part.cls
    return found


@cache
def _names_in_go(cls: type) -> dict[str, str]:
    """Return what Go calls the fields of a class, by what payloads of ours call them.

    A field that its Struct renames keeps that name, and so does one for which Go has no name, or that of another field.
    """
    is_struct = issubclass(cls, msgspec.Struct)
    fields: Any = msgspec.structs.fields(cls) if is_struct else dataclasses.fields(cls)
    encoded = {field.name: field.encode_name if is_struct else field.name for field in fields}
    named = {own: _name_in_go(name) if own == name else own for name, own in encoded.items()}
    count = Counter(named.values())
    return {own: written if count[written] == 1 else own for own, written in named.items()}


def _name_in_go(name: str) -> str:
    try:
        return go_name(name)
    except TypeError:
        return name


def _plan_of(part: Any, known: dict[Any, _Plan]) -> _Plan | None:
    """Return the plan of a type; None where nothing can be within."""
    if isinstance(part, schema.Metadata):
        return _plan_of(part.type, known)
    if isinstance(part, schema.UnionType):
        return _union_plan(part, known)
    if _is_class(part) or isinstance(part, schema.TypedDictType):
        return _class_plan(part, known)
    plan = _Plan()
    if isinstance(part, schema.TupleType):
        plan.places = [_plan_of(item, known) for item in part.item_types]
    elif isinstance(part, schema.NamedTupleType):
        plan.places = [_plan_of(field.type, known) for field in part.fields]
    elif isinstance(part, schema.DictType):
        plan.items, plan.is_map = _plan_of(part.value_type, known), True
    elif isinstance(part, _ROWS):
        plan.items = _plan_of(part.item_type, known)
    return plan if plan.items is not None or any(plan.places) else None


def _class_plan(part: Any, known: dict[Any, _Plan]) -> _Plan:
    plan = known.get(part.cls)
    if plan is None:
        plan = known[part.cls] = _Plan()
        plan.own = _own_names(part)
        for field in part.fields:
            within = _plan_of(field.type, known)
            if within is not None:
                plan.within[field.encode_name] = within
    return plan


def _union_plan(part: Any, known: dict[Any, _Plan]) -> _Plan | None:
    """Return the plan of the only member that has one, or of Structs that a tag tells apart."""
    plans = [(member, plan) for member in part.types if (plan := _plan_of(member, known)) is not None]
    if len(plans) < 2:
        return plans[0][1] if plans else None
    plan = _Plan()
    for member, found in plans:
        if isinstance(member, schema.StructType) and member.tag_field is not None:
            plan.tag_field = member.tag_field
            plan.tagged[member.tag] = found
    return plan


class _Renaming:
    """Renames the fields in payloads of one codec."""

    def __init__(self, codec_name: str) -> None:
        codec: Any = msgspec.json if codec_name == "json" else msgspec.msgpack
        self._encode = codec.Encoder().encode
        self._open_row = codec.Decoder(list[msgspec.Raw]).decode
        self._open_map = codec.Decoder(dict[str, msgspec.Raw]).decode
        # JSON has no keys but texts.
        keys: Any = str if codec_name == "json" else str | int | float | bool | None
        self._open_any_map = codec.Decoder(dict.__class_getitem__((keys, msgspec.Raw))).decode
        self._decode = codec.Decoder(str | int).decode

    def decoder(self, decode: Callable[[Any], Any], kind: Any) -> Callable[[Any], Any]:
        """Return a decoder that takes fields in the names of Go as well; `decode` itself where there are none."""
        if not _has_names(kind):
            return decode
        plan = _plan_of(schema.type_info(kind), {})
        return lambda payload: decode(self.renamed(plan, payload))

    def renamed(self, plan: _Plan | None, payload: Any) -> Any:
        """Return a payload with our names; one that is no value of the type stays as it is.

        Raises:
            ValueError: a field is there by both names.
        """
        if plan is None:
            return payload
        try:
            if plan.is_map:
                opened = self._open_any_map(payload).items()
                return self._raw({key: self.renamed(plan.items, value) for key, value in opened})
            if plan.items is not None or plan.places:
                row = self._open_row(payload)
                places = plan.places or [plan.items] * len(row)
                if len(places) != len(row):
                    return payload
                return self._raw([self.renamed(at, item) for at, item in zip(places, row, strict=True)])
            return self._renamed_class(plan, self._open_map(payload))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # It is refused as any other that does not fit.
            return payload

    def _renamed_class(self, plan: _Plan, opened: dict[str, msgspec.Raw]) -> Any:
        if plan.tag_field:
            chosen = plan.tagged.get(self._decode(opened.get(plan.tag_field, b"")))
            return self._raw(opened) if chosen is None else self._renamed_class(chosen, opened)
        found: dict[str, Any] = {}
        for name, value in opened.items():
            own = plan.own.get(name, name)
            if own in found:
                raise ValueError(f"{own!r} comes twice, once in its name in Go")
            found[own] = self.renamed(plan.within.get(own), value)
        return self._raw(found)

    def _raw(self, value: Any) -> msgspec.Raw:
        return msgspec.Raw(self._encode(value))


def _in_go(value: Any) -> Any:
    """Return a value with its dataclasses and Structs as maps by the names of Go."""
    if isinstance(value, list | tuple | set | frozenset):
        return [_in_go(item) for item in value]
    if isinstance(value, dict):
        # Maps with other keys are not looked through when they come back.
        return value if any(isinstance(key, _ODD_KEYS) for key in value) else _map_in_go(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = _names_in_go(type(value))
        found = {written: getattr(value, name, msgspec.UNSET) for name, written in names.items()}
        return {name: _in_go(item) for name, item in found.items() if item is not msgspec.UNSET}
    if isinstance(value, msgspec.Struct) and not value.__struct_config__.array_like:
        return _struct_in_go(value)
    return value


def _map_in_go(value: dict[Any, Any]) -> dict[Any, Any]:
    return {key: _in_go(item) for key, item in value.items()}


def _struct_in_go(value: msgspec.Struct) -> dict[str, Any]:
    config, names = value.__struct_config__, _names_in_go(type(value))
    found: dict[str, Any] = {} if config.tag_field is None else {config.tag_field: config.tag}
    for field in msgspec.structs.fields(value):
        item = getattr(value, field.name)
        if item is not msgspec.UNSET and not (config.omit_defaults and _is_default(field, item)):
            found[names[field.encode_name]] = _in_go(item)
    return found


def _is_default(field: msgspec.structs.FieldInfo, item: Any) -> bool:
    if field.default is not msgspec.NODEFAULT:
        return bool(item is field.default or item == field.default)
    return field.default_factory in (list, dict, set) and not item
