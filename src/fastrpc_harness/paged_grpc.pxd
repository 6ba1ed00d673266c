"""A server's engine of gRPC with one page."""

from fastrpc._core.grpc.server cimport GrpcServer
from fastrpc._core.http2.stream_table cimport Http2Stream


cdef class PagedGrpcServer(GrpcServer):
    cdef int _answer(self, Http2Stream stream) except -1
