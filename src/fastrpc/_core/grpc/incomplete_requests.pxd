"""Calls with an incomplete request, or an incomplete message of their stream: senders, memory, windows and time."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport LinkedConnection


@cython.final
cdef class IncompleteRequests:
    cdef:
        # The gate; the connection, and its form for the gate: None before a link holds the wire.
        Gate gate
        Http2Connection http2
        LinkedConnection connection

        # The calls. Each has `is_incomplete` set.
        set calls

        # The stream of the message that was admitted although the pool had too little left for it, or other messages
        # wait before it: one at a time, or None.
        Http2Stream unpooled

    # Note an incomplete part of a request, or of a stream message.
    cdef int note(self, GrpcCall call) except -1

    # The request or message of a call is whole, or its stream is over.
    cdef int remove(self, GrpcCall call) except -1

    # The answer of a listed call has ended: free the received part.
    cdef int drop(self, GrpcCall call) except -1

    # The sender of a request need not be judged any more.
    cdef int drop_check(self, GrpcCall call) noexcept

    # Count received bytes. False: the budgets do not accept them, and the call was ended.
    cdef bint has_room(self, GrpcCall call) except -1

    # Let the rest of a message longer than its window arrive; a message of a stream may have to wait for the pool.
    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1

    # A handler stopped waiting for a message: another handler's message may arrive beyond the pool.
    cdef int reader_left(self, GrpcCall call) except -1

    # Answer a call instead of its handler, which is stopped: for a fault of its caller.
    cdef int end_instead(self, GrpcCall call, int status, str text) except -1

    # The server stops: refuse them. The connection is over: forget them.
    cdef int end(self, str text) except -1
    cdef int forget_all(self) except -1

    # End calls whose callers are late with a request or message; return the instant of the next check, 0 = never.
    cdef uint64_t check(self, uint64_t now) except? 0


cdef IncompleteRequests new_incomplete(Http2Connection http2, Gate gate)
