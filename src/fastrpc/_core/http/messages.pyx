"""The forms of bodies, as the fields of a request name them, and the messages of a stream in each form.

::

    NDJSON                              events
    {"value":7}                         data: 7
    {"end":{"metadata":{}}}             event: end      data: {"metadata":{}}
    {"error":{"status":500,…}}          event: error    data: {"status":500,…}

A stream that ends without `end` or `error` was cut off. A caller's lines are `{"value":…}`; `{"arguments":{…}}` may come
first, and `{"end":true}` last. In a call by WebSocket each message is one envelope, in JSON or msgpack::

    caller   {"arguments":{…},"timeout_ms":500,"metadata":{…}}   each part is optional
             {"value":7}   {"end":true}
    server   {"metadata":{…}}   if the handler set some before its first message
             {"value":7}   {"end":{"metadata":{…}}}   {"error":{"status":500,…}}
"""

import msgspec

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.exchange.request_head cimport FIELD_ACCEPT, FIELD_CONTENT_TYPE, is_text
from fastrpc._core.payload.double_keys cimport double_key

from fastrpc.errors import CallError
from fastrpc.status import Status

cdef bytes LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
cdef dict KINDS = {"arguments": LINE_ARGUMENTS, "value": LINE_VALUE, "end": LINE_END}
# The default of a part that is missing.
cdef object ABSENT = msgspec.Raw(b"")
cdef object encode_json = msgspec.json.Encoder().encode
cdef object encode_msgpack = msgspec.msgpack.Encoder().encode

cdef frozenset OPENING_NAMES = frozenset({"arguments", "timeout_ms", "metadata"})


cdef object opener(str title, names):
    """Return a type that splits an object into known parts without decoding them; an unknown name is an error."""
    fields = [(name, msgspec.Raw, ABSENT) for name in names]
    return msgspec.defstruct(title, fields, forbid_unknown_fields=True)


cdef object Line = opener("Line", KINDS)
cdef object Envelope = opener("Envelope", [*KINDS, "timeout_ms", "metadata"])
cdef object open_line_json = msgspec.json.Decoder(Line).decode
cdef object open_json = msgspec.json.Decoder(Envelope).decode
cdef object open_msgpack = msgspec.msgpack.Decoder(Envelope).decode
cdef str ENVELOPE_FORM = 'an envelope is {"arguments":{…},"timeout_ms":…,"metadata":{…}}, {"value":…} or {"end":true}'
# The value true, encoded in JSON and msgpack.
cdef tuple TRUTHS = (b"true", b"\xc3")


cdef int body_kind(RequestHead head) noexcept:
    """Return the kind of a body by its Content-Type. A charset must be UTF-8; other parameters are ignored."""
    cdef Py_ssize_t size = 0, end = 0
    cdef const char* text = head.field_data(FIELD_CONTENT_TYPE, &size)
    if text is NULL:
        return BODY_NONE
    if head.count_of(FIELD_CONTENT_TYPE) > 1:
        return BODY_OTHER
    while end < size and text[end] not in b"; \t":
        end += 1
    if is_text(text, end, b"multipart/form-data"):
        return BODY_FORM
    if end < size and not _is_utf8(text + end, size - end):
        return BODY_OTHER
    if is_text(text, end, b"application/json"):
        return BODY_JSON
    if is_text(text, end, b"application/x-www-form-urlencoded"):
        return BODY_PAIRS
    if is_text(text, end, b"application/msgpack"):
        return BODY_MSGPACK
    return BODY_LINES if is_text(text, end, b"application/x-ndjson") else BODY_OTHER


cdef bint is_grpc(RequestHead head) noexcept:
    """Return whether the Content-Type of a request is gRPC's."""
    cdef Py_ssize_t size = 0, end = 0
    cdef const char* text = head.field_data(FIELD_CONTENT_TYPE, &size)
    if text is NULL:
        return False
    while end < size and text[end] not in b"+; \t":
        end += 1
    return is_text(text, end, b"application/grpc")


cdef bint _is_utf8(const char* text, Py_ssize_t size) noexcept:
    """Return whether the parameters of a media type name UTF-8 as the charset, or no charset."""
    cdef Py_ssize_t at = 0
    while at < size and text[at] in b"; \t":
        at += 1
    if size - at < 8 or not is_text(text + at, 8, b"charset="):
        return True
    at += 8
    return (
        size - at == 5 and is_text(text + at, 5, b"utf-8")
        or size - at == 7 and is_text(text + at, 7, b"\"utf-8\"")
    )


cdef int stream_form(RequestHead head) except -1:
    """Return how the messages of an answer are written: the first known form in Accept; NDJSON for any or none."""
    cdef str accepted = head.field_text(FIELD_ACCEPT)
    if accepted is None:
        return FORM_LINES
    for item in ",".join(head.values("accept")).split(","):
        kind = item.partition(";")[0].strip(" \t").lower()
        if kind == "text/event-stream":
            return FORM_EVENTS
        if kind in ("application/x-ndjson", "*/*", "application/*", "application/json"):
            return FORM_LINES
    return FORM_NONE


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
    """Return JSON without line breaks. Only JSON that was encoded elsewhere (`msgspec.Raw`) has any, as white space."""
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
        parts = parts_of(open_line_json(line))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        parts = {}
    name = next(iter(parts), "")
    if len(parts) != 1 or (name == "end" and parts[name] != b"true"):
        raise CallError(
            Status.INVALID_ARGUMENT,
            'a line of the body is neither {"value":…} nor {"arguments":{…}} nor {"end":true}',
        )
    content.append(parts[name])
    return <int>KINDS[name]


cdef dict parts_of(opened):
    """Return copies of the parts that are present, as a `msgspec.Raw` would keep the whole message alive."""
    return {name: bytes(part) for name in opened.__struct_fields__ if (part := getattr(opened, name)) is not ABSENT}


cdef bytes before_value(int codec):
    # In msgpack the envelope is a map with one entry (0x81), whose key is a text of five bytes (0xa5).
    return b"\x81\xa5value" if codec == CODEC_MSGPACK else b'{"value":'


cdef bytes behind_value(int codec):
    return b"" if codec == CODEC_MSGPACK else b"}"


cdef bytes envelope_of(int codec, dict content):
    return <bytes>(encode_msgpack(content) if codec == CODEC_MSGPACK else encode_json(content))


cdef dict opened_envelope(int codec, bytes message):
    found = double_key(codec, message)
    if found is not None:
        raise CallError(Status.INVALID_ARGUMENT, f"an envelope: {found!r:.100} comes twice in one map")
    try:
        parts = parts_of((open_msgpack if codec == CODEC_MSGPACK else open_json)(message))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        is_object = "unknown field" in str(error)
        text = ENVELOPE_FORM if is_object else "an envelope must be one object, this message is not"
        raise CallError(Status.INVALID_ARGUMENT, text) from None
    is_single = len(parts) == 1 and ("value" in parts or parts.get("end") in TRUTHS)
    if not is_single and not OPENING_NAMES.issuperset(parts):
        raise CallError(Status.INVALID_ARGUMENT, ENVELOPE_FORM)
    return parts
