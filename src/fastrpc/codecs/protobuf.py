"""Protobuf: message classes of the user's protobuf library, recognised by their methods."""

from collections.abc import Callable
from types import NoneType
from typing import Any, cast

from fastrpc.assigned_numbers import CODECS
from fastrpc.codecs.base import BaseCodec, Payload, unsuitable_type
from fastrpc.errors import EncodeError

__all__ = ["ProtobufCodec", "message_encoder", "message_layout"]

# https://protobuf.dev/programming-guides/encoding/#structure
LENGTH_WIRE_TYPE = 2
GROUP_WIRE_TYPE = 3

# google.protobuf.descriptor.FieldDescriptor.TYPE_GROUP
GROUP_FIELD_TYPE = 10

#: The values by which a `MessageLayout` marks fields of numbers that may be packed. Parsers accept repeated numbers
#: packed and unpacked, with any schema.
PACKED_VARINTS, PACKED_FOUR_BYTES, PACKED_EIGHT_BYTES = -2, -3, -4
_PACKED = {
    # int64, uint64, int32, bool, uint32, enum, sint32, sint64
    **dict.fromkeys((3, 4, 5, 8, 13, 14, 17, 18), PACKED_VARINTS),
    # float, fixed32, sfixed32
    **dict.fromkeys((2, 7, 15), PACKED_FOUR_BYTES),
    # double, fixed64, sfixed64
    **dict.fromkeys((1, 6, 16), PACKED_EIGHT_BYTES),
}


class ProtobufCodec(BaseCodec):
    """Carries objects with `SerializeToString` whose class has `FromString`, and None as no bytes."""

    name = "protobuf"
    wire_id = CODECS["protobuf"]

    def encoder(self) -> Callable[[Any], bytes]:
        return _encode

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        if type is None or type is NoneType:
            return _decode_none
        from_string = getattr(type, "FromString", None)
        if from_string is None:
            raise unsuitable_type(self.name, type, "expected a protobuf message class")
        return cast(Callable[[Payload], Any], from_string)


def message_encoder(kind: Any) -> Callable[[Any], bytes]:
    """Return the encoder of a message class. It refuses None, which `encode` sends as a message without fields."""

    def encode(value: Any) -> bytes:
        try:
            serialize = value.SerializeToString
        except AttributeError:
            raise EncodeError(f"expected `{kind.__name__}`, got `{type(value).__name__}`") from None
        return cast(bytes, serialize())

    return encode


def message_layout(type: Any) -> list[dict[int, int]] | None:
    """Return which fields of a message class hold messages or packed numbers, for the pre-scan's `MessageLayout`.

    None if the class has no descriptor, as in libraries other than Google's.
    """
    descriptor: Any = getattr(type, "DESCRIPTOR", None)
    if not hasattr(descriptor, "fields_by_number"):
        return None
    # Messages refer to each other, even in cycles: each gets its position when it is first found.
    places = {descriptor.full_name: 0}
    descriptors = [descriptor]
    layout: list[dict[int, int]] = []
    for found in descriptors:
        held_by_tag = {}
        for field in _fields(found):
            held = field.message_type
            if held is None:
                if _is_repeated(field) and field.type in _PACKED:
                    held_by_tag[field.number << 3 | LENGTH_WIRE_TYPE] = _PACKED[field.type]
                continue
            if held.full_name not in places:
                places[held.full_name] = len(descriptors)
                descriptors.append(held)
            wire_type = GROUP_WIRE_TYPE if field.type == GROUP_FIELD_TYPE else LENGTH_WIRE_TYPE
            held_by_tag[field.number << 3 | wire_type] = places[held.full_name]
        layout.append(held_by_tag)
    return layout


def _fields(descriptor: Any) -> list[Any]:
    extensions = descriptor.file.pool.FindAllExtensions(descriptor) if descriptor.is_extendable else ()
    return [*descriptor.fields, *extensions]


def _is_repeated(field: Any) -> bool:
    # Later versions of the library have `is_repeated` instead of `label`, whose LABEL_REPEATED is 3.
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == 3)


def _encode(value: Any) -> bytes:
    if value is None:
        return b""
    try:
        serialize = value.SerializeToString
    except AttributeError:
        raise EncodeError(
            f"a value of type {type(value).__name__} cannot be encoded as protobuf: expected a message"
        ) from None
    return cast(bytes, serialize())


def _decode_none(payload: Payload) -> None:
    if len(payload):
        raise ValueError(f"expected no bytes, as for a result of None, got {len(payload)}")
