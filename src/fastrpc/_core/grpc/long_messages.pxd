"""Messages of streams that are longer than the window of their stream."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_table cimport FlowControl, Http2Stream
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class LongMessages:
    cdef:
        Gate gate

        # The windows of the connection, and the pool that its streams share.
        FlowControl flow

        # The stream of the message that was admitted although the pool had too little left for it, or other messages
        # wait before it: one at a time, or None.
        Http2Stream unpooled

    # Return whether `size` bytes of a message may arrive now beyond its window; then they are borrowed from the pool.
    cdef bint may_come(self, Http2Connection http2, GrpcCall call, int64_t size, bint is_awaited) except -1

    # A handler stopped waiting for a message: another handler's message may arrive beyond the pool.
    cdef int reader_left(self, Http2Connection http2, GrpcCall call) except -1
