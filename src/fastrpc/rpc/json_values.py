"""Single values as JSON, decoded strictly to a type. Used for items of stores and messages of brokers."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from fastrpc.codecs.json import JsonCodec
from fastrpc.errors import ConfigError, DecodeError, EncodeError
from fastrpc.rpc.coders import encoder_for
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.schema.defaults import filled

__all__ = [
    "decode_json",
    "encode_json",
    "json_decoder",
    "json_encoder",
    "loggable",
    "undecoded",
    "unencoded",
]

# The place in an error text of msgspec. The text also contains the value, which must not be logged.
_PLACE = re.compile(r"at `(\$[^`]*)`")

_encode = encoder_for(JsonCodec(), (Any,))


def encode_json(value: Any, name: str) -> bytes:
    """Return a value as JSON.

    Args:
        name: the name of the value in errors, such as "the value of 'shop/limits'".

    Raises:
        EncodeError: the value cannot be encoded as JSON.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise unencoded(error, name) from error


def json_encoder(kind: type[Any]) -> Callable[[Any], bytes]:
    """Return the encoder of a class. Convert its exceptions with `unencoded`.

    NaN and infinity are refused; values of a class without floats are not searched for them.
    """
    try:
        return encoder_for(JsonCodec(), (kind,))
    except Exception:
        # A name in the annotations may be unknown at run time. Encoding does not need it.
        return _encode


def unencoded(error: Exception, name: str) -> EncodeError:
    """Return the EncodeError for an exception of the encoder."""
    return EncodeError(f"{name} cannot be JSON: {error}")


def json_decoder(kind: Any, name: str) -> Callable[[bytes], Any]:
    """Return the decoder of a type. It may raise any exception for a value that does not match the type.

    Raises:
        ConfigError: `kind` is not a type, or JSON cannot express its values.
    """
    # Unhashable types cannot be keys of the cache, and `kind` may be no type at all.
    with suppress(TypeError):
        return _decoder(kind)
    try:
        return _decoder.__wrapped__(kind)
    except TypeError as error:
        raise ConfigError(
            f"{name} cannot be decoded as {type_text(kind)}: {error}",
            hint="name a type that JSON can have, such as a dataclass or dict[str, int]",
        ) from error


def decode_json(decode: Callable[[bytes], Any], value: bytes, kind: Any, name: str) -> Any:
    """Return a value of a type, decoded with its decoder.

    Raises:
        DecodeError: the value does not match the type.
    """
    try:
        return decode(value)
    except Exception as error:
        # A class may raise any exception in its own checks, and a value may be nested too deeply.
        raise undecoded(error, kind, name) from error


def undecoded(error: Exception, kind: Any, name: str) -> DecodeError:
    """Return the DecodeError for an exception of the decoder."""
    return DecodeError(f"{name} is not of type {type_text(kind)}: {error}")


def loggable(error: Exception) -> str:
    """Return the place and the class of an error about a value, without the value."""
    place = _PLACE.search(str(error))
    return f"{f'at {place[1]}, ' if place else ''}{type(error).__name__}"


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> Callable[[bytes], Any]:
    codec = JsonCodec()
    hooks = hooks_for(codec.name, kind)
    decode = partial(codec.hooked_decoder, kind)
    return filled(decode(None, None) if hooks is None else decode(*hooks), (kind,), as_row=False)
