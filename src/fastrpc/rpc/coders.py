"""Create the functions that encode and decode the payloads of a method with a codec."""

import inspect
import sys
import types
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Annotated, Any, Final, Literal, NewType, Union, cast, get_args, get_origin

from fastrpc._core.payload.arguments import ArgumentShape
from fastrpc._core.payload.coders import PayloadCoders, PayloadScan
from fastrpc._core.payload.msgspec_coders import BytesDecoder, BytesEncoder
from fastrpc.codecs.base import Codec, HookedCodec, codec_number, decode_failure
from fastrpc.codecs.protobuf import message_encoder
from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition, MethodTypes
from fastrpc.rpc.given_coders import coders_of
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.schema.conversion import (
    Hooks,
    convert_plain,
    hooks_for,
    may_hold_arrays,
    plain_form,
    written_types,
)
from fastrpc.rpc.schema.defaults import filled
from fastrpc.rpc.schema.finite_numbers import finite_encoder
from fastrpc.rpc.schema.scans import scan_for
from fastrpc.rpc.schema.wide_integers import wide_integer_decoder, wide_integer_passer
from fastrpc.rpc.shared_results import encoded_once

__all__ = [
    "coders_for",
    "decoded_types",
    "encoder_for",
    "is_protobuf",
    "may_hold_containers",
    "plain_decoder",
]

_Encoders = tuple[Callable[[Any], bytes], Callable[[Any], bytes], Callable[[Any], bytes]]

#: The longest msgpack array whose first byte contains its length. The marshal reads only this byte.
LONGEST_PREPARED: Final = 15

#: The hint for a union whose members have indistinguishable payloads.
_UNION_HINT: Final = (
    "make each a msgspec.Struct with a tag that distinguishes them: class Cat(msgspec.Struct, tag=True)"
)

#: The hint for a union with a class that msgspec does not know: it decodes such a class from any payload.
_OWN_UNION_HINT: Final = (
    "wrap each in a msgspec.Struct with a tag that distinguishes them: class Home(msgspec.Struct, tag=True): "
    "path: Path; of pydantic models, make one: pydantic.RootModel[Cat | Dog]"
)

#: The hint for a type alias that refers to itself.
_ALIAS_HINT: Final = (
    'make it a class, whose fields may have its type: class Node(msgspec.Struct): children: list["Node"]; '
    "or write Any where it recurs"
)

#: Codecs whose payload is one value, not an array of arguments.
_ONE_VALUE: Final = frozenset({"raw", "protobuf"})

#: Codecs that decode values of any type themselves. Other codecs return plain values, which are then converted.
_TYPED: Final = frozenset({"msgpack", "json"})

#: Types of scalar values, by name, to avoid importing `uuid` only for the comparison.
_SCALARS: Final = frozenset(
    {
        *(f"builtins.{name}" for name in ("NoneType", "bool", "bytearray", "bytes", "float", "int", "str")),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta")),
        "decimal.Decimal",
        "uuid.UUID",
    }
)


def coders_for(
    definition: MethodDefinition, codec: Codec, shape: ArgumentShape, *, is_plain: bool = False
) -> PayloadCoders:
    """Return the coders of a method for a codec.

    Args:
        is_plain: True if arguments arrive by HTTP. Then JSON contains neither NaN nor infinity, and integers beyond 2⁵³
            may be text.

    Raises:
        ConfigError: the types are unknown at run time, or this codec cannot encode them.
    """
    if definition.given_coders is not None:
        return coders_of(definition.given_coders, codec, definition.label)
    known = decoded_types(definition)
    places = [f"parameter {parameter.name!r}" for parameter in definition.parameters]
    items = tuple(
        _decoder(definition, codec, kind, place) for kind, place in zip(known.parameters, places, strict=True)
    )
    decode_result = _payload_decoder(codec, _decoder(definition, codec, known.result, "the result"))
    decode_message = decode_result
    if definition.signature.stream is not None:
        place = f"parameter {definition.signature.stream.name!r}"
        decode_message = _payload_decoder(codec, _decoder(definition, codec, known.message, place))
    if codec.name in _ONE_VALUE:
        _check_single(definition, codec.name)
    open_arguments, exact = _argument_decoders(codec, shape, known.parameters)
    # For HTTP only the server encodes values, which are results.
    sent = (known.result,) if is_plain else (*known.parameters, known.result, known.message)
    if is_plain and codec.name == "json":
        told = definition.types()
        wide = wide_integer_passer if definition.passes_on else wide_integer_decoder
        items = tuple(map(wide, items, told.parameters))
        decode_message = wide(decode_message, told.message)
    return PayloadCoders(
        codec.name,
        codec_number(codec.name),
        encode=_encoders(codec, known, sent),
        decode=(decode_result, decode_message),
        exact=exact,
        open=open_arguments,
        items=items,
        scan=(
            _scan(codec, known.parameters),
            _scan(codec, (known.result,)),
            _scan(codec, (known.message,)),
        ),
    )


def decoded_types(definition: MethodDefinition) -> MethodTypes:
    """Return the types to which payloads are decoded: the method's types, or `Raw` if encoded values are passed on."""
    known = definition.types()
    if not definition.passes_on:
        return known
    from msgspec import Raw

    message = None if definition.signature.stream is None else Raw
    return MethodTypes((Raw,) * len(known.parameters), Raw, message)


def may_hold_containers(annotation: Any) -> bool:
    """Return whether a value of this type may be or contain an array or a map."""
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    origin = get_origin(annotation)
    if origin is Annotated:
        return may_hold_containers(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        return any(map(may_hold_containers, get_args(annotation)))
    if origin is Literal or annotation is None:
        return False
    if not isinstance(annotation, type):
        return True
    return (
        not issubclass(annotation, Enum)
        and f"{annotation.__module__}.{annotation.__qualname__}" not in _SCALARS
    )


def _scan(codec: Codec, kinds: Sequence[Any]) -> PayloadScan | None:
    return scan_for(codec, kinds) if any(map(may_hold_containers, kinds)) else None


def _argument_decoders(
    codec: Codec, shape: ArgumentShape, kinds: tuple[Any, ...]
) -> tuple[Callable[[Any], Any], tuple[Callable[[Any], Any] | None, ...] | None]:
    """Return a function that splits arguments into items, and functions that decode exactly n arguments."""
    if codec.name not in _TYPED:
        return plain_decoder(codec), None
    import msgspec

    opened = codec.decoder(list[msgspec.Raw] | dict[str | int, msgspec.Raw])
    longest = shape.positional
    if codec.name == "msgpack":
        longest = min(longest, LONGEST_PREPARED)
    elif not shape.shortest == shape.positional == len(kinds):
        return opened, None  # JSON arrays have no length prefix
    exact = (
        filled(_row_decoder(codec, kinds[:n]), kinds[:n], as_row=True) if n >= shape.shortest else None
        for n in range(longest + 1)
    )
    return opened, tuple(exact)


def _row_decoder(codec: Codec, kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    return _typed_decoder(codec, tuple.__class_getitem__(kinds), hooks_for(codec.name, *kinds))


def _typed_decoder(codec: Codec, kind: Any, hooks: Hooks | None) -> Callable[[Any], Any]:
    """Return a msgspec decoder of a codec, with hooks for types that msgspec does not know."""
    return codec.decoder(kind) if hooks is None else cast(HookedCodec, codec).hooked_decoder(kind, *hooks)


def plain_decoder(codec: Codec) -> Callable[[Any], Any]:
    """Return a decoder for payloads of unknown type. The payloads of `raw` and `protobuf` stay bytes."""
    if codec.name in _ONE_VALUE:
        return bytes
    decode = codec.decoder(Any)
    return decode if codec.name in _TYPED else _guarded(codec, decode)


def _guarded(codec: Codec, decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decoder of an installed codec that raises every error of the codec's library as DecodeError."""

    def guarded(payload: Any) -> Any:
        try:
            return decode(payload)
        except Exception as error:
            raise decode_failure(codec.name, error) from error

    return guarded


def _encoders(codec: Codec, known: MethodTypes, sent: Sequence[Any]) -> _Encoders:
    """Return the encoders of arguments, results and messages; `sent` has the types of all these values."""
    encode = encoder_for(codec, sent)
    if codec.name != "protobuf":
        return encode, encoded_once(encode, known.result), encode

    def one(kind: Any) -> Callable[[Any], bytes]:
        return encode if kind is None or kind is types.NoneType else message_encoder(kind)

    return one(next(iter(known.parameters), None)), one(known.result), one(known.message)


def encoder_for(codec: Codec, kinds: Sequence[Any]) -> Callable[[Any], bytes]:
    """Return an encoder for any value. It always returns `bytes`, because the core reads them without a check.

    Args:
        kinds: the types of the values. They decide whether arrays are aligned, and whether numbers are checked for NaN
            and infinity.
    """
    if codec.name == "msgpack" and may_hold_arrays(kinds) and "numpy" in sys.modules:
        from fastrpc.types.arrays import aligned_encoder

        return aligned_encoder()
    encode = codec.encoder()
    if codec.name == "msgpack" and any(kind is bytes for kind in kinds):
        return BytesEncoder(encode)
    if codec.name == "json":
        return finite_encoder(encode, kinds)
    if codec.name in _ONE_VALUE or codec.name in _TYPED:
        return encode

    # An installed codec may know msgspec's types, but not the types of `fastrpc.types`.
    plain = plain_form(codec.name) if written_types(kinds) else None

    def checked(value: Any) -> bytes:
        payload: Any = encode(value if plain is None else plain(value))
        return payload if type(payload) is bytes else bytes(memoryview(payload))

    return checked


def _payload_decoder(codec: Codec, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decoder for a payload of one value, given the function that converts the value."""
    if codec.name in _ONE_VALUE or codec.name in _TYPED:
        return convert
    opened = plain_decoder(codec)
    return lambda payload: convert(opened(payload))


def _decoder(definition: MethodDefinition, codec: Codec, kind: Any, place: str) -> Callable[[Any], Any]:
    """Return the decoder of one value; ConfigError if the codec cannot encode its type."""
    try:
        if codec.name in _ONE_VALUE:
            return codec.decoder(kind)
        if kind is bytes and codec.name == "msgpack":
            return BytesDecoder(codec.decoder(bytes))
        hooks = hooks_for(codec.name, kind)
        if codec.name in _TYPED:
            return filled(_typed_decoder(codec, kind, hooks), (kind,), as_row=False)
        import msgspec

        # An installed codec returns plain values for every type.
        if hooks is not None:
            return convert_plain(codec.name, kind)
        return filled(partial(msgspec.convert, type=kind), (kind,), as_row=False)
    except RecursionError:
        # The kind is an alias by Python 3.12's `type` statement that refers to itself.
        raise _unsuitable(definition, codec, place, kind, "it names itself") from None
    except (ConfigError, TypeError, ValueError, NameError, AttributeError) as error:
        reason = error.message if isinstance(error, ConfigError) else str(error)
        # The error text states the cause. The frames of a library would hide the frames of the program.
        raise _unsuitable(definition, codec, place, kind, reason) from None


def _check_single(definition: MethodDefinition, codec_name: str) -> None:
    is_bare = not definition.parameters and definition.signature.stream is None
    if len(definition.parameters) > 1 or (codec_name == "raw" and is_bare):
        raise ConfigError(
            f"{definition.label} has {len(definition.parameters)} parameters, codec {codec_name} carries one",
            hint="put the values into one parameter, or leave the codec out",
        )


def _unsuitable(
    definition: MethodDefinition, codec: Codec, place: str, kind: Any, reason: str
) -> ConfigError:
    if is_protobuf(kind) and codec.name != "protobuf":
        reason = "a protobuf message travels by codec protobuf"
    hint = None
    if "ForwardRef" in reason:
        name = reason.partition("ForwardRef('")[2].partition("'")[0]
        reason = f"the type alias {name!r} names itself"
    if "names itself" in reason:
        hint = _ALIAS_HINT
    elif "custom type" in reason:
        hint = _OWN_UNION_HINT
    elif "unions may not contain" in reason or "must be tagged" in reason:
        hint = _UNION_HINT
    return ConfigError(
        f"{definition.label}: {place} is {type_text(kind)}, which {codec.name} cannot carry: {reason}",
        hint=hint,
    )


def is_protobuf(kind: Any) -> bool:
    """Return whether a type is a class of protobuf messages."""
    return inspect.isclass(kind) and hasattr(kind, "SerializeToString") and hasattr(kind, "FromString")
