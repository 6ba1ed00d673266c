"""One WebSocket: a call, or the messages of JSON-RPC."""

cimport cython

from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.http1.connection cimport HttpConnection


@cython.final
cdef class SocketTalk(SocketEnd):
    cdef:
        # How envelopes are encoded; whether the gate has the call.
        int codec
        bint has_started

    cdef int _take_envelope(self, HttpConnection connection, bytes message) except -1
    cdef int _take_value(self, HttpConnection connection, bytes value) except -1
    cdef int _start(self, HttpConnection connection, dict parts) except -1
    cdef int _take_opening(self, HttpConnection connection, dict parts) except -1
    cdef object _too_much_metadata(self)
    cdef int _pass_in(self, HttpConnection connection, bytes payload) except -1
    cdef int _refuse_misuse(self, HttpConnection connection, object error) except -1
    cdef int _send(self, HttpConnection connection, bytes content) except -1
