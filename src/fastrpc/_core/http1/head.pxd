"""The head of a request: its line and its fields, checked."""

cimport cython
from libc.stdint cimport int64_t


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
        # As received, but for an absolute target, of which the path and the query are kept.
        readonly str method
        readonly str target
        readonly int minor_version
        # Names in lower case with their values, in the order of the request.
        readonly list fields

        # What the fields say: the host, "" where an old client names none; how long the body is, -1 where it is chunked.
        readonly str host
        readonly int64_t content_length
        readonly bint keeps_alive
        readonly bint expects_continue


# Return the size of a whole head, with its empty line; 0 where it is not whole. `seen` bytes were looked at before.
cdef Py_ssize_t head_size(const char* data, Py_ssize_t size, Py_ssize_t* seen, RequestLimits limits) except -1

cdef RequestHead parse_head(const char* data, Py_ssize_t size, RequestLimits limits)

# Check one field line without its CRLF; return the position of its colon.
cdef Py_ssize_t check_field(const char* line, Py_ssize_t size) except -1

# Return the size of a line with its CRLF; 0 where it is not whole, which it has to be within `most` bytes.
cdef Py_ssize_t line_size(const char* data, Py_ssize_t size, Py_ssize_t most, str subject) except -1
