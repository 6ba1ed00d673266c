from cpython.object cimport PyObject

from fastrpc._core.calling.blocking_session cimport BlockingSession
from fastrpc._core.calling.blocking_wait cimport Wait
from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.streams.stream_channel cimport StreamChannel


cdef class BlockingChannel(StreamChannel):
    cdef:
        # Whether an attempt is under way; whether a message or HEAD came; whether the attempt ended. Set under the
        # guard of its session.
        readonly bint is_open
        readonly bint has_sign
        readonly bint attempt_ended

        # Who waits for a message or the end, and who waits for room to send; one thread may do both.
        Wait _reader_wait
        Wait _sender_wait


cdef class BlockingStreamCall(PendingCall):
    cdef:
        # Who makes it and where it goes.
        ViewOptions options
        readonly object hash_key
        BlockingSession session

        # The arguments, without the stream of the caller.
        tuple args
        dict kwargs

        # The stream it belongs to: borrowed, NULL once the stream has gone or the attempt is over.
        PyObject* stream_pointer

        # Of an attempt: what the endpoint set is told at its end, or None; the initial metadata; whether the
        # connection counts it among its users.
        object pick
        bytes first_metadata
        bint is_used

    cdef bint start(self, BlockingChannel stream) except -1
    cdef int end_pick(self, object error) except -1
    cdef bytes _packed(self, bytes payload)
