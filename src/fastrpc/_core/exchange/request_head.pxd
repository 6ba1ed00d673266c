"""The head of a request, in every version of HTTP: method, target and fields, checked."""

cimport cython
from libc.stdint cimport int32_t, int64_t

cdef enum Verb:
    # Every method that is not used here.
    VERB_OTHER = 0
    VERB_GET = 1
    VERB_HEAD = 2
    VERB_POST = 3
    VERB_OPTIONS = 4

cdef enum Field:
    # Fields that an engine asks for: they are noted while the head is checked.
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
    # All fields whose names begin with `meta-`: they are only counted.
    FIELD_META = 17
    FIELD_UNKNOWN = 18

cdef enum ByteKind:
    # The kinds of bytes: of a token, of a field value, of a target.
    IN_TOKEN = 1
    IN_VALUE = 2
    IN_TARGET = 4
    IN_HOST = 8
    # The bit of bytes in an IPv6 address in brackets.
    IN_ADDRESS = 16
    # The bits of bytes in a field name, and in the value of a pseudo-header field, by HTTP/2.
    IN_NAME = 32
    IN_PSEUDO = 64

cdef enum:
    # The longest name of a method.
    METHOD_BYTES = 32

# The kinds of each byte.
cdef unsigned char[256] kinds


cdef inline bint is_kind(char byte, int kind) noexcept:
    """Return whether a byte is of one of these kinds."""
    return (kinds[<unsigned char>byte] & kind) != 0


cdef struct FieldSpan:
    # The number of fields of a kind, and the place of the first one's value in the text of the head.
    int32_t count
    int32_t at
    int32_t size


@cython.final
cdef class RequestLimits:
    cdef:
        # Seconds: for a head, between requests, between two pieces of a body or of an answer.
        readonly double header_seconds
        readonly double idle_seconds
        readonly double body_idle_seconds

        # Fields of a head, their bytes, and the bytes of the target; trailers have the first two as well.
        readonly Py_ssize_t headers
        readonly Py_ssize_t header_bytes
        readonly Py_ssize_t target_bytes


cdef class RequestHead:
    cdef:
        # The version of HTTP, as "1.1".
        readonly str version

        # The bytes in which method, target and noted fields lie. The method begins them.
        bytes _text
        int _method_size
        int verb

        # The place of the target; an absolute one is kept apart, without scheme and host.
        int _target_at
        int _target_size
        bytes _relative

        # The noted fields, and the number of fields that begin with `meta-`.
        FieldSpan[16] _noted
        int meta_count

        # The memory of the texts and of all fields by HTTP/2, where many heads are kept at once; 0 by other versions.
        Py_ssize_t kept_bytes

        # All fields as `pairs` returns them; None where a version of HTTP keeps them in another form.
        list _pairs

        # The length of the body, -1: it is not stated.
        readonly int64_t content_length

        # The protocol of a tunnel that an extended CONNECT asks for (RFC 8441), None: the request is no extended
        # CONNECT.
        readonly bytes protocol
        readonly bint expects_continue

    cdef list pairs(self)

    cdef inline int count_of(self, int field) noexcept:
        """Return the number of fields of a kind."""
        return self._noted[field].count

    cdef const char* target_data(self, Py_ssize_t* size) noexcept
    cdef const char* field_data(self, int field, Py_ssize_t* size) noexcept
    cdef str field_text(self, int field)


# Return the head of a request by HTTP/2. `pairs` are checked fields as `RequestHead.pairs` returns them, Host among them;
# `content_length` is stated there, -1: it is not. `is_whole`: the stream ends with the head, so there is no body.
# `protocol`: of an extended CONNECT.
cpdef RequestHead head_of_fields(
    bytes method, bytes target, list pairs, RequestLimits limits, int64_t content_length=*, bint is_whole=*,
    bytes protocol=*
)

# Check one field line without its end; return the position of its colon.
cdef Py_ssize_t check_field(const char* line, Py_ssize_t size) except -1

# Return the number of the field with this name.
cdef int field_of(const char* name, Py_ssize_t size) noexcept


cdef inline int note_field(RequestHead head, int field, Py_ssize_t at, Py_ssize_t size) noexcept:
    """Note where the value of a field lies."""
    if field == FIELD_META:
        head.meta_count += 1
    elif field < FIELD_COUNT:
        if head._noted[field].count == 0:
            head._noted[field].at = <int32_t>at
            head._noted[field].size = <int32_t>size
        head._noted[field].count += 1
    return 0


# Return the number of the method with this name; methods have capital letters.
cdef int verb_of(const char* name, Py_ssize_t size) noexcept

# Check the Host of a head: there is at most one, and one if it is needed.
cdef int check_host(RequestHead head, bint is_needed) except -1

# Note whether the client waits to be asked for the body; anything else that it expects is refused.
cdef int take_expectation(RequestHead head) except -1

# Return whether a text equals one in lower case, capital letters aside.
cdef bint is_text(const char* text, Py_ssize_t size, const char* lower) noexcept

# Return the number that 1 to 18 digits state, -1 for another text. No accepted body has more bytes.
cdef int64_t number_of(const char* text, Py_ssize_t size) noexcept

# The error of a body with more bytes than its request takes.
cdef object long_body_error(int64_t most)
