"""Values of items: bytes as they are, all else as JSON that is decoded strictly to a type."""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from fastrpc.codecs.json import JsonCodec
from fastrpc.errors import ConfigError, DecodeError, EncodeError
from fastrpc.rpc.coders import encoder_for
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.schema.defaults import filled
from fastrpc.stores.base import Item, StoreLimits

__all__ = ["decode_item", "decode_value", "encode_value_of", "loggable"]

# Where msgspec says that a value does not fit; its text has the value, too, which no log may have.
_PLACE = re.compile(r"at `(\$[^`]*)`")

_encode = encoder_for(JsonCodec(), (Any,))


def encode_value_of(key: str, value: Any, limits: StoreLimits) -> bytes:
    """Return the bytes of a value.

    Raises:
        EncodeError: it cannot be JSON.
        ConfigError: it is longer than the store takes.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        encoded = bytes(value)
    else:
        try:
            encoded = _encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"the value of {key!r} cannot be JSON: {error}") from error
    if len(encoded) > limits.most_value:
        raise ConfigError(f"the value of {key!r} has {len(encoded)} bytes, the limit is {limits.most_value}")
    return encoded


def decode_value(key: str, value: bytes, kind: Any) -> Any:
    """Return a value as a type; bytes stay bytes.

    Raises:
        DecodeError: it does not fit.
        ConfigError: values of this type cannot be decoded.
    """
    if kind is bytes:
        return value
    try:
        decode = _decoder(kind)
    except TypeError:
        decode = _decoder_of_unhashable(key, kind)
    try:
        return decode(value)
    except Exception as error:
        # A class may raise anything in its own checks, and a value may be nested too deeply.
        raise DecodeError(f"the value of {key!r} is no {type_text(kind)}: {error}") from error


def loggable(error: Exception) -> str:
    """Return the place and the type of an error of a value, without the value."""
    place = _PLACE.search(str(error))
    return f"{f'at {place[1]}, ' if place else ''}{type(error).__name__}"


def decode_item(item: Item[bytes], kind: Any) -> Item[Any]:
    """Return an item whose value is decoded."""
    if kind is bytes:
        return item
    value = decode_value(item.key, item.value, kind)
    return Item(item.key, value, item.revision, item.lease, item.created)


def _decoder_of_unhashable(key: str, kind: Any) -> Callable[[bytes], Any]:
    """Return the decoder of a type that cannot be a key of the cache.

    Raises:
        ConfigError: it is no type, or has no JSON.
    """
    try:
        return _decoder.__wrapped__(kind)
    except TypeError as error:
        raise ConfigError(
            f"the value of {key!r} cannot be decoded as {type_text(kind)}: {error}",
            hint="name a type that JSON can have, such as a dataclass or dict[str, int]",
        ) from error


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> Callable[[bytes], Any]:
    codec = JsonCodec()
    hooks = hooks_for(codec.name, kind)
    decode = partial(codec.hooked_decoder, kind)
    return filled(decode(None, None) if hooks is None else decode(*hooks), (kind,), as_row=False)
