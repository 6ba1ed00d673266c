"""A server's wire of gRPC with one page."""

from fastrpc._core.grpc.grpc_wire cimport GrpcWire
from fastrpc._core.http2.stream_table cimport Http2Stream


cdef class PagedGrpcWire(GrpcWire):
    cdef int _answer(self, Http2Stream stream) except -1
