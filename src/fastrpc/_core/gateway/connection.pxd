"""The HTTP gateway's side of one connection: from requests to calls."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.gateway.exchange cimport HttpExchange
from fastrpc._core.gateway.http_call cimport HttpTerms
from fastrpc._core.gateway.service cimport HttpService
from fastrpc._core.http1.connection cimport HttpConnection
from fastrpc._core.http1.head cimport RequestHead
from fastrpc._core.serving.gate cimport Gate
from fastrpc._core.serving.served_call cimport ServerCall


@cython.final
cdef class GatewayConnection(HttpConnection):
    cdef:
        # What all connections share; what the gate knows of this one, and the same borrowed. Whichever of the two is freed
        # first clears the pointer that the other has to it.
        readonly HttpService service
        readonly Gate gate
        readonly HttpExchange exchange
        PyObject* _exchange

        # Whether the gate has the call; a line of the body that is not whole.
        bint has_started
        bytearray line

        # When the time of a call is over whose sender is not known yet; 0: it has none.
        uint64_t verdict_due_ns

    # From the request to the gate.
    cdef int _forget(self) except -1
    cdef int64_t _admit(self, ServerCall call, HttpTerms terms, RequestHead head) except? -2
    cdef int _judge(self) except -1
    cdef int _await_verdict(self, ServerCall call) except -1
    cdef uint64_t _check_verdict(self, uint64_t now) except? 0
    cdef int _answer_early(self) except -1
    cdef int _answer_fault(self, ServerCall call, HttpTerms terms) except -1
    cdef int _pass_in(self, bytes payload) except -1
    cdef int _upgrade(self, ServerCall call, HttpTerms terms) except -1
    cdef int _take_line(self, bytes line) except -1

    # A drain.
    cdef bint _is_between(self) except -1
    cdef uint64_t _check_leaving(self, uint64_t now) except? 0
