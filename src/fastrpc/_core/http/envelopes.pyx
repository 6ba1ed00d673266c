"""The envelopes of a call by WebSocket: one in each message, in JSON or msgpack.

::

    caller   {"arguments":{…},"timeout_ms":500,"metadata":{…}}   each part may be left out
             {"value":7}   {"end":true}
    server   {"metadata":{…}}   where the handler set some before its first message
             {"value":7}   {"end":{"metadata":{…}}}   {"error":{"status":500,…}}
"""

import msgspec

from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK
from fastrpc._core.payload.double_keys cimport double_key

from fastrpc.errors import CallError
from fastrpc.status import Status


cdef object open_json = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
cdef object open_msgpack = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
cdef object encode_json = msgspec.json.Encoder().encode
cdef object encode_msgpack = msgspec.msgpack.Encoder().encode

cdef frozenset OPENING_NAMES = frozenset({"arguments", "timeout_ms", "metadata"})
# True in the two codecs.
cdef tuple TRUTHS = (b"true", b"\xc3")


cdef bytes before_value(int codec):
    # In msgpack a map of one entry, whose key is a text of five bytes.
    return b"\x81\xa5value" if codec == CODEC_MSGPACK else b'{"value":'


cdef bytes behind_value(int codec):
    return b"" if codec == CODEC_MSGPACK else b"}"


cdef bytes value_envelope(int codec, bytes payload):
    return b"\x81\xa5value" + payload if codec == CODEC_MSGPACK else b'{"value":%b}' % payload


cdef bytes metadata_envelope(int codec, dict metadata):
    return _encoded(codec, {"metadata": metadata})


cdef bytes end_envelope(int codec, dict metadata):
    return _encoded(codec, {"end": {"metadata": metadata}})


cdef bytes error_envelope(int codec, dict document):
    return _encoded(codec, {"error": document})


cdef bytes _encoded(int codec, dict envelope):
    return <bytes>(encode_msgpack(envelope) if codec == CODEC_MSGPACK else encode_json(envelope))


cdef dict opened_envelope(int codec, bytes message):
    found = double_key(codec, message)
    if found is not None:
        raise CallError(Status.INVALID_ARGUMENT, f"an envelope: {found!r:.100} comes twice in one map")
    try:
        envelope = (open_msgpack if codec == CODEC_MSGPACK else open_json)(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise CallError(Status.INVALID_ARGUMENT, "an envelope is one object, this message is not") from None
    parts = {name: bytes(part) for name, part in envelope.items()}
    is_single = len(parts) == 1 and ("value" in parts or parts.get("end") in TRUTHS)
    if not is_single and not OPENING_NAMES.issuperset(parts):
        text = 'an envelope is {"arguments":{…},"timeout_ms":…,"metadata":{…}}, {"value":…} or {"end":true}'
        raise CallError(Status.INVALID_ARGUMENT, text)
    return parts
