"""The check of who sends a long frame, by its beginning, before its payload is received."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.rpcx.frames cimport RpcxFrame
from fastrpc._core.rpcx.requests cimport RpcxRequests
from fastrpc._core.serving.served_call cimport ServerCall

cdef enum Found:
    # More bytes are needed, or a verdict: present the same beginning again.
    FOUND_WAITS = 0
    FOUND_ADMITTED = 1
    # It was refused, and answered.
    FOUND_REFUSED = 2


# A heartbeat names no sender: a long one ends the connection, whole or not.
cdef int check_heartbeat(Py_ssize_t size) except -1


@cython.final
cdef class SenderCheck:
    cdef:
        # The call whose credential is being verified, None: no such verdict is waited for; what became of the last one.
        ServerCall call
        int verdict

    # Look at the beginning of a frame of which not all is here; a call that is refused before its names are known is
    # `nameless`.
    cdef int look(
        self, RpcxRequests server, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole
    ) except -1
    cdef int _judge(self, RpcxRequests server, RpcxFrame* frame) except -1
    # Look at the time of a call that waits for its verdict; return when to look again, 0: not.
    cdef uint64_t check(self, RpcxRequests server, uint64_t now) except? 0
    cdef int _concluded(self, RpcxRequests server, ServerCall call, str name, int status) except -1
