"""Answers that caches may store, and requests of clients that hold one (RFC 9110, sections 8.8 and 13; RFC 9111)."""

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.server.served_call cimport ServerCall

# The field of an answer that is stored nowhere.
cdef bytes NO_STORE

# Return whether the client has the answer with the fields of a handler, by their names in lower case.
cdef bint is_unchanged(RequestHead head, dict fields) except -1

# Return the fields of a 304.
cdef dict kept_fields(dict fields)

# Note the fields of a handler; for gRPC-Web or Connect, only the fields about stored answers, and only if the answer
# may be stored.
cdef int note_fields(HttpTerms terms, HttpService service, dict fields) except -1
cdef int note_stored(HttpTerms terms, HttpService service, dict fields) except -1

# Return the fields of a handler, each with its line end, and our own fields that depend on them.
cdef bytes described_lines(HttpTerms terms, ServerCall call, RequestHead head)
