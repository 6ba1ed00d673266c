"""Serialize types of rpcx as codecs of this process."""

from libc.stdint cimport uint8_t

from fastrpc._core.rpcx.frames cimport SERIALIZE_PROTOBUF, SERIALIZE_RAW

cdef enum:
    CODEC_RAW = 0
    CODEC_PROTOBUF = 3
    # `assigned_numbers.FOREIGN_CODECS`
    FOREIGN_CODECS = 32


cdef inline uint8_t codec_of(int serialize) noexcept:
    """Return the number of the codec: bytes and messages are the payload in every protocol, other values are not."""
    if serialize == SERIALIZE_RAW:
        return CODEC_RAW
    if serialize == SERIALIZE_PROTOBUF:
        return CODEC_PROTOBUF
    return <uint8_t>(FOREIGN_CODECS + serialize)
