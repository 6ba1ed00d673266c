"""The interface of codecs, and the table that finds one by name or by its number on the wire."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from fastrpc.assigned_numbers import CODECS, FIRST_OWN_NUMBER, FOREIGN_CODECS, LAST_NUMBER, VALUE_CODECS
from fastrpc.errors import ConfigError, DecodeError, EncodeError
from fastrpc.installed import free_number, installed, load

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BaseCodec",
    "Codec",
    "HookedCodec",
    "Payload",
    "check_codec",
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

# The one table of codecs: name -> (number on the wire, module, class). A codec is imported on first use.
_BUILT_IN = {
    "raw": (CODECS["raw"], "fastrpc.codecs.raw", "RawCodec"),
    "msgpack": (CODECS["msgpack"], "fastrpc.codecs.msgpack", "MsgpackCodec"),
    "json": (CODECS["json"], "fastrpc.codecs.json", "JsonCodec"),
    "protobuf": (CODECS["protobuf"], "fastrpc.codecs.protobuf", "ProtobufCodec"),
}

_ALWAYS_THERE = frozenset({"raw", "msgpack", "json"})


class Codec(Protocol):
    """Encodes values to payload and back. One object serves all threads.

    `encode` raises EncodeError and `decode` DecodeError for every failure. The callables of `encoder` and `decoder` are
    for the hot path and may raise the errors of the library; `encode_failure` and `decode_failure` convert them.

    A codec does not bound depth and number of items: the pre-scan does that first. An installed codec has no pre-scan,
    so it must bound hostile payloads itself. Such a codec decodes only to plain values, which are converted to the
    annotated types afterwards. It must return the arguments as the list or map that it encoded.

    `wire_id` is the preferred number of an installed codec. Each process assigns the real one, which may differ between
    the two sides: the name identifies the codec.
    """

    name: str
    wire_id: int

    def encode(self, value: Any) -> bytes: ...

    def decode(self, payload: Payload, type: Any = Any) -> Any:
        """Return the value of `type` in `payload`; DecodeError names the place that does not fit."""

    def encoder(self) -> Callable[[Any], bytes]:
        """Return an encoder for any value, prepared once per method."""

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        """Return a decoder for values of `type`, prepared once per method.

        ConfigError if the codec cannot carry such values.
        """


class HookedCodec(Protocol):
    """A codec that uses msgspec. Its decoders call hooks for the types that msgspec does not know."""

    def hooked_decoder(
        self,
        type: Any,
        dec_hook: Callable[[Any, Any], Any],
        ext_hook: Callable[[int, memoryview], Any] | None,
    ) -> Callable[[Payload], Any]:
        """Return a decoder for values of `type`, with hooks as in msgspec."""


class BaseCodec(ABC):
    """The base of a codec that implements only `encoder` and `decoder`."""

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


def check_codec(name: str) -> None:
    """Refuse an unknown name, like `codec_named`, but without importing built-in codecs."""
    if name not in _ALWAYS_THERE:
        codec_named(name)


@cache
def codec_named(name: str) -> Codec:
    """Return the codec called `name`, built in or installed; ConfigError lists the codecs that exist."""
    if name in _BUILT_IN:
        _, module, attribute = _BUILT_IN[name]
        return cast(Codec, getattr(importlib.import_module(module), attribute)())
    entry_point = _installed().get(name)
    if entry_point is None:
        raise ConfigError(f"no codec is called {name!r}; there are {', '.join(codec_names())}")
    return cast(Codec, load("codec", entry_point))


def codec_with_id(wire_id: int) -> Codec:
    """Return the codec whose number in this process is `wire_id`; ConfigError if no codec has it."""
    name = codec_numbers().get(wire_id)
    if name is None:
        raise ConfigError(f"no codec has the number {wire_id}; there are {', '.join(codec_names())}")
    return codec_named(name)


def codec_number(name: str) -> int:
    """Return the number by which this process announces the codec called `name`; ConfigError if it is unknown."""
    for number, known in codec_numbers().items():
        if known == name:
            return number
    codec_named(name)  # raises the exact error
    raise ConfigError(f"codec {name!r} has no number: {LAST_NUMBER} others have all there are")


def codec_label(number: int) -> str:
    """Return the name of a codec by its number in frames, for messages."""
    if FOREIGN_CODECS <= number < FIRST_OWN_NUMBER:
        name = VALUE_CODECS.get(number)
        return f"{number - FOREIGN_CODECS} of another protocol" if name is None else repr(name)
    name = codec_numbers().get(number)
    return f"number {number}" if name is None else repr(name)


@cache
def codec_numbers() -> dict[int, str]:
    """Return the names of all usable codecs, by the numbers that this process announces.

    Installed codecs have their preferred number or the next free one, as two packages may prefer the same number.
    """
    numbers = {number: name for name, (number, _, _) in _BUILT_IN.items()}
    for name in sorted(_installed()):
        try:
            wanted = codec_named(name).wire_id
        except ConfigError:
            continue  # reported when it is requested by name
        number = free_number(wanted, numbers)
        if number is not None:
            numbers[number] = name
    return numbers


def codec_names() -> tuple[str, ...]:
    """Return the names that `codec_named` accepts, built-in ones first; imports no codec."""
    return (*_BUILT_IN, *sorted(_installed()))


def encode_failure(codec_name: str, value: object, error: Exception) -> EncodeError:
    """Return the EncodeError for `value`, with the reason."""
    if isinstance(error, EncodeError):
        return error
    if isinstance(error, RecursionError):
        reason = "it is nested too deep, or contains itself"
    else:
        reason = str(error) or type(error).__name__
    return EncodeError(f"a value of type {type(value).__name__} cannot be encoded as {codec_name}: {reason}")


def decode_failure(codec_name: str, error: Exception) -> DecodeError:
    """Return the DecodeError for a payload, with the reason."""
    if isinstance(error, DecodeError):
        return error
    too_deep = isinstance(error, RecursionError)
    reason = "it is nested too deep" if too_deep else str(error) or type(error).__name__
    return DecodeError(f"payload does not fit as {codec_name}: {reason}")


def unsuitable_type(codec_name: str, type: object, reason: object) -> ConfigError:
    """Return the ConfigError for a type that a codec cannot carry, with the reason."""
    return ConfigError(f"values of type {type!r} cannot travel as {codec_name}: {reason}")


@cache
def _installed() -> "dict[str, EntryPoint]":
    return installed(ENTRY_POINT_GROUP, _BUILT_IN)
