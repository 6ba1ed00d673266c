"""Results of fastrpc's own services that many callers get at once: each is encoded once by each encoder."""

from collections.abc import Callable
from typing import Any

__all__ = ["SharedResult", "encoded_once"]


class SharedResult:
    """Base of results that services of fastrpc give to many callers at once; the objects never change.

    Results of users' services are never shared.

    Attributes:
        payloads: by encoder, once the result was encoded; they are freed with it.
    """

    __slots__ = ("payloads",)

    payloads: dict[Callable[[Any], bytes], bytes]


def encoded_once(encode: Callable[[Any], bytes], kind: Any) -> Callable[[Any], bytes]:
    """Return an encoder that keeps the payloads of `SharedResult` results; for other types the encoder itself."""
    if not (isinstance(kind, type) and issubclass(kind, SharedResult)):
        return encode

    def encode_or_find(value: Any) -> bytes:
        # An interceptor may return anything.
        if not isinstance(value, SharedResult):
            return encode(value)
        payloads: dict[Callable[[Any], bytes], bytes] | None = getattr(value, "payloads", None)
        if payloads is None:
            payloads = {}
            object.__setattr__(value, "payloads", payloads)
        payload = payloads.get(encode)
        if payload is None:
            payload = payloads[encode] = encode(value)
        return payload

    return encode_or_find
