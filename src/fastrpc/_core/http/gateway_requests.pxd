"""The requests of one exchange of the gateway, from their heads to the gate."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.request_intake cimport RequestIntake
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GatewayRequests(RequestState):
    cdef:
        # Takes requests into the gate, and bodies that come in parts.
        RequestIntake intake

        # Identifies the sender of a request before a long body is read.
        RequestSender sender

    # The WebSocket that the request has become, or None.
    cdef inline SocketEnd socket(self):
        return <SocketEnd>self.talk

    cdef int _forget(self) except -1
    cdef int _stop_calls(self, Exchange exchange, ServerCall call, set parts) except -1
    cdef int _follow_proxy(self, ServerCall call, HttpTerms terms, RequestHead head) except -1
    cdef int _take_protocol(self, ServerCall call, HttpTerms terms) except -1
    cdef int _answer_fault(self, Exchange exchange, ServerCall call, HttpTerms terms) except -1
    cdef int _enter_application(self, Exchange exchange, ServerCall call, HttpTerms terms, bytes body) except -1
    cdef int _upgrade(self, Exchange exchange, ServerCall call, HttpTerms terms) except -1
    cdef uint64_t _send_sign(self, Exchange exchange, uint64_t now) except? 0


# Make the application for an exchange of a connection.
cdef GatewayRequests new_requests(
    Exchange exchange, EngineServedConnection connection, HttpService service, object keepalive
)
