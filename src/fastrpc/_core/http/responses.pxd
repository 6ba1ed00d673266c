"""The parts of responses: their fields, each with its end, and the documents of errors (RFC 9457)."""

from fastrpc._core.http1.head cimport RequestHead
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport Failure

# Return the HTTP status for a status of ours.
cdef int http_status_of(int status) noexcept

# Return the status of ours for a request that HTTP refuses with one of its own.
cdef int status_of_refusal(int http_status) except -1

# Return a document. `status` is that of HTTP; pushback in milliseconds as in `Failure`.
cdef bytes problem_document(int http_status, Failure failure, int codec)

# Return the field Retry-After where the status has one, else nothing.
cdef bytes retry_line(int http_status, Failure failure)

cdef bytes NOSNIFF
cdef bytes JSON_LINES
cdef bytes MSGPACK_LINES
cdef bytes NDJSON_LINES
cdef bytes EVENT_LINES
cdef bytes PROBLEM_LINES
cdef bytes BEARER

# Return the fields that every answer to a call has; whether there are any.
cdef bytes call_lines(ServerCall call, RequestHead head)
cdef bint has_lines(ServerCall call, RequestHead head) noexcept
