"""Codec numbers for compiled code (`assigned_numbers`), and the corresponding serialize types of rpcx."""

from libc.stdint cimport uint8_t

cdef enum:
    CODEC_RAW = 0
    CODEC_MSGPACK = 1
    CODEC_JSON = 2
    CODEC_PROTOBUF = 3
    # `assigned_numbers.FOREIGN_CODECS`
    FOREIGN_CODECS = 32

cdef enum SerializeType:
    SERIALIZE_RAW = 0
    SERIALIZE_JSON = 1
    SERIALIZE_PROTOBUF = 2
    SERIALIZE_MSGPACK = 3
    # Defined by Go rpcx; none of our codecs corresponds to it.
    SERIALIZE_THRIFT = 4


cdef inline uint8_t codec_of(int serialize) noexcept:
    """Return the codec of a serialize type: our own only for bytes and messages, as other payloads differ from ours."""
    if serialize == SERIALIZE_RAW:
        return CODEC_RAW
    if serialize == SERIALIZE_PROTOBUF:
        return CODEC_PROTOBUF
    return <uint8_t>(FOREIGN_CODECS + serialize)


cdef inline int serialize_of(int codec) noexcept:
    """Return the serialize type of one of our codecs; -1 if it has none."""
    if codec == CODEC_MSGPACK:
        return SERIALIZE_MSGPACK
    if codec == CODEC_JSON:
        return SERIALIZE_JSON
    if codec == CODEC_PROTOBUF:
        return SERIALIZE_PROTOBUF
    return SERIALIZE_RAW if codec == CODEC_RAW else -1
