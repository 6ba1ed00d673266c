"""One WebSocket: a call, or the messages of JSON-RPC."""

cimport cython

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.socket_end cimport SocketEnd


@cython.final
cdef class SocketTalk(SocketEnd):
    cdef:
        # How envelopes are encoded; whether the gate has the call.
        int codec
        bint has_started

    cdef int _take_envelope(self, Exchange exchange, bytes message) except -1
    cdef int _take_value(self, Exchange exchange, bytes value) except -1
    cdef int _start(self, Exchange exchange, dict parts) except -1
    cdef int _take_opening(self, Exchange exchange, dict parts) except -1
    cdef object _too_much_metadata(self)
    cdef int _pass_in(self, Exchange exchange, bytes payload) except -1
    cdef int _refuse_misuse(self, Exchange exchange, object error) except -1
    cdef int _send(self, Exchange exchange, bytes content) except -1
