"""A call received by gRPC: its head, and the state of its request.

::

    :method POST    :path /shop.Orders/Get    content-type application/grpc    te trailers
    grpc-timeout 1S    grpc-encoding gzip    grpc-accept-encoding gzip, deflate    authorization Bearer …    key value

A header block is interpreted once for all equal blocks. Another verb or content type is answered with an HTTP status
and a short text, before any method is looked up. Other faults are answered with a gRPC status. Names follow the section
"Requests" of the document "gRPC over HTTP2".
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp

from fastrpc._core.base.status cimport INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from fastrpc._core.grpc.fields cimport ENCODING_IDENTITY, ENCODING_UNKNOWN, LONGEST_TIMEOUT, encoding_number
from fastrpc._core.grpc.fields cimport metadata_of, number_of, timeout_ns
from fastrpc._core.http2.header_block cimport (
    TOKEN_CONTENT_TYPE,
    TOKEN_GRPC_ACCEPT_ENCODING,
    TOKEN_GRPC_ENCODING,
    TOKEN_GRPC_PREVIOUS_ATTEMPTS,
    TOKEN_GRPC_TIMEOUT,
    TOKEN_METHOD,
    TOKEN_PATH,
    HeaderField,
    keep_note,
)
from fastrpc._core.payload.metadata cimport is_too_large
from fastrpc._core.wire.frame cimport TIMEOUT_NONE

cdef enum:
    # The longest name of a method (PROTOCOL.md); the most bytes of a field's value in an error text.
    LONGEST_NAME = 255
    SHOWN_BYTES = 40
    ATTEMPT_DIGITS = 2

cdef bytes POST = b"POST"
cdef bytes CONTENT_TYPE = b"application/grpc"
cdef bytes PROTO = b"+proto"
cdef bytes JSON = b"+json"

# The status and the text of each fault of a request.
cdef dict FAULTS = {
    FAULT_NO_MESSAGE: (UNIMPLEMENTED, "{method} takes one message, its caller sent none"),
    FAULT_MESSAGES: (UNIMPLEMENTED, "{method} takes one message, its caller sent more"),
    FAULT_CUT: (INTERNAL, "the stream of the call ended inside a message"),
    FAULT_FLAGS: (INTERNAL, "a message of the call has unknown flags"),
    FAULT_ENCODING: (INTERNAL, "a message of the call is compressed, and the head names no compressor"),
    FAULT_TEXT: (INTERNAL, "the body of the call is not base64"),
    FAULT_TOO_LARGE: (
        RESOURCE_EXHAUSTED, "a message of the call has {size} bytes, the limit is {limit} (Limits.message_bytes)"
    ),
}


@cython.final
@cython.freelist(16)
cdef class GrpcHead:
    """The head of a call, which all calls with an equal block share."""


@cython.nonecheck(False)
cdef int take_over(GrpcHead head, GrpcHead twin, HeaderBlock block) except -1:
    """Apply a header block that differs from a known one only in its timeout."""
    head.name = twin.name
    head.is_json = twin.is_json
    head.compressor, head.accepted, head.encoding = twin.compressor, twin.accepted, twin.encoding
    head.attempt = twin.attempt
    head.metadata = twin.metadata
    head.dropped = twin.dropped
    head.timeout_us = TIMEOUT_NONE
    return _take_timeout(head, block.field(TOKEN_GRPC_TIMEOUT))


@cython.nonecheck(False)
cdef int _take_timeout(GrpcHead head, HeaderField field) except -1:
    cdef int64_t timeout
    if field is None:
        # The server's default is for protocols in which every caller states a time.
        return 0
    timeout = timeout_ns(field.value)
    if timeout < 0:
        shown = field.value[:SHOWN_BYTES].decode("ascii", "backslashreplace")
        return _refuse(head, INTERNAL, f"grpc-timeout is {shown!r}, it must be 1 to 8 digits and one of H M S m u n")
    head.is_late = timeout == 0
    if timeout < <int64_t>LONGEST_TIMEOUT:
        head.timeout_us = max(<uint64_t>timeout // 1000, <uint64_t>1)
    return 0


cdef int understand(GrpcHead head, HeaderBlock block, uint32_t metadata_bytes) except -1:
    """Take the fields of a block; the first fault counts."""
    cdef HeaderField method = block.field(TOKEN_METHOD), path = block.field(TOKEN_PATH)
    cdef HeaderField attempts
    head.timeout_us = TIMEOUT_NONE
    head.name = b"" if path is None else name_of(path)
    if method is not None and method.value != POST:
        head.http_status = 405
        head.fault = "a call of gRPC is a POST"
        head.is_head = method.value == b"HEAD"
        return 0
    if not block.is_too_large and not is_grpc(block.field(TOKEN_CONTENT_TYPE), &head.is_json):
        head.http_status = 415
        head.fault = "a call of gRPC has the content-type application/grpc"
        return 0
    _take_timeout(head, block.field(TOKEN_GRPC_TIMEOUT))
    _take_encodings(head, block.field(TOKEN_GRPC_ENCODING), block.field(TOKEN_GRPC_ACCEPT_ENCODING))
    attempts = block.field(TOKEN_GRPC_PREVIOUS_ATTEMPTS)
    if attempts is not None:
        head.attempt = <uint8_t>max(0, number_of(attempts.value, ATTEMPT_DIGITS))
    return _take_metadata(head, block, metadata_bytes)


cdef int _refuse(GrpcHead head, int status, str text) except -1:
    if head.status == 0:
        head.status = status
        head.fault = text
    return 0


cdef int _take_encodings(GrpcHead head, HeaderField encoding, HeaderField accepted) except -1:
    if encoding is not None:
        head.compressor = <uint8_t>encoding_number(encoding.value, ENCODING_UNKNOWN)
        if head.compressor == ENCODING_UNKNOWN:
            head.encoding = encoding.value[:SHOWN_BYTES].decode("ascii", "backslashreplace")
    if accepted is not None:
        for name in accepted.value.split(b","):
            head.accepted |= <uint8_t>(1 << encoding_number(name.strip(b" "), ENCODING_IDENTITY))
    return 0


cdef int _take_metadata(GrpcHead head, HeaderBlock block, uint32_t metadata_bytes) except -1:
    cdef list dropped = []
    head.metadata = metadata_of(block, dropped)
    if dropped:
        head.dropped = dropped
    if block.is_too_large or head.metadata is not None and is_too_large(head.metadata, metadata_bytes):
        text = f"the metadata of the call is over the limit of {metadata_bytes} bytes (Limits.metadata_bytes)"
        _refuse(head, RESOURCE_EXHAUSTED, text)
    return 0


cdef GrpcHead head_of(HeaderBlock block, uint32_t metadata_bytes):
    cdef GrpcHead head, twin
    if block.note is not None:
        return <GrpcHead>block.note
    head = GrpcHead.__new__(GrpcHead)
    twin = None if block.twin is None else <GrpcHead>block.twin.note
    if twin is not None and twin.fault is None:
        take_over(head, twin, block)
    else:
        understand(head, block, metadata_bytes)
    block.note = head
    return head


cdef GrpcHead new_head(bytes name, bint is_json, int compressor):
    cdef GrpcHead head = GrpcHead.__new__(GrpcHead)
    head.timeout_us = TIMEOUT_NONE
    head.name = name
    head.is_json = is_json
    head.compressor = <uint8_t>compressor
    return head


cdef GrpcHead refused_head(int http_status):
    cdef GrpcHead head = new_head(b"", False, ENCODING_IDENTITY)
    head.http_status = http_status
    return head


cdef bytes name_of(HeaderField path):
    """Return the name of the method that a path refers to; a path without a method is returned unchanged."""
    cdef bytes value = path.value, name
    cdef const char* data = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value), at
    cdef const char* slash
    if path.note is not None:
        return <bytes>path.note
    name = value
    if 3 < size <= LONGEST_NAME + 1 and data[0] == b"/":
        slash = <const char*>memchr(data + 1, b"/", <size_t>(size - 1))
        at = 0 if slash is NULL else slash - data
        # A method has no dot in its name: the last dot ends the name of the service.
        if 1 < at < size - 1 and memchr(slash + 1, b"/", <size_t>(size - at - 1)) is NULL and (
            memchr(slash + 1, b".", <size_t>(size - at - 1)) is NULL
        ):
            name = value[1:at] + b"." + value[at + 1:]
    keep_note(path, name)
    return name


cdef bint is_grpc(HeaderField field, bint* is_json) noexcept:
    """Return whether a content-type is gRPC's, with protobuf or JSON; set `is_json` for JSON."""
    cdef const char* data
    cdef Py_ssize_t size, plain = PyBytes_GET_SIZE(CONTENT_TYPE)
    if field is None or not begins_with(field.value, 0, CONTENT_TYPE):
        return False
    data = PyBytes_AS_STRING(field.value)
    size = PyBytes_GET_SIZE(field.value)
    if begins_with(field.value, plain, PROTO):
        plain += PyBytes_GET_SIZE(PROTO)
    elif begins_with(field.value, plain, JSON):
        plain += PyBytes_GET_SIZE(JSON)
        is_json[0] = True
    return size == plain or data[plain] == b";" or data[plain] == b" "


cdef inline bint begins_with(bytes value, Py_ssize_t at, bytes part) noexcept:
    """Return whether the value has `part` at this place."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(part)
    return PyBytes_GET_SIZE(value) - at >= size and (
        memcmp(PyBytes_AS_STRING(value) + at, PyBytes_AS_STRING(part), <size_t>size) == 0
    )


@cython.final
cdef class GrpcCall(ServerCall):
    """A call by gRPC that is being served."""

    cdef bint make_new(self) noexcept:
        if self.web is not None or not ServerCall.make_new(self) or self.sender_check is not None or self.is_incomplete:
            return False
        self.http2_stream = None
        self.head = None
        self.reader = None
        self.message = None
        self.has_started = self.has_begun = False
        self.announced = 0
        self.fault = FAULT_NONE
        self.counted = self.waiting_bytes = 0
        return True


cpdef tuple message_fault(int fault, str method, Py_ssize_t size, uint64_t limit):
    status, text = FAULTS[fault]
    return status, text.format(method=method, size=size, limit=limit)


cdef tuple fault_of(GrpcCall call, uint64_t message_bytes):
    return message_fault(call.fault, call.method, 0 if call.reader is None else call.reader.total, message_bytes)


cdef int admit(Http2Connection http2, ServerCall call) except -1:
    """Return the credit of a stranger's stream; the first authenticated call gives its connection the wide window."""
    cdef Http2Stream stream = (<GrpcCall>call).http2_stream if type(call) is GrpcCall else None
    if call.identity is not None:
        http2.has_known_peer = True
        http2.widen()
    return 0 if stream is None else http2.release(stream)
