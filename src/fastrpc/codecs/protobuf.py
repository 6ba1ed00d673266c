"""Protobuf: message classes of the user's own protobuf library, known by their methods only."""

from collections.abc import Callable
from types import NoneType
from typing import Any, cast

from fastrpc.codecs.base import Payload, decode_failure, encode_failure, unsuitable_type
from fastrpc.errors import EncodeError

__all__ = ["ProtobufCodec"]


class ProtobufCodec:
    """Carries objects with `SerializeToString` whose class has `FromString`, and None as no bytes."""

    name = "protobuf"
    wire_id = 3

    def encode(self, value: Any) -> bytes:
        try:
            return _encode(value)
        except Exception as error:
            raise encode_failure(self.name, value, error) from error

    def decode(self, payload: Payload, type: Any = Any) -> Any:
        decode = self.decoder(type)
        try:
            return decode(payload)
        except Exception as error:
            raise decode_failure(self.name, error) from error

    def encoder(self) -> Callable[[Any], bytes]:
        return _encode

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        if type is None or type is NoneType:
            return _decode_none
        from_string = getattr(type, "FromString", None)
        if from_string is None:
            raise unsuitable_type(self.name, type, "expected a protobuf message class")
        return cast(Callable[[Payload], Any], from_string)


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
