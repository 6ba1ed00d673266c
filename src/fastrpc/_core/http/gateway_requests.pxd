"""The requests of one connection of the gateway, from their heads to the gate."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.http_served_connection cimport HttpServedConnection
from fastrpc._core.http.request_intake cimport RequestIntake
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http1.application cimport HttpApplication
from fastrpc._core.http1.connection cimport HttpConnection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GatewayRequests(HttpApplication):
    cdef:
        # Shared by all connections; the state of this one for the gate.
        HttpService service
        Gate gate
        HttpServedConnection served

        # Takes requests into the gate, and bodies that come in parts.
        RequestIntake intake

        # Finds out who sends a request, before a long body is read.
        RequestSender sender

    # Requests that are late.
    cdef uint64_t check(self, HttpConnection engine, uint64_t now) except? 0

    cdef int _forget(self, HttpConnection engine) except -1
    cdef int _answer_fault(self, HttpConnection engine, ServerCall call, HttpTerms terms) except -1
    cdef int _enter_application(self, HttpConnection engine, ServerCall call, HttpTerms terms, bytes body) except -1
    cdef int _upgrade(self, HttpConnection engine, ServerCall call, HttpTerms terms) except -1


cdef GatewayRequests new_requests(HttpConnection engine, HttpServedConnection served)
