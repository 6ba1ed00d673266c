"""The server's side of a connection that speaks gRPC: its opening, drain and end."""

from libc.stdint cimport uint64_t

from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.server.openings cimport Openings


cdef class GrpcServer(GrpcRequests):
    cdef:
        # The connections in their opening: it lasts until the settings of the peer came.
        Openings openings

        # Bytes of header blocks and tables, counted for the connection.
        Py_ssize_t counted_bytes

    cdef uint64_t _check_life(self, uint64_t now) except? 0
    cdef int _finish_with(self, int code, str text, bint lingers) except -1

    # Incomplete requests and messages: their callers may be late.
    cdef uint64_t _check_incomplete(self, uint64_t now) except? 0
    cdef uint64_t _late_at(self, GrpcCall call) except? 0
    cdef int _end_late(self, GrpcCall call) except -1
