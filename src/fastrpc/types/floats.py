"""32-bit numbers, `Annotated[float, fastrpc.Float32]`, for peers that accept no others, such as Go's `float32`.

In Python such a number is a float. msgpack has a four-byte form for it, which msgspec reads but does not write, so the
encoder gets these bytes. Other codecs get the shortest number that is equal in 32 bits, as Go writes it.
"""

import struct
from collections.abc import Callable
from math import isfinite
from numbers import Real
from typing import Any, Final

import msgspec

from fastrpc.types.base import PayloadType

__all__ = ["Float32", "packed", "packed_key", "payload_type", "shortest_float"]

#: https://github.com/msgpack/msgpack/blob/master/spec.md#float-format-family
_FORM: Final = 0xCA

_pack: Final[Callable[[int, Any], bytes]] = struct.Struct(">Bf").pack
_as_float: Final = struct.Struct("=f")

#: The number of decimal digits that distinguishes all 32-bit numbers.
_MOST_DIGITS: Final = 9
#: The number of decimal digits that a conversion to 32 bits preserves.
_FEWEST_DIGITS: Final = 6

#: The annotation of a number that is sent in 32 bits. The range is checked when it is sent. Received numbers may have
#: 32 or 64 bits.
Float32: Final = msgspec.Meta(extra_json_schema={"format": "float"}, extra={"fastrpc.bits": 32})


class _Key(float):
    """A key of a map. Keys have to be hashable, which the object with the encoder's bytes is not."""

    __slots__ = ()


def packed(value: Any) -> Any:
    """Return a number in the form for a msgpack encoder. Other values stay unchanged; the receiver refuses them.

    Raises:
        ValueError: the number is out of range.
    """
    if not _is_number(value):
        return value
    try:
        return msgspec.Raw(_pack(_FORM, float(value)))
    except OverflowError:
        raise _beyond(value) from None


def packed_key(value: Any) -> Any:
    """Return a map key in the form for a msgpack encoder."""
    return _Key(_nearest(value)) if _is_number(value) else value


def shortest_float(value: Any) -> Any:
    """Return the number with the fewest digits that is equal in 32 bits. Other values stay unchanged.

    Raises:
        ValueError: the number is out of range.
    """
    if not _is_number(value):
        return value
    nearest = _nearest(value)
    if isfinite(nearest):
        for digits in range(_FEWEST_DIGITS, _MOST_DIGITS):
            short = float(f"{nearest:.{digits}g}")
            if _nearest(short) == nearest:
                return short
    return float(f"{nearest:.{_MOST_DIGITS}g}")


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type for the class of keys, which encoders use."""
    return _KEY if cls is _Key else None


def _is_number(value: Any) -> bool:
    return type(value) is float or (isinstance(value, Real) and not isinstance(value, bool))


def _nearest(value: Any) -> float:
    """Return the nearest 32-bit number; ValueError if the value is out of range."""
    try:
        found: float = _as_float.unpack(_as_float.pack(float(value)))[0]
    except OverflowError:
        raise _beyond(value) from None
    return found


def _beyond(value: Any) -> ValueError:
    # Python refuses to convert integers with very many digits to text.
    is_long = isinstance(value, int) and value.bit_length() > 128
    text = f"an integer of {value.bit_length()} bits" if is_long else repr(value)
    return ValueError(f"{text} is beyond the range of Float32, ±3.4028235e+38")


def _decoder(annotation: Any, inner: Any) -> Callable[[Any], Any]:
    raise TypeError("annotate keys of a map that have 32 bits as Annotated[float, fastrpc.Float32]")


_KEY: Final = PayloadType(lambda value, codec: packed(value), _decoder)
