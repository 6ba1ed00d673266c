"""A program's own functions that encode and decode the single value of a payload, in place of a codec."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastrpc._core.payload.coders import PayloadCoders
from fastrpc.codecs.base import Codec, codec_number
from fastrpc.errors import ConfigError
from fastrpc.rpc.schema.scans import scan_for

__all__ = ["GIVEN_CODEC", "GivenCoders", "coders_of"]

#: The codec of payloads that the given functions encode and decode. Each payload is one message.
GIVEN_CODEC: Final = "protobuf"


class GivenCoders(NamedTuple):
    """The functions for one side of a method."""

    #: Returns the payload of a value that this side sends.
    encode: Callable[[Any], bytes]
    #: Returns the value of a payload that this side receives.
    decode: Callable[[bytes], Any]
    #: In a client: returns the result of a payload. In a server: checks the payload of a result; None for no check.
    decode_result: Callable[[bytes], Any] | None
    #: The class of received values. Its limits are checked before decoding. Any if the class is unknown.
    received: Any = Any


def coders_of(given: GivenCoders, codec: Codec, label: str) -> PayloadCoders:
    """Return the coders of a method with its own functions.

    Raises:
        ConfigError: the functions are for another codec.
    """
    if codec.name != GIVEN_CODEC:
        raise ConfigError(f"{label} encodes its payloads itself, so codec {codec.name} cannot carry them")

    scan = scan_for(codec, (given.received,))
    return PayloadCoders(
        codec.name,
        codec_number(codec.name),
        encode=(given.encode,) * 3,
        decode=(given.decode_result, given.decode),
        exact=None,
        open=bytes,
        items=(given.decode,),
        scan=(scan, scan, scan),
    )
