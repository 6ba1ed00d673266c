"""JSON: for callers that have nothing else, and for reading with the eye. By msgspec, typed or not."""

from collections.abc import Callable
from typing import Any

import msgspec

from fastrpc.codecs.base import Payload, decode_failure, encode_failure, unsuitable_type

__all__ = ["JsonCodec"]

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class JsonCodec:
    """Carries everything msgspec understands; bytes travel as base64, NaN and infinity as null."""

    name = "json"
    wire_id = 2

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
        try:
            return msgspec.json.Decoder(type).decode
        except (TypeError, NameError) as error:
            raise unsuitable_type(self.name, type, error) from error
