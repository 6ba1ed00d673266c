"""JSON: for callers without msgpack, and for people to read. msgspec encodes and decodes typed and plain values."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from fastrpc.assigned_numbers import CODECS
from fastrpc.codecs.base import BaseCodec, Payload, unsuitable_type
from fastrpc.types.base import encode_value

__all__ = ["JsonCodec"]

_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=partial(encode_value, "json")).encode


class JsonCodec(BaseCodec):
    """Carries all values that msgspec supports, and the types of `fastrpc.types` except arrays.

    Bytes travel as base64. Methods refuse NaN and infinity, for which this encoder writes null.
    """

    name = "json"
    wire_id = CODECS["json"]

    def encoder(self) -> Callable[[Any], bytes]:
        return _encode

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        return self.hooked_decoder(type, None, None)

    def hooked_decoder(
        self,
        type: Any,
        dec_hook: Callable[[Any, Any], Any] | None,
        ext_hook: Callable[[int, memoryview], Any] | None,
    ) -> Callable[[Payload], Any]:
        """Return a decoder for values of `type`; JSON has no extensions."""
        try:
            return msgspec.json.Decoder(type, dec_hook=dec_hook).decode
        except (TypeError, NameError) as error:
            raise unsuitable_type(self.name, type, error) from error
