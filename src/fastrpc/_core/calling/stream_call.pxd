from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.streams.stream_channel cimport StreamChannel


cdef class CallerChannel(StreamChannel):
    cdef:
        # Whether an attempt is under way; whether the stream takes the messages of one; whether a message or HEAD came.
        readonly bint is_open
        readonly bint is_chosen
        readonly bint has_sign

    cdef int attach(self, StreamCall attempt) except -1
    cdef int detach(self, StreamCall attempt) noexcept
    cdef bint take_attempt(self, StreamCall attempt) except -1
    cdef int show_sign(self) except -1
    cdef int attempt_over(self, StreamCall attempt) except -1
    cdef int fail(self, object error, int reason) except -1
    cdef int send_out(self, object message) except -1
    cdef int send_end(self) except -1


cdef class StreamCall(PendingCall):
    cdef:
        # Who makes it and where it goes.
        ViewOptions options
        readonly object hash_key
        Connection session

        # The arguments, without the stream of the caller.
        tuple args
        dict kwargs

        # They as they are sent where they were compressed in slices before; whether that made them smaller.
        bytes packed_arguments
        bint is_smaller

        # The stream it belongs to: borrowed, NULL once the stream has gone or the attempt is over. Whether the stream
        # takes its messages, and whether another attempt was faster.
        PyObject* stream_pointer
        readonly bint is_chosen
        bint has_lost

        # Whether the stream wants no more messages of the iterable that is sent.
        bint has_enough

        # Of an attempt: done at its first sign (a message, HEAD or the end), None where nobody waits for that; what the
        # endpoint set is told at its end, or None; the initial metadata.
        object sign
        object pick
        bytes first_metadata

    cdef int start(self, CallerChannel stream) except -1
    cdef bint choose(self) except -1
    cdef int abandon(self, int reason, object error) except -1
    cdef int end_pick(self, object error) except -1
    cdef int detach(self) noexcept
    cdef bytes _packed(self, bytes payload)
