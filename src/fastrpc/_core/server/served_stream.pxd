"""The stream of a served call: messages to and from its handler."""

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
        # The call, typed.
        ServerCall served

        # The flow of the call's connection.
        Flow flow

        # `codec`: the codec of the REQUEST, which all messages share; `compressor`: the compressor that the caller used
        # last; `marshal`: the decoder of messages, found on first use.
        int codec
        int compressor
        Marshal marshal

        # `compress_above`: the size of the largest message that is sent uncompressed; `checks_results`: whether
        # messages are checked against their annotation before they are sent.
        Py_ssize_t compress_above
        bint checks_results

        # The limits of memory and size for sent messages.
        OutputRoom output_room
        # Whether the memory of messages is already counted before they are sent (memory_budget.HeldPieces).
        public bint counts_ahead
        # Whether the sender waits for memory, not for the peer.
        bint awaits_memory

        # The HTML form if the stream is its uploaded file, in pieces of raw bytes; None if messages are encoded.
        readonly object form

        # The error of compressing the last message, or None.
        object unsent_error

        # `held`: the bytes of received messages that are counted for the connection; `taken_held`: the part of them for
        # the last taken message, which counts with its decoded size until the handler asks for the next message.
        int64_t held
        int64_t taken_held

        # `job`: the job that decompresses the oldest message (handlers/unpacking.py); `room`: the Room of that message
        # when the job is complete; `taken_rooms`: the Rooms of the last taken messages. Each may be None.
        object job
        object room
        list taken_rooms

        # `is_committed`: whether the first metadata, or a message without metadata, was sent; `is_bound`: whether the
        # handler got its arguments.
        readonly bint is_committed
        bint is_bound

    # Return whether the handler waits for the next message.
    cdef inline bint awaits_message(self) noexcept:
        return self._receiver is not None and self.waiting == 0

    # Return whether the next message has to wait for memory of the process.
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
