from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.native.liveness cimport Liveness
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.spinner cimport Spinner


cdef class Session(Connection):
    cdef:
        # The stream below and the loop it lives on; None before connection_made and after connection_lost.
        readonly object transport
        readonly LoopState loop_state
        object _write
        object _flush_callback
        readonly object peer_name

        # Whether calls of ours may go out: connected, and the peer takes new ones; whether somebody wants to hear of the
        # next one.
        readonly bint is_usable
        public bint announces_calls

        # Who keeps the loop from sleeping while this connection is busy, and for how long; None where nobody does.
        Spinner spinner
        uint64_t spin_ns

        # The socket, to write past the transport and, while it is spun on, to read; -1 where that cannot be. Whether
        # bytes given to the transport may still be there.
        readonly int descriptor
        bint transport_holds

        # When this read has to look whether this turn of the loop has handled enough. What is left then waits in the
        # tail, and nothing more is read. Whether the session has a place among the loop's turns, and whether the end of
        # the stream came behind what waits.
        uint64_t turn_ends_ns
        bint has_turn
        bint has_end

        # Whether it is not read from for another reason; kept by whoever has that reason.
        bint is_held_back

        # Whether a flush is scheduled, whether we are inside a read whose end flushes, whether the transport is full.
        bint _flush_scheduled
        bint _is_reading
        readonly bint is_write_paused

        # The rules of its life, and when they are checked next; 0 = not.
        readonly Liveness liveness
        uint64_t check_due_ns
        bint is_lost

        # Bytes given to the transport.
        int64_t written

        # Calls whose streams wait until our output has left; None where none does.
        dict _full_streams

    cdef int flush(self) except -1
    cdef int schedule_flush(self) except -1
    cdef int schedule_check(self, uint64_t due_ns) except -1
    cdef uint64_t check(self, uint64_t now) except? 0
    cdef int _note_blocked(self) except -1
    cdef int stop_calls(self) except -1
    cdef bint output_is_full(self) noexcept
    cdef int await_output(self, Call call) except -1

    # Hooks.
    cdef int on_stall(self) except -1
    cdef int on_read(self) except -1
    cdef int on_eof(self) except -1
    cdef int on_lost(self, object error) except -1
    cdef int on_used(self) except -1
    cdef int _pump(self) except -1
    cdef int _shut_down(self) except -1
    cdef int _write_output(self) except -1
    cdef int _resume_streams(self) except -1
    cdef bint _send_directly(self) except -1
    cdef int leave_closed_loop(self) except -1
    cdef int _took_in(self, Py_ssize_t size) except -1
    cdef int _handle(self, Py_ssize_t size, bint goes_on) except -1
    cdef int _heard(self) except -1
    cdef int _put_off(self) except -1
    cdef int _read_on(self) except -1
    cdef int _hear_last_answers(self) except -1
