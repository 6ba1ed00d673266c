"""Numbers that JSON lacks: NaN and infinity, which encoders write as null."""

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any

import msgspec
from msgspec import inspect as schema

from fastrpc.rpc.schema.type_graph import all_parts
from fastrpc.types.base import encode_value

__all__ = ["finite_encoder", "has_other_number"]

#: Types of which a value may hold a float; values of classes that msgspec does not know may hold anything.
_WITH_FLOATS = (schema.FloatType, schema.AnyType, schema.CustomType, schema.EnumType)


def finite_encoder(encode: Callable[[Any], bytes], kinds: Sequence[Any]) -> Callable[[Any], bytes]:
    """Return an encoder of JSON that raises ValueError for a value with a number that JSON has not.

    Args:
        kinds: the types of the values.
    """
    if not any(isinstance(part, _WITH_FLOATS) for part in all_parts(kinds)):
        return encode

    def encode_finite(value: Any) -> bytes:
        payload = encode(value)
        # Only a null can represent such a number. A search for "ull" skips most text three bytes at a time; a search
        # for "null" alone stops at each n.
        if b"ull" in payload and b"null" in payload and has_other_number(value):
            raise ValueError("NaN and infinity are not numbers of JSON")
        return payload

    return encode_finite


def has_other_number(value: Any) -> bool:
    """Return whether a value has NaN or infinity inside."""
    try:
        waiting = [msgspec.to_builtins(value, enc_hook=partial(encode_value, "json"))]
    except TypeError:
        # A part is a Raw, which was encoded before: it can hold no such number.
        return False
    while waiting:
        part = waiting.pop()
        if isinstance(part, float):
            if not isfinite(part):
                return True
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part
    return False
