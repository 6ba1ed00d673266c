"""msgpack: the default codec. msgspec encodes values and decodes typed ones; the msgpack package decodes plain ones."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import msgspec

from fastrpc.assigned_numbers import CODECS
from fastrpc.codecs.base import BaseCodec, Payload, unsuitable_type
from fastrpc.types.base import encode_value

__all__ = ["MsgpackCodec"]

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=partial(encode_value, "msgpack")).encode

_decode_any: Callable[[Payload], Any] = msgspec.msgpack.Decoder().decode

#: Timestamps become aware datetimes in UTC, as in msgspec.
TIMESTAMP_AS_DATETIME = 3


class MsgpackCodec(BaseCodec):
    """Carries all values that msgspec supports, the types of `fastrpc.types`, and plain values without annotation."""

    name = "msgpack"
    wire_id = CODECS["msgpack"]

    def encoder(self) -> Callable[[Any], bytes]:
        return _encode

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        if type is Any or type is object:
            return _plain_decoder()
        return self.hooked_decoder(type, None, None)

    def hooked_decoder(
        self,
        type: Any,
        dec_hook: Callable[[Any, Any], Any] | None,
        ext_hook: Callable[[int, memoryview], Any] | None,
    ) -> Callable[[Payload], Any]:
        try:
            return msgspec.msgpack.Decoder(type, dec_hook=dec_hook, ext_hook=ext_hook).decode
        except (TypeError, NameError) as error:
            raise unsuitable_type(self.name, type, error) from error


@cache
def _plain_decoder() -> Callable[[Payload], Any]:
    import msgpack

    unpack = partial(
        msgpack.unpackb,
        raw=False,
        # Arguments that mix names and positions arrive under integer keys.
        strict_map_key=False,
        timestamp=TIMESTAMP_AS_DATETIME,
        # The extension type of msgspec, which the encoder accepts.
        ext_hook=msgspec.msgpack.Ext,
    )

    def decode(payload: Payload) -> Any:
        try:
            return unpack(payload)
        except TypeError:
            # The key of a map is an array, which the msgpack package makes an unhashable list. msgspec makes it a
            # tuple, as in typed values.
            return _decode_any(payload)

    return decode
