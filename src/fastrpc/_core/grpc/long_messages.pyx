"""Messages of streams that are longer than the window of their stream.

A message that its window could hold waits until earlier messages are taken, a longer one waits for the pool of long
messages. Untaken messages may hold the whole pool: beyond it, one message for which a handler waits may arrive at a time.
"""

cimport cython

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.grpc.fields cimport PREFIX_BYTES
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.server.served_connection cimport process_held
from fastrpc._core.server.served_stream cimport ServedStream

cdef enum:
    # The interval at which messages that wait for memory are tried again.
    MEMORY_LOOK_NS = 1_000_000_000


@cython.final
cdef class LongMessages:
    """Decides when the rest of a long message may come, on one connection."""

    def __init__(self, Gate gate not None, FlowControl flow not None):
        self.gate = gate
        self.flow = flow

    cdef bint may_come(self, Http2Connection http2, GrpcCall call, int64_t size, bint is_awaited) except -1:
        cdef FlowControl flow = self.flow
        cdef Http2Stream stream = call.http2_stream
        cdef bint has_memory, is_next
        # Earlier messages may have been taken before a part of it arrived: their credit may be too little to be sent.
        is_awaited = is_awaited or call.stream is not None and (<ServedStream>call.stream).awaits_message()
        is_next = is_awaited or call.stream is not None and (<ServedStream>call.stream).waiting == 0
        if not is_next and call.reader.total + PREFIX_BYTES <= flow.first_receiving + stream.windows.growth.grown:
            return False
        # Includes the bytes that may already arrive beyond the pool.
        has_memory = process_held + size - min(<int64_t>0, flow.pool.left) <= self.gate.memory.lend_below
        if flow.granted and not (has_memory and flow.has_room(stream, size, False)):
            if not (has_memory and is_awaited) or holds_grant(self.unpooled):
                if not has_memory and http2.stream_below() is not NULL:
                    # Other connections may hold the memory, and this connection is not notified when they free it.
                    (<ByteStream>http2.stream_below()).schedule_check(now_ns() + MEMORY_LOOK_NS)
                flow.await_room(stream, False)
                return False
            self.unpooled = stream
        flow.borrow(stream, size)
        return True

    cdef int reader_left(self, Http2Connection http2, GrpcCall call) except -1:
        if call.http2_stream is not self.unpooled:
            return 0
        self.unpooled = None
        return 0 if self.flow.waiting is None else http2.grant_waiting()


cdef bint holds_grant(Http2Stream stream) noexcept:
    """Return whether a message of the stream was granted bytes, and was not taken yet."""
    return stream is not None and stream.is_known and stream.windows.granted != 0
