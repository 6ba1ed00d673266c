"""The head of a request, in every version of HTTP: method, target and fields, checked."""

cimport cython
from libc.stdint cimport int32_t, int64_t

cdef enum Verb:
    # Any method that is not listed here.
    VERB_OTHER = 0
    VERB_GET = 1
    VERB_HEAD = 2
    VERB_POST = 3
    VERB_OPTIONS = 4

cdef enum Field:
    # Fields that engines read: their places are noted while the head is checked.
    FIELD_HOST = 0
    FIELD_CONTENT_LENGTH = 1
    FIELD_TRANSFER_ENCODING = 2
    FIELD_CONNECTION = 3
    FIELD_EXPECT = 4
    FIELD_CONTENT_TYPE = 5
    FIELD_CONTENT_ENCODING = 6
    FIELD_ACCEPT = 7
    FIELD_AUTHORIZATION = 8
    FIELD_ORIGIN = 9
    FIELD_SEC_FETCH_SITE = 10
    FIELD_TIMEOUT_MS = 11
    FIELD_GRPC_TIMEOUT = 12
    FIELD_TRACEPARENT = 13
    FIELD_TRACESTATE = 14
    FIELD_REQUEST_ID = 15
    FIELD_COUNT = 16
    # All fields whose names begin with `meta-`. They are only counted.
    FIELD_META = 17
    FIELD_UNKNOWN = 18

cdef enum ByteKind:
    # Bits of `kinds`: the byte may occur in a token, a field value, a target, a host name.
    IN_TOKEN = 1
    IN_VALUE = 2
    IN_TARGET = 4
    IN_HOST = 8
    # In an IPv6 address in brackets.
    IN_ADDRESS = 16
    # In a field name, and in the value of a pseudo-header field, both of HTTP/2.
    IN_NAME = 32
    IN_PSEUDO = 64

cdef enum:
    # The length of the longest accepted method.
    METHOD_BYTES = 32

# For each byte, the bits of its kinds.
cdef unsigned char[256] kinds


cdef inline bint is_kind(char byte, int kind) noexcept:
    """Return whether a byte is of one of these kinds."""
    return (kinds[<unsigned char>byte] & kind) != 0


cdef struct FieldSpan:
    # `count`: the number of fields with one name; `at` and `size`: the place of the first one's value in the text of
    # the head.
    int32_t count
    int32_t at
    int32_t size


@cython.final
cdef class RequestLimits:
    cdef:
        # The most seconds: for a head (`header_seconds`), between two requests (`idle_seconds`), between two pieces of
        # a body or of an answer (`body_idle_seconds`).
        readonly double header_seconds
        readonly double idle_seconds
        readonly double body_idle_seconds

        # The most fields of a head (`headers`), the most bytes of these fields (`header_bytes`), and of the target
        # (`target_bytes`). The first two apply to trailers, too.
        readonly Py_ssize_t headers
        readonly Py_ssize_t header_bytes
        readonly Py_ssize_t target_bytes


cdef class RequestHead:
    cdef:
        # The version of HTTP, such as "1.1".
        readonly str version

        # `_text`: the bytes of the method, the target and the noted fields. The method comes first, with `_method_size`
        # bytes.
        bytes _text
        int _method_size
        int verb

        # The position of the target. `_relative`: an absolute target without its scheme and host.
        int _target_at
        int _target_size
        bytes _relative

        # `_noted`: the noted fields. `meta_count`: the number of fields whose names begin with `meta-`.
        FieldSpan[16] _noted
        int meta_count

        # The bytes of memory of the texts and all fields in HTTP/2, where many heads are kept at the same time; else 0.
        Py_ssize_t kept_bytes

        # All fields as `pairs` returns them; None if a version of HTTP keeps them in another form.
        list _pairs

        # The length of the body, -1 if it is not stated.
        readonly int64_t content_length

        # `protocol`: the protocol of the tunnel that an extended CONNECT asks for (RFC 8441); None for any other
        # request.
        readonly bytes protocol
        readonly bint expects_continue

    cdef list pairs(self)

    cdef inline int count_of(self, int field) noexcept:
        """Return the number of fields of this kind."""
        return self._noted[field].count

    cdef const char* target_data(self, Py_ssize_t* size) noexcept
    cdef const char* field_data(self, int field, Py_ssize_t* size) noexcept
    cdef str field_text(self, int field)


# Return the head of an HTTP/2 request. `pairs` are checked fields as `RequestHead.pairs` returns them, with Host.
# `content_length` is the value of that field, -1 without one. `is_whole`: the stream ends with the head, so there is no
# body. `protocol`: the protocol of an extended CONNECT.
cpdef RequestHead head_of_fields(
    bytes method, bytes target, list pairs, RequestLimits limits, int64_t content_length=*, bint is_whole=*,
    bytes protocol=*
)

# Check one field line without its line end; return the position of its colon.
cdef Py_ssize_t check_field(const char* line, Py_ssize_t size) except -1

# Return the number of the field with this name.
cdef int field_of(const char* name, Py_ssize_t size) noexcept


cdef inline int note_field(RequestHead head, int field, Py_ssize_t at, Py_ssize_t size) noexcept:
    """Note the position of a field's value."""
    if field == FIELD_META:
        head.meta_count += 1
    elif field < FIELD_COUNT:
        if head._noted[field].count == 0:
            head._noted[field].at = <int32_t>at
            head._noted[field].size = <int32_t>size
        head._noted[field].count += 1
    return 0


# Return the number of the method with this name. Names of methods are upper case.
cdef int verb_of(const char* name, Py_ssize_t size) noexcept

# Check the Host fields of a head: at most one, and exactly one if `is_needed`.
cdef int check_host(RequestHead head, bint is_needed) except -1

# Note whether the client waits for 100 Continue before it sends the body; refuse any other expectation.
cdef int take_expectation(RequestHead head) except -1

# Return whether a text equals `lower`, a lower-case text, when the case of letters is ignored.
cdef bint is_text(const char* text, Py_ssize_t size, const char* lower) noexcept

# Return the number in a text of 1 to 18 digits, -1 for another text. No accepted body needs more digits.
cdef int64_t number_of(const char* text, Py_ssize_t size) noexcept

# Return the error for a body with more bytes than its request may have.
cdef object long_body_error(int64_t most)
