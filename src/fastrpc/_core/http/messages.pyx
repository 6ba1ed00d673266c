"""The messages of a stream in a body: lines of JSON, or server-sent events.

::

    NDJSON                              events
    {"value":7}                         data: 7
    {"end":{"metadata":{}}}             event: end      data: {"metadata":{}}
    {"error":{"status":500,…}}          event: error    data: {"status":500,…}

Without one of the last two the stream was cut off. A caller's lines are `{"value":…}`; `{"arguments":{…}}` may come first,
and `{"end":true}` last.
"""

import msgspec

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.http.media_types cimport FORM_EVENTS
from fastrpc._core.payload.double_keys cimport double_key

from fastrpc.errors import CallError
from fastrpc.status import Status


cdef object open_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
cdef bytes LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
cdef dict KINDS = {"arguments": LINE_ARGUMENTS, "value": LINE_VALUE, "end": LINE_END}


cdef bytes value_part(int form, bytes payload):
    payload = _on_one_line(payload)
    if form == FORM_EVENTS:
        return b"data: %b\n\n" % payload
    return b'{"value":%b}\n' % payload


cdef bytes end_part(int form, dict metadata):
    end = <bytes>msgspec.json.encode({"metadata": metadata})
    if form == FORM_EVENTS:
        return b"event: end\ndata: %b\n\n" % end
    return b'{"end":%b}\n' % end


cdef bytes error_part(int form, bytes document):
    document = _on_one_line(document)
    if form == FORM_EVENTS:
        return b"event: error\ndata: %b\n\n" % document
    return b'{"error":%b}\n' % document


cdef bytes _on_one_line(bytes value):
    """Return JSON without line breaks, which only values that were encoded elsewhere (`msgspec.Raw`) have between parts."""
    if memchr(PyBytes_AS_STRING(value), b"\n", PyBytes_GET_SIZE(value)) is NULL and (
        memchr(PyBytes_AS_STRING(value), b"\r", PyBytes_GET_SIZE(value)) is NULL
    ):
        return value
    return value.translate(LINE_BREAKS)


cdef int open_line(bytes line, list content) except -1:
    found = double_key(CODEC_JSON, line)
    if found is not None:
        raise CallError(Status.INVALID_ARGUMENT, f"a line of the body: {found!r:.100} comes twice in one map")
    try:
        envelope = open_envelope(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        envelope = {}
    name = next(iter(envelope), "")
    if len(envelope) != 1 or name not in KINDS or (name == "end" and bytes(envelope[name]) != b"true"):
        raise CallError(
            Status.INVALID_ARGUMENT,
            'a line of the body is neither {"value":…} nor {"arguments":{…}} nor {"end":true}',
        )
    content.append(bytes(envelope[name]))
    return <int>KINDS[name]
