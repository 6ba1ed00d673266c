from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.calling.blocking_stream_call cimport BlockingChannel, BlockingStreamCall


cdef class BlockingCalledStream(BlockingChannel):
    cdef:
        # The call as interceptors see it; its attempts have the connection.
        readonly BlockingStreamCall origin

        # Whether the program may send, whether messages or one answer come back.
        readonly bint takes_stream
        readonly bint gives_stream

        # Whether a thread receives, or sends.
        bint _is_receiving
        bint _is_sending

        # Whether an iterable is sent, so that nobody else may send; what is still to be sent of it by whoever
        # receives, or None.
        public bint is_fed
        object _source

    cdef bytes _taken_payload(self, uint8_t* codec, uint8_t* compressor)
    cdef object _take(self)
    cdef object _decoded(self, bytes payload, int codec, int compressor)
    cdef uint64_t _due(self) except? 0
    cdef bint _await_change(self, bint or_room) except -1
    cdef int _overdue(self, uint64_t due_ns, bint sends) except -1
    cdef int _feed(self) except -1
    cdef int _encode_and_send(self, object message) except -1
    cdef bint _send_now(self, bytes payload) except -1
    cdef int _await_room(self) except -1
    cdef bytes _decompressed(self, bytes payload, int number)
    cdef bytes _compressed(self, bytes payload, uint8_t* number)
