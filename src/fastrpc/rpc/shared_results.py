"""Results that fastrpc's own services return to many callers: each is encoded only once per encoder."""

from collections.abc import Callable
from typing import Any

__all__ = ["SharedResult", "encoded_once"]


class SharedResult:
    """Base of immutable results that services of fastrpc return to many callers.

    Results of users' services are never shared.

    Attributes:
        payloads: the payloads by encoder; not set before the first encoding. They are freed with the result.
    """

    __slots__ = ("payloads",)

    payloads: dict[Callable[[Any], bytes], bytes]


def encoded_once(encode: Callable[[Any], bytes], kind: Any) -> Callable[[Any], bytes]:
    """Return an encoder that caches the payloads of `SharedResult` results; `encode` itself for other types."""
    if not (isinstance(kind, type) and issubclass(kind, SharedResult)):
        return encode

    def encode_or_find(value: Any) -> bytes:
        # An interceptor may return another value.
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
