"""The fields of responses, each with its end."""

from fastrpc._core.http1.head cimport RequestHead
from fastrpc._core.server.served_call cimport ServerCall

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
