"""A WebSocket of a mounted application, as events of ASGI."""

cimport cython

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.mounted_request cimport MountedRequest
from fastrpc._core.http.socket_end cimport SocketEnd


@cython.final
cdef class MountedSocket(SocketEnd):
    cdef:
        # The request for the WebSocket, which is answered by a handshake or by an ordinary response.
        MountedRequest _request
        str _name

        # Messages that the application has not taken, and their bytes.
        object _messages
        Py_ssize_t _held

        # Whether the application has its first event, and whether it has accepted; the code and the reason of the end.
        bint _has_told
        bint _has_accepted
        int _code
        str _reason

    cdef int _hold(self, Exchange exchange, Py_ssize_t change) except -1
    cdef dict _taken(self)
    cdef Exchange _present(self)
    cdef int _accept(self, message) except -1
    cdef int _refuse(self) except -1
    cdef int _send_message(self, message) except -1
