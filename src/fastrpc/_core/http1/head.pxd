"""The head of an HTTP/1.1 request: its line and its fields, checked."""

cimport cython

from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits


@cython.final
cdef class Http1Head(RequestHead):
    cdef:
        # The offset of the fields in `_text`, which is the head as received, with the empty line.
        int _fields_at
        readonly int minor_version

        # Whether the client wants to send another request on the connection.
        readonly bint keeps_alive


# Return the size of a complete head, with its empty line, or 0 if it is incomplete. `seen` bytes were searched before.
cdef Py_ssize_t head_size(const char* data, Py_ssize_t size, Py_ssize_t* seen, RequestLimits limits) except -1

# Parse a complete head. The `content_length` of a chunked body is -1.
cdef Http1Head parse_head(const char* data, Py_ssize_t size, RequestLimits limits)

# Return the size of a line with its CRLF, or 0 if it is incomplete. RequestRefusedError: it is longer than `most` bytes.
cdef Py_ssize_t line_size(const char* data, Py_ssize_t size, Py_ssize_t most, str subject) except -1
