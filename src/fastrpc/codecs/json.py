"""JSON: for callers without msgpack, and for people to read. By msgspec, typed or not."""

from collections.abc import Callable
from typing import Any

import msgspec

from fastrpc.assigned_numbers import CODECS
from fastrpc.codecs.base import BaseCodec, Payload, unsuitable_type

__all__ = ["JsonCodec"]

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class JsonCodec(BaseCodec):
    """Carries all values that msgspec supports; bytes travel as base64, NaN and infinity as null."""

    name = "json"
    wire_id = CODECS["json"]

    def encoder(self) -> Callable[[Any], bytes]:
        return _encode

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        try:
            return msgspec.json.Decoder(type).decode
        except (TypeError, NameError) as error:
            raise unsuitable_type(self.name, type, error) from error
