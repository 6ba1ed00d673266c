"""Functions of a program that encode and decode the one value of each payload, in place of a codec's own."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastrpc._core.payload.coders import PayloadCoders
from fastrpc.codecs.base import Codec, codec_number
from fastrpc.errors import ConfigError
from fastrpc.rpc.schema.scans import scan_for

__all__ = ["GIVEN_CODEC", "GivenCoders", "coders_of"]

#: The codec of payloads that the given functions encode and decode: one message each.
GIVEN_CODEC: Final = "protobuf"


class GivenCoders(NamedTuple):
    """The functions of one side of a method."""

    #: Returns the payload of a value that this side sends.
    encode: Callable[[Any], bytes]
    #: Returns the value of a payload that this side receives.
    decode: Callable[[bytes], Any]
    #: The same for the result at a caller. Where the method is served, this checks results, and None checks nothing.
    decode_result: Callable[[bytes], Any] | None
    #: The class of received values, whose bounds are checked before decoding; Any if it is unknown.
    received: Any = Any


def coders_of(given: GivenCoders, codec: Codec, label: str) -> PayloadCoders:
    """Return the coders of a method that brings its own functions.

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
