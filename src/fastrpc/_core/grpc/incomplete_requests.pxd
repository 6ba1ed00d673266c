"""Calls whose request, or a message of whose stream, is incomplete: their senders, memory, windows and time limits."""

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
        # `gate`: the gate. `http2`: the HTTP/2 connection. `connection`: the object that represents it for the gate;
        # None before a link holds the wire.
        Gate gate
        Http2Connection http2
        LinkedConnection connection

        # The calls. Each has `is_incomplete` set.
        set calls

        # The stream of the one message that was admitted although the pool had too little left for it or other messages
        # waited before it; or None.
        Http2Stream unpooled

    # Note that a part of a request or of a stream message arrived, and the rest is missing.
    cdef int note(self, GrpcCall call) except -1

    # Remove a call: its request or message is complete, or its stream has ended.
    cdef int remove(self, GrpcCall call) except -1

    # Free the received part of a listed call, as its answer has ended.
    cdef int drop(self, GrpcCall call) except -1

    # Stop the check of a call's sender, whose result is not needed any more.
    cdef int drop_check(self, GrpcCall call) noexcept

    # Count received bytes. If the memory budgets do not accept them, end the call and return False.
    cdef bint has_room(self, GrpcCall call) except -1

    # Grant the rest of a message that is longer than its window; a message of a stream may have to wait for the pool.
    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1

    # Note that a handler stopped waiting for a message, so another handler's message may be granted beyond the pool.
    cdef int reader_left(self, GrpcCall call) except -1

    # Stop the handler of a call and answer the call with an error, as its caller has broken a rule.
    cdef int end_instead(self, GrpcCall call, int status, str text) except -1

    # `end` refuses the listed calls, as the server stops. `forget_all` forgets them, as the connection is lost.
    cdef int end(self, str text) except -1
    cdef int forget_all(self) except -1

    # End calls whose callers are late with a request or message; return the instant of the next check, 0 = never.
    cdef uint64_t check(self, uint64_t now) except? 0


cdef IncompleteRequests new_incomplete(Http2Connection http2, Gate gate)
