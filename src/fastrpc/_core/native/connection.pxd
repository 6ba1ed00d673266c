from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.callee_states cimport CalleeStates
from fastrpc._core.native.caller_states cimport CallerStates
from fastrpc._core.native.control_frames cimport ControlFrames
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.liveness cimport Liveness
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.wire.frame cimport Frame


cdef class Connection(PartsOwner):
    cdef:
        # Its parts.
        readonly FrameReader reader
        readonly MessageAssembler assembler
        readonly CalleeStates callee
        readonly CallerStates caller
        readonly CallSlots slots
        readonly SendQueue sender
        readonly ControlFrames control
        readonly Liveness liveness

        # Calls that wait until our output has left; None without any.
        dict _output_waiters
        # Whether streams have the turn: their tasks run before the next pieces of large messages are written.
        bint streams_have_turn

        # The server's last verdict on our credential: its status, -1 before; a text; its validity in seconds, 0 = as
        # long as the connection lasts.
        readonly int auth_status
        readonly str auth_text
        readonly uint32_t auth_valid_seconds

        # Whether the peer read none of our bytes, as its first bytes or a refusal of TLS showed: none of our calls ran
        # there.
        bint is_unreadable

    cdef int open(self) except -1
    cdef int _raise_window(self, Py_ssize_t window) except -1
    cdef int hold_input(self) except -1
    cdef int release_input(self) except -1
    cdef int on_verdict(self) except -1
    cdef int start_drain(self, int reason, str text) except -1
    cdef bint was_handed(self, Call call) noexcept
    cdef bint was_written(self, Call call) noexcept
    cdef bint may_have_left(self, Call call) noexcept
    cdef bint has_cut_messages(self) noexcept
    cdef bint is_idle(self) noexcept

    # Calls that add to our output.
    cdef bint output_is_full(self, Call call) noexcept
    cdef int await_turn(self, Call call) except -1
    cdef int await_output(self, Call call) except -1
    cdef int schedule_check(self, uint64_t due_ns) except -1

    # Frames of calls, and their cost.
    cdef int _data(self, Frame* frame, bytes payload) except -1
    cdef int _placed(self, Frame* frame) except -1

    # The frames of the connection itself, and its opening.
    cdef int on_control(self, Frame* frame) except -1
    cdef int _take_preface(self, const char* data) except -1
    cdef int _write_raw(self, bytes data) except -1
    cdef int _credit_in_order(self, uint32_t size) except -1
