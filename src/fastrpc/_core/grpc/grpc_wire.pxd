"""The server's side of gRPC: requests into the gate, outcomes into frames."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.outcomes cimport GrpcOutcomes
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.link.contract cimport Assembling, Goodbye


cdef class GrpcWire(GrpcRequests):
    cdef:
        # Writes answers; it is the `flow` of the wire.
        GrpcOutcomes outcomes

        # Bytes of header blocks and tables, counted for the connection.
        Py_ssize_t counted_bytes

    cdef int _serve(self, Pages pages) except -1
    cdef int _count_blocks(self, Py_ssize_t size) except -1

    # Incomplete requests and messages: their senders may be late.
    cdef uint64_t _check_incomplete(self, uint64_t now) except? 0
    cdef uint64_t _late_at(self, GrpcCall call) except? 0
    cdef int _end_late(self, GrpcCall call) except -1


@cython.final
cdef class GrpcGoodbye(Goodbye):
    cdef:
        # The wire, borrowed: it holds this object, and only it and its link use it.
        PyObject* wire


@cython.final
cdef class GrpcAssembling(Assembling):
    cdef:
        # The wire, borrowed in the same way.
        PyObject* wire
