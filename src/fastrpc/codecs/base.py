"""What a codec is, and the table that finds one by name or by its number on the wire."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from fastrpc.errors import ConfigError, DecodeError, EncodeError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BaseCodec",
    "Codec",
    "Payload",
    "codec_named",
    "codec_names",
    "codec_with_id",
    "decode_failure",
    "encode_failure",
    "unsuitable_type",
]

#: Encoded bytes, as they arrive from the wire. A codec keeps no reference to them unless they are `bytes`.
Payload: TypeAlias = bytes | bytearray | memoryview

ENTRY_POINT_GROUP = "fastrpc.codecs"

#: Numbers below this one are given out in PROTOCOL.md; codecs from elsewhere choose above it.
FIRST_FREE_WIRE_ID = 64
LAST_WIRE_ID = 255

# name -> (wire id, module, class). A codec is imported when it is first asked for.
_BUILT_IN = {
    "raw": (0, "fastrpc.codecs.raw", "RawCodec"),
    "msgpack": (1, "fastrpc.codecs.msgpack", "MsgpackCodec"),
    "json": (2, "fastrpc.codecs.json", "JsonCodec"),
    "protobuf": (3, "fastrpc.codecs.protobuf", "ProtobufCodec"),
}
_BUILT_IN_NAMES = {wire_id: name for name, (wire_id, _, _) in _BUILT_IN.items()}


class Codec(Protocol):
    """Turns values into payload and back. One object serves all threads.

    `encode` raises EncodeError and `decode` DecodeError, whatever goes wrong with the value. The
    callables that `encoder` and `decoder` prepare are for the hot path and may raise whatever the
    library underneath raises; `encode_failure` and `decode_failure` turn that into the right error.

    A codec does not bound depth and number of items: the pre-scan does that before it is asked.
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
    return _load(entry_point)


def codec_with_id(wire_id: int) -> Codec:
    """Return the codec whose number on the wire is `wire_id`; ConfigError when there is none."""
    name = _BUILT_IN_NAMES.get(wire_id)
    if name is None and wire_id >= FIRST_FREE_WIRE_ID:
        name = _installed_names().get(wire_id)
    if name is None:
        raise ConfigError(f"no codec has the number {wire_id}; there are {', '.join(codec_names())}")
    return codec_named(name)


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
    # A package cannot replace a built-in codec: its name would mean two things on the wire.
    # It brings the parsers of package metadata along: too much for every import of fastrpc.
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINT_GROUP)
    return {entry_point.name: entry_point for entry_point in found if entry_point.name not in _BUILT_IN}


@cache
def _installed_names() -> dict[int, str]:
    names = {}
    for name in sorted(_installed()):
        try:
            names[codec_named(name).wire_id] = name
        except ConfigError:
            continue  # told when it is asked for by name
    return names


def _load(entry_point: "EntryPoint") -> Codec:
    try:
        loaded = entry_point.load()
    except Exception as error:
        raise ConfigError(
            f"codec {entry_point.name!r} ({entry_point.value}) does not load: {error}"
        ) from error
    codec = cast(Codec, loaded() if isinstance(loaded, type) else loaded)
    if codec.name != entry_point.name:
        raise ConfigError(f"codec {entry_point.name!r} ({entry_point.value}) calls itself {codec.name!r}")
    if not FIRST_FREE_WIRE_ID <= codec.wire_id <= LAST_WIRE_ID:
        raise ConfigError(
            f"codec {codec.name!r} has wire_id {codec.wire_id}; "
            f"installed codecs use {FIRST_FREE_WIRE_ID} to {LAST_WIRE_ID}"
        )
    return codec
