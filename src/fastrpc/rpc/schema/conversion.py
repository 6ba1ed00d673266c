"""The hooks with which msgspec decodes the types of `fastrpc.types`. Methods without such types have no hooks."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, Final, NamedTuple, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.schema.defaults import filler_for
from fastrpc.rpc.schema.type_graph import all_annotations, all_parts, is_hashable
from fastrpc.types.base import ARRAY_EXTENSION, PayloadType, encode_value, find

__all__ = [
    "Hooks",
    "convert_plain",
    "holds_arrays",
    "hooks_for",
    "may_hold_arrays",
    "payload_type",
    "plain_form",
    "written_types",
]

#: JSON encodes these types as text. msgpack has a type for bytes, so a text in msgpack is refused.
_BYTES: Final = (bytes, bytearray, memoryview)

_SIMPLE_KEYS: Final = (schema.AnyType, schema.StrType, schema.IntType, schema.FloatType, schema.BytesType)


class Hooks(NamedTuple):
    """The hooks of one decoder."""

    dec_hook: Callable[[Any, Any], Any]
    #: None to use msgspec's default for extensions.
    ext_hook: Callable[[int, memoryview], Any] | None


def hooks_for(codec_name: str, *kinds: Any) -> Hooks | None:
    """Return the hooks that a decoder of these types needs; None if msgspec knows all their parts.

    Raises:
        TypeError: a part is a class that cannot be decoded.
    """
    written = written_types(kinds)
    for part in written:
        _converter(codec_name, part)
    if not written:
        return None
    has_arrays = codec_name == "msgpack" and may_hold_arrays(kinds)
    return Hooks(_dec_hook(codec_name), _keep_view if has_arrays else None)


def holds_arrays(kinds: Sequence[Any]) -> bool:
    """Return whether these types contain numpy array types."""
    return any(payload_type(part).is_array for part in written_types(kinds))


def may_hold_arrays(kinds: Sequence[Any]) -> bool:
    """Return whether values of these types may contain numpy arrays."""
    return any(payload_type(part).may_hold_arrays for part in written_types(kinds))


def written_types(kinds: Sequence[Any]) -> list[Any]:
    """Return the parts of these types that msgspec does not know; TypeError if a part cannot be encoded."""
    return [part for kind in kinds for part in _written_in(kind)]


def _written_in(kind: Any) -> tuple[Any, ...]:
    # Cached, because the same types recur in the methods of a service and inspection is slow.
    return _inspected(kind) if is_hashable(kind) else _inspected.__wrapped__(kind)


@lru_cache(maxsize=1024)
def _inspected(kind: Any) -> tuple[Any, ...]:
    classes = {part.cls for part in all_parts([kind]) if isinstance(part, schema.CustomType)} - {object}
    for cls in classes:
        payload_type(cls)
    return (*classes, *filter(_has_type, all_annotations([kind]))) if classes else ()


def _has_type(kind: Any) -> bool:
    cls = get_origin(kind) or kind
    return isinstance(cls, type) and find(cls) is not None


def payload_type(kind: Any) -> PayloadType:
    """Return the payload type of a class, with or without type arguments; TypeError if it has none."""
    known = find(get_origin(kind) or kind)
    if known is None:
        raise TypeError(
            f"{type_text(kind)} has no encoding: make it a dataclass or a msgspec.Struct,"
            " or add it by fastrpc.types.register"
        )
    return known


@cache
def _dec_hook(codec_name: str) -> Callable[[Any, Any], Any]:
    def decode(kind: Any, plain: Any) -> Any:
        return plain if kind is object else _converter(codec_name, kind)(plain)

    return decode


@cache
def _converter(codec_name: str, kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts a codec's plain values to a class, with or without type arguments."""
    return payload_type(kind).decoder(kind, partial(convert_plain, codec_name))


def convert_plain(codec_name: str, kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts the plain values that a codec has decoded to values of a type.

    Raises:
        TypeError: a part of the type is a class that cannot be decoded.
    """
    written_types([kind])
    filler = filler_for(kind)
    convert = _reader(codec_name, kind) if _has_odd_keys(kind) else _direct(codec_name, kind)

    def converted(plain: Any) -> Any:
        try:
            value = convert(plain)
        except msgspec.ValidationError as error:
            # msgspec adds the place of the outer value to an error only if it is a plain ValueError.
            raise ValueError(str(error)) from error
        return value if filler is None else filler(value)

    return converted


def plain_form(codec_name: str) -> Callable[[Any], Any]:
    """Return a function that converts values to plain values, for a codec that encodes only these."""
    return partial(msgspec.to_builtins, enc_hook=partial(encode_value, codec_name), str_keys=True)


def _direct(codec_name: str, kind: Any) -> Callable[[Any], Any]:
    is_text = codec_name == "json"
    return partial(
        msgspec.convert,
        type=kind,
        dec_hook=_dec_hook(codec_name),
        builtin_types=_BYTES if codec_name == "msgpack" else None,
        str_keys=is_text,
    )


def _has_odd_keys(kind: Any) -> bool:
    """Return whether a type contains a map with keys for which `msgspec.convert` calls no hook."""
    return any(
        isinstance(part, schema.DictType) and not isinstance(part.key_type, _SIMPLE_KEYS)
        for part in all_parts([kind])
    )


def _reader(codec_name: str, kind: Any) -> Callable[[Any], Any]:
    """Return a converter for the case in which `_direct` calls no hook for keys: encode the value and decode it."""
    dec_hook = _dec_hook(codec_name)
    if codec_name == "json":
        text = msgspec.json.Decoder(kind, dec_hook=dec_hook)
        return lambda plain: text.decode(msgspec.json.encode(plain))
    packed = msgspec.msgpack.Decoder(kind, dec_hook=dec_hook, ext_hook=_keep_view)
    return lambda plain: packed.decode(msgspec.msgpack.encode(plain))


def _keep_view(code: int, data: memoryview) -> msgspec.msgpack.Ext:
    """Return an extension. The data of an array are not copied from the message."""
    return msgspec.msgpack.Ext(code, data if code == ARRAY_EXTENSION else bytes(data))
