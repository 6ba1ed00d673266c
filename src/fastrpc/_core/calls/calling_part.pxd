from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.wire.settings cimport WireSettings


cdef class CallingPart:
    cdef:
        # `owner`: the connection (borrowed, NULL after it was freed); `endpoint`: the peer's name in errors.
        PyObject* owner
        readonly object endpoint

        # `peer`: the peer's limits and numbers; `is_settled`: whether the peer has announced them: before that they are
        # the protocol's minimum.
        readonly WireSettings peer
        readonly bint is_settled

        # The longest message that this side sends.
        uint64_t most_bytes

        # `protocol`: the protocol of the connection. `takes_values`: whether the payload of a call is one value instead
        # of an array of arguments.
        readonly str protocol
        readonly bint takes_values

        # Whether the peer has announced that it drains.
        bint peer_leaves

        # Watches the deadlines of calls; None if calling threads watch them.
        readonly LoopState loop_state

    # Methods about the connection: whether it accepts a new call; whether its output waits; notification of a call once
    # the output was sent.
    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1
    cdef bint output_waits(self) except -1
    cdef int await_output(self, Call call) except -1

    # Methods that start and end a call.
    cdef int start(self, Call call, bytes payload) except -1
    cdef int send(self, Call call, bytes payload) except -1
    cdef int abandon(self, Call call, int reason) except -1

    # Methods for the messages of a stream, and the credit of received messages.
    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1
    cdef int send_end(self, Call call) except -1
    cdef bint output_is_full(self, Call call) noexcept
    cdef int await_turn(self, Call call) except -1
    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1
    cdef int reader_waits(self, Call call) except -1

    # The state of a call's request, and the call's error if the connection ends without an answer.
    cdef bint was_written(self, Call call) noexcept
    cdef bint was_handed(self, Call call) noexcept
    cdef object error_of_end(self, Call call, bint handed, str why)
