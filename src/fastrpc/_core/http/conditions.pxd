"""Answers that caches may store, and conditional requests (RFC 9110, sections 8.8 and 13; RFC 9111)."""

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.server.served_call cimport ServerCall

# The field of an answer that no cache may store.
cdef bytes NO_STORE

# Return whether the client has this answer already, given the handler's fields, by their names in lower case.
cdef bint is_unchanged(RequestHead head, dict fields) except -1

# Return those fields of a handler that a 304 has.
cdef dict kept_fields(dict fields)

# Keep the fields of a handler. For gRPC-Web or Connect, keep only the fields about caching, and only for a GET by Connect.
cdef int note_fields(HttpTerms terms, HttpService service, dict fields) except -1
cdef int note_stored(HttpTerms terms, HttpService service, dict fields) except -1

# Return the fields of a handler, each with its line end, and the fields of the server that depend on them.
cdef bytes described_lines(HttpTerms terms, ServerCall call, RequestHead head)
