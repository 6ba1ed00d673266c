"""The requests of one connection of the gateway, from their heads to the gate."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.http_served_connection cimport HttpServedConnection
from fastrpc._core.http.request_intake cimport RequestIntake
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GatewayRequests(HttpApplication):
    cdef:
        # Shared by all connections.
        HttpService service
        Gate gate

        # The state of the connection for the gate, borrowed: the engine holds it, and this object.
        PyObject* _served

        # Takes requests into the gate, and bodies that come in parts.
        RequestIntake intake

        # Finds out who sends a request, before a long body is read.
        RequestSender sender

    cdef inline HttpServedConnection served(self):
        return <HttpServedConnection>self._served

    # Requests that are late.
    cdef uint64_t check(self, Exchange exchange, uint64_t now) except? 0

    cdef int _forget(self) except -1
    cdef int _answer_fault(self, Exchange exchange, ServerCall call, HttpTerms terms) except -1
    cdef int _enter_application(self, Exchange exchange, ServerCall call, HttpTerms terms, bytes body) except -1
    cdef int _upgrade(self, Exchange exchange, ServerCall call, HttpTerms terms) except -1


cdef GatewayRequests new_requests(Exchange exchange, HttpServedConnection served)
