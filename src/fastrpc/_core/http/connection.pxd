"""The HTTP gateway's side of one connection: from requests to calls."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.http_served_connection cimport HttpServedConnection
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http1.connection cimport HttpConnection
from fastrpc._core.http1.head cimport RequestHead
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GatewayConnection(HttpConnection):
    cdef:
        # Shared by all connections; the state of this one for the gate.
        readonly HttpService service
        readonly Gate gate
        readonly HttpServedConnection connection

        # Whether the gate has the call; a line of the body that is not whole.
        bint has_started
        bytearray line

        # Finds out who sends a request, before a long body is read.
        RequestSender sender

    # From the request to the gate.
    cdef int _forget(self) except -1
    cdef int _answer_fault(self, ServerCall call, HttpTerms terms) except -1
    cdef int _enter_application(self, ServerCall call, HttpTerms terms, RequestHead head, bytes body) except -1
    cdef int _pass_in(self, bytes payload) except -1
    cdef int _upgrade(self, ServerCall call, HttpTerms terms) except -1
    cdef uint64_t _check_rest(self, uint64_t now) except? 0
    cdef int _take_messages(self, ServerCall call, object web, bytes part, bint is_last) except -1
    cdef int _put(self, ServerCall call, bytes message, int compressor) except -1
    cdef int _take_form(self, ServerCall call, HttpTerms terms, bytes part, bint is_last) except -1
    cdef int _begin_upload(self, HttpTerms terms) except -1
    cdef int _take_line(self, bytes line) except -1

    # A drain.
    cdef bint _is_between(self) except -1
    cdef uint64_t _check_leaving(self, uint64_t now) except? 0
