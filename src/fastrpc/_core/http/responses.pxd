"""The parts of responses: their fields, each with its line end, and the documents of errors (RFC 9457)."""

from libc.stdint cimport uint32_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall

# Return the HTTP status for one of our statuses.
cpdef int http_status_of(int status) noexcept

# Return our status for a request that HTTP refuses with a status of HTTP.
cdef int status_of_refusal(int http_status) except -1

# Return our status that corresponds to the HTTP status of an application's response.
cdef int status_of_response(int http_status) except -1

# Return a document. `http_status` is a status of HTTP; pushback in milliseconds as in `Failure`.
cdef bytes problem_document(int http_status, Failure failure, int codec)

# Return the field Retry-After if the status has one, else b"".
cdef bytes retry_line(int http_status, Failure failure)

cdef bytes NOSNIFF
cdef bytes JSON_LINES
cdef bytes MSGPACK_LINES
cdef bytes PROBLEM_LINES
cdef bytes BEARER

# Return the type of a stream and, for events in answer to a POST, the line against storing, which `call_lines` omits.
cdef bytes stream_lines(HttpTerms terms, RequestHead head)

# Return the fields that every answer to a call has.
cdef bytes call_lines(ServerCall call, HttpTerms terms, RequestHead head)

# Return the fields and the document for a request refused with an HTTP status; its call and its head may be None.
cdef tuple refusal_answer(RequestHead head, ServerCall call, int status, str text)

# Return 429 if the caller has asked for too much, 503 if the server has too much to do.
cdef int status_of_load(Gate gate, uint32_t pushback_ms) except -1

# Return the most specific status of HTTP for a call that was not started, the failure, and further fields.
cdef tuple refusal_of_call(ServerCall call, HttpTerms terms, Failure failure, bint is_faulty)

# Each returns a whole answer: the status of HTTP, the fields and the content.
#
# A failure as a document.
cdef tuple problem_answer(ServerCall call, HttpTerms terms, RequestHead head, int status, Failure failure, bytes lines)
# 304: the client has the answer already.
cdef tuple unchanged_answer(HttpTerms terms, ServerCall call, RequestHead head)
# The refusal of a request that the gate does not see.
cdef tuple fault_answer(ServerCall call, HttpTerms terms, RequestHead head)
# The outcome of a call by gRPC-Web or Connect; with `status` 0 the failure has the status.
cdef tuple web_answer(
    ServerCall call, HttpTerms terms, RequestHead head, bytes payload, Failure failure, int status
)

# Return the fields of an answer by gRPC-Web or Connect, each with its line end.
cdef bytes web_lines(ServerCall call, HttpTerms terms, RequestHead head, list fields)
