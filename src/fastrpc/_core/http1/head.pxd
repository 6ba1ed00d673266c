"""The head of a request: its line and its fields, checked."""

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


cdef struct FieldSpan:
    # The number of these fields, and the place of the first one's value in the head.
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


@cython.final
cdef class RequestHead:
    cdef:
        # As received, with the empty line. The method begins it, the fields begin at `_fields_at`.
        bytes _raw
        int _fields_at
        int _method_size
        int verb
        readonly int minor_version

        # The place of the target; an absolute one is kept apart, without scheme and host.
        int _target_at
        int _target_size
        bytes _relative

        # The noted fields, and the number of fields that begin with `meta-`.
        FieldSpan[16] _noted
        int meta_count

        # From the fields: the length of the body, -1 if it is chunked.
        readonly int64_t content_length
        readonly bint keeps_alive
        readonly bint expects_continue

    cdef const char* target_data(self, Py_ssize_t* size) noexcept
    cdef const char* field_data(self, int field, Py_ssize_t* size) noexcept
    cdef str field_text(self, int field)


# Return the size of a complete head, with its empty line; 0 if it is incomplete. `seen` bytes were searched before.
cdef Py_ssize_t head_size(const char* data, Py_ssize_t size, Py_ssize_t* seen, RequestLimits limits) except -1

cdef RequestHead parse_head(const char* data, Py_ssize_t size, RequestLimits limits)

# Check one field line without its CRLF; return the position of its colon.
cdef Py_ssize_t check_field(const char* line, Py_ssize_t size) except -1

# Return the size of a line with its CRLF; 0 if it is incomplete. It has to end within `most` bytes.
cdef Py_ssize_t line_size(const char* data, Py_ssize_t size, Py_ssize_t most, str subject) except -1

# Return whether a text equals one in lower case, capital letters aside.
cdef bint is_text(const char* text, Py_ssize_t size, const char* lower) noexcept
