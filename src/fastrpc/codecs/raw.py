"""Raw: the value is the payload, opaque bytes."""

from collections.abc import Callable
from typing import Any

from fastrpc.assigned_numbers import CODECS
from fastrpc.codecs.base import Payload, unsuitable_type
from fastrpc.errors import EncodeError

__all__ = ["RawCodec"]


class RawCodec:
    """Carries bytes unchanged: a `bytes` object is copied neither when it is sent nor when it is received."""

    name = "raw"
    wire_id = CODECS["raw"]

    def encode(self, value: Any) -> bytes:
        return _encode(value)

    def decode(self, payload: Payload, type: Any = bytes) -> Any:
        return self.decoder(type)(payload)

    def encoder(self) -> Callable[[Any], bytes]:
        return _encode

    def decoder(self, type: Any = bytes) -> Callable[[Payload], Any]:
        if type is bytes or type is Any or type is object:
            # `bytes(payload)` is the payload itself when it is of exactly that type.
            return bytes
        raise unsuitable_type(self.name, type, "only `bytes` travels untouched")


def _encode(value: Any) -> bytes:
    # A mutable buffer is copied, as the caller may change it before it is sent.
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise EncodeError(f"a value of type {type(value).__name__} cannot be encoded as raw: expected `bytes`")
