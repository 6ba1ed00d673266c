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
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect as schema

from fastrpc._core.payload.marshal import PayloadCoders
from fastrpc.rpc.aliases import go_name
from fastrpc.rpc.definition import MethodTypes
from fastrpc.rpc.type_graph import all_parts

__all__ = ["coders_in_go"]

_ROWS: Final = (schema.ListType, schema.VarTupleType, schema.SetType, schema.FrozenSetType)


class _Plan:
    """Where in a value of a type there are fields to rename."""

    def __init__(self) -> None:
        #: Of a class: its own names of fields by those of Go.
        self.own: dict[str, str] = {}
        #: Of a class: what is within its fields, by their own names.
        self.within: dict[str, _Plan] = {}
        #: Of a list, or of a map: what is within each item.
        self.items: _Plan | None = None
        self.is_map = False


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
        if written and found is not None:
            found = {written[name]: item for name, item in found.items()}
        return encode(found)

    return encode_renamed


def _has_names(kind: Any) -> bool:
    """Whether a type has a field whose name Go writes differently."""
    return any(_own_names(part) for part in all_parts([kind]))


def _own_names(part: Any) -> dict[str, str]:
    """Return the own names of the fields of a class by those of Go, as far as they differ."""
    if not _is_class(part):
        return {}
    return {written: name for name, written in _names_in_go(part.cls).items() if written != name}


def _is_class(part: Any) -> bool:
    """Whether a type is a dataclass, or a Struct with names."""
    if isinstance(part, schema.StructType):
        return not part.array_like
    return isinstance(part, schema.DataclassType) and dataclasses.is_dataclass(part.cls)


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
        # A payload does not tell which of several classes it is.
        plans = [plan for member in part.types if (plan := _plan_of(member, known)) is not None]
        return plans[0] if len(plans) == 1 else None
    if _is_class(part):
        plan = known.get(part.cls)
        if plan is None:
            plan = known[part.cls] = _Plan()
            plan.own = _own_names(part)
            for field in part.fields:
                within = _plan_of(field.type, known)
                if within is not None:
                    plan.within[field.encode_name] = within
        return plan
    is_map = isinstance(part, schema.DictType)
    if not is_map and not isinstance(part, _ROWS):
        return None
    items = _plan_of(part.value_type if is_map else part.item_type, known)
    if items is None:
        return None
    row = _Plan()
    row.items, row.is_map = items, is_map
    return row


class _Renaming:
    """Renames the fields in payloads of one codec."""

    def __init__(self, codec_name: str) -> None:
        codec: Any = msgspec.json if codec_name == "json" else msgspec.msgpack
        self._encode = codec.Encoder().encode
        self._open_row = codec.Decoder(list[msgspec.Raw]).decode
        self._open_map = codec.Decoder(dict[str, msgspec.Raw]).decode

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
            if plan.items is None or plan.is_map:
                opened = self._open_map(payload)
            else:
                row = self._open_row(payload)
                return msgspec.Raw(self._encode([self.renamed(plan.items, item) for item in row]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return payload
        found: dict[str, Any] = {}
        for name, value in opened.items():
            own = plan.own.get(name, name)
            if own in found:
                raise ValueError(f"{own!r} comes twice, once in its name in Go")
            within = plan.items if plan.is_map else plan.within.get(own)
            found[own] = self.renamed(within, value)
        return msgspec.Raw(self._encode(found))


def _in_go(value: Any) -> Any:
    """Return a value with its dataclasses and Structs as maps by the names of Go."""
    if isinstance(value, list | tuple | set | frozenset):
        return [_in_go(item) for item in value]
    if isinstance(value, dict):
        return {key: _in_go(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = _names_in_go(type(value))
        found = {written: getattr(value, name, msgspec.UNSET) for name, written in names.items()}
        return {name: _in_go(item) for name, item in found.items() if item is not msgspec.UNSET}
    if isinstance(value, msgspec.Struct) and not value.__struct_config__.array_like:
        return _struct_in_go(value)
    return value


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
