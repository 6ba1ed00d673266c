"""The server's side of rpcx: requests into the gate, outcomes into frames."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.link.contract cimport Pushing
from fastrpc._core.rpcx.frames cimport Profile, RpcxFrame
from fastrpc._core.rpcx.requests cimport RpcxRequests
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class RpcxWire(RpcxRequests):
    cdef:
        # A derived protocol, whose peers may send its magic; None: no such protocol is served here.
        Profile derived

        # The call of an incomplete frame that states a timeout, or None.
        ServerCall cut
        # The last frame that was searched for a timeout: its begin and its size.
        uint64_t cut_ns
        Py_ssize_t cut_bytes

    cdef ServerCall _call_of(self, const char* data)
    cdef int _sender_of(self, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1
    cdef int _take_call(self, RpcxFrame* frame, int compressor) except -1
    cdef int _echo(self, RpcxFrame* frame) except -1


@cython.final
cdef class RpcxPushes(Pushing):
    cdef:
        Profile profile

        # The number of pushes so far, which numbers the next one.
        uint64_t count
