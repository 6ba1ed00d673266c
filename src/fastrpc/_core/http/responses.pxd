"""The parts of responses: their fields, each with its line end, and the documents of errors (RFC 9457)."""

from libc.stdint cimport uint32_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall

# Return the HTTP status for one of our statuses.
cpdef int http_status_of(int status) noexcept

# Return our status for a request that is refused with an HTTP status.
cdef int status_of_refusal(int http_status) except -1

# Return our status that corresponds to the HTTP status of an application's response.
cdef int status_of_response(int http_status) except -1

# Return the document of an error.
cdef bytes problem_document(int http_status, Failure failure, int codec)

# Return the field Retry-After if the HTTP status is 429 or 503 and the caller may retry, else b"".
cdef bytes retry_line(int http_status, Failure failure)

cdef bytes NOSNIFF
cdef bytes JSON_LINES
cdef bytes MSGPACK_LINES
cdef bytes PROBLEM_LINES
cdef bytes BEARER

# Return the Content-Type of a stream and, for events in answer to a POST, `Cache-Control: no-store`, which `call_lines`
# adds only for other verbs.
cdef bytes stream_lines(HttpTerms terms, RequestHead head)

# Return the fields that answers to all calls have in common.
cdef bytes call_lines(ServerCall call, HttpTerms terms, RequestHead head)

# Return the fields and the document for a request refused with an HTTP status; its call and its head may be None.
cdef tuple refusal_answer(RequestHead head, ServerCall call, int status, str text)

# Return 429 if the caller has exceeded its limit, 503 if the server is overloaded.
cdef int status_of_load(Gate gate, uint32_t pushback_ms) except -1

# Return the most specific HTTP status for a call that was not started, the failure to report, and further fields.
cdef tuple refusal_of_call(ServerCall call, HttpTerms terms, Failure failure, bint is_faulty)

# Each of these returns a whole answer: the HTTP status, the fields and the content.
#
# A failure as a document.
cdef tuple problem_answer(ServerCall call, HttpTerms terms, RequestHead head, int status, Failure failure, bytes lines)
# 304: the client has the answer already.
cdef tuple unchanged_answer(HttpTerms terms, ServerCall call, RequestHead head)
# The refusal of a faulty request, which is not passed to the gate.
cdef tuple fault_answer(ServerCall call, HttpTerms terms, RequestHead head)
# The outcome of a call by gRPC-Web or Connect. With `status` 0 the HTTP status follows from the failure.
cdef tuple web_answer(
    ServerCall call, HttpTerms terms, RequestHead head, bytes payload, Failure failure, int status
)

# Return the fields of an answer by gRPC-Web or Connect, each with its line end.
cdef bytes web_lines(ServerCall call, HttpTerms terms, RequestHead head, list fields)
