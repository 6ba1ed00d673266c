"""What a codec is, and the table that finds one by name or by its number on the wire."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from fastrpc.assigned_numbers import CODECS, LAST_NUMBER
from fastrpc.errors import ConfigError, DecodeError, EncodeError
from fastrpc.installed import free_number, installed, load

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BaseCodec",
    "Codec",
    "Payload",
    "codec_label",
    "codec_named",
    "codec_names",
    "codec_number",
    "codec_numbers",
    "codec_with_id",
    "decode_failure",
    "encode_failure",
    "unsuitable_type",
]

#: Encoded bytes, as they arrive from the wire. A codec keeps no reference to them unless they are `bytes`.
Payload: TypeAlias = bytes | bytearray | memoryview

ENTRY_POINT_GROUP = "fastrpc.codecs"

# The one table of codecs: name -> (number on the wire, module, class). A codec is imported when it is first asked for.
_BUILT_IN = {
    "raw": (CODECS["raw"], "fastrpc.codecs.raw", "RawCodec"),
    "msgpack": (CODECS["msgpack"], "fastrpc.codecs.msgpack", "MsgpackCodec"),
    "json": (CODECS["json"], "fastrpc.codecs.json", "JsonCodec"),
    "protobuf": (CODECS["protobuf"], "fastrpc.codecs.protobuf", "ProtobufCodec"),
}


class Codec(Protocol):
    """Turns values into payload and back. One object serves all threads.

    `encode` raises EncodeError and `decode` DecodeError, whatever goes wrong with the value. The
    callables that `encoder` and `decoder` prepare are for the hot path and may raise whatever the
    library underneath raises; `encode_failure` and `decode_failure` turn that into the right error.

    A codec does not bound depth and number of items: the pre-scan does that before it is asked. An installed codec has
    no pre-scan, so it bounds what it makes of hostile payload by itself. It is asked for plain values only, which are
    converted to the annotated types afterwards, and gives the arguments back as the list or map that it was given.

    `wire_id` is the number that an installed codec would like to have. What it has is this process's choice, and the
    other side's number for it may be another one: the name says which codec is meant.
    """

    name: str
    wire_id: int

    def encode(self, value: Any) -> bytes: ...

    def decode(self, payload: Payload, type: Any = Any) -> Any:
        """Return the value of `type` in `payload`; DecodeError names the place that does not fit."""

    def encoder(self) -> Callable[[Any], bytes]:
        """Return what encodes any value, prepared once per method."""

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        """Return what decodes values of `type`, prepared once per method.

        ConfigError when the codec cannot carry such values.
        """


class BaseCodec(ABC):
    """A codec made of what prepares its callables: `encoder` and `decoder` are all that is left to write."""

    name: str

    def encode(self, value: Any) -> bytes:
        encode = self.encoder()
        try:
            return encode(value)
        except Exception as error:
            raise encode_failure(self.name, value, error) from error

    def decode(self, payload: Payload, type: Any = Any) -> Any:
        decode = self.decoder(type)
        try:
            return decode(payload)
        except Exception as error:
            raise decode_failure(self.name, error) from error

    @abstractmethod
    def encoder(self) -> Callable[[Any], bytes]: ...

    @abstractmethod
    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]: ...


@cache
def codec_named(name: str) -> Codec:
    """Return the codec called `name`, built in or installed; ConfigError lists those that exist."""
    if name in _BUILT_IN:
        _, module, attribute = _BUILT_IN[name]
        return cast(Codec, getattr(importlib.import_module(module), attribute)())
    entry_point = _installed().get(name)
    if entry_point is None:
        raise ConfigError(f"no codec is called {name!r}; there are {', '.join(codec_names())}")
    return cast(Codec, load("codec", entry_point))


def codec_with_id(wire_id: int) -> Codec:
    """Return the codec whose number in this process is `wire_id`; ConfigError when there is none."""
    name = codec_numbers().get(wire_id)
    if name is None:
        raise ConfigError(f"no codec has the number {wire_id}; there are {', '.join(codec_names())}")
    return codec_named(name)


def codec_number(name: str) -> int:
    """Return the number by which this process announces the codec called `name`; ConfigError when there is none."""
    for number, known in codec_numbers().items():
        if known == name:
            return number
    codec_named(name)  # says what is wrong with it
    raise ConfigError(f"codec {name!r} has no number: {LAST_NUMBER} others have all there are")


def codec_label(number: int) -> str:
    """Say what people call the codec that a frame names by its number."""
    name = codec_numbers().get(number)
    return f"number {number}" if name is None else repr(name)


@cache
def codec_numbers() -> dict[int, str]:
    """Return the names of all codecs that work here, by the numbers that this process announces.

    Installed codecs have the number they would like, or the next free one: two packages may have chosen the same.
    """
    numbers = {number: name for name, (number, _, _) in _BUILT_IN.items()}
    for name in sorted(_installed()):
        try:
            wanted = codec_named(name).wire_id
        except ConfigError:
            continue  # told when it is asked for by name
        number = free_number(wanted, numbers)
        if number is not None:
            numbers[number] = name
    return numbers


def codec_names() -> tuple[str, ...]:
    """Return the names `codec_named` knows, built-in ones first; nothing is imported for it."""
    return (*_BUILT_IN, *sorted(_installed()))


def encode_failure(codec_name: str, value: object, error: Exception) -> EncodeError:
    """Return the EncodeError that tells why `value` could not be encoded."""
    if isinstance(error, EncodeError):
        return error
    if isinstance(error, RecursionError):
        reason = "it is nested too deep, or contains itself"
    else:
        reason = str(error) or type(error).__name__
    return EncodeError(f"a value of type {type(value).__name__} cannot be encoded as {codec_name}: {reason}")


def decode_failure(codec_name: str, error: Exception) -> DecodeError:
    """Return the DecodeError that tells why a payload could not be decoded."""
    if isinstance(error, DecodeError):
        return error
    too_deep = isinstance(error, RecursionError)
    reason = "it is nested too deep" if too_deep else str(error) or type(error).__name__
    return DecodeError(f"payload does not fit as {codec_name}: {reason}")


def unsuitable_type(codec_name: str, type: object, reason: object) -> ConfigError:
    """Return the ConfigError that tells why no value of `type` can travel by a codec."""
    return ConfigError(f"values of type {type!r} cannot travel as {codec_name}: {reason}")


@cache
def _installed() -> "dict[str, EntryPoint]":
    return installed(ENTRY_POINT_GROUP, _BUILT_IN)
