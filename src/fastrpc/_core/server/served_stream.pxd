"""The messages of a served call, to and from its handler."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.link.contract cimport Flow
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.output_room cimport OutputRoom
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.streams.stream_channel cimport StreamChannel


@cython.final
cdef class ServedStream(StreamChannel):
    cdef:
        # The call as a `ServerCall`.
        ServerCall served

        # The flow of its connection.
        Flow flow

        # The codec of the REQUEST, which all messages share; the compressor that the caller used last; the decoder of
        # messages, found on first use.
        int codec
        int compressor
        Marshal marshal

        # The largest message that is sent uncompressed; whether messages are checked against their annotation before
        # they are sent.
        Py_ssize_t compress_above
        bint checks_results

        # The process's memory for its messages, and their bound.
        OutputRoom output_room
        # Whether messages of the stream count before they are sent (memory_budget.HeldPieces).
        public bint counts_ahead
        # Whether the sender waits for memory of the process.
        bint awaits_memory

        # The form whose file the stream is, in pieces of raw bytes; None: messages are encoded.
        readonly object form

        # The error of the compression of its last message, or None.
        object unsent_error

        # Received bytes of messages, counted for the connection; among them the bytes of the last taken message, which
        # counts as decoded until the next message is requested.
        int64_t held
        int64_t taken_held

        # The decompression of the oldest message (handlers/unpacking.py), its room once it is complete, and the rooms
        # of the last taken messages; each may be None.
        object job
        object room
        list taken_rooms

        # Whether the first metadata, or a message without it, was sent; whether the handler got its arguments.
        readonly bint is_committed
        bint is_bound

    # Return whether the handler waits for the next message.
    cdef inline bint awaits_message(self) noexcept:
        return self._receiver is not None and self.waiting == 0

    # Whether the next message waits for room in the process.
    cdef inline bint lacks_room(self) noexcept:
        self.awaits_memory = False
        return self.output_room.is_over() and not (self.counts_ahead or self.output_ended)

    cdef object wait_memory(self)
    cpdef object bound(self)
    cpdef bytes encoded(self, object value)
    cdef int commit(self) except -1
    cdef int end(self) except -1


@cython.final
cdef class OnLoop:
    cdef:
        # The iterator that the handler returned.
        object _messages


cdef ServedStream new_served_stream(ServerCall call)
