from libc.stdint cimport uint64_t

from fastrpc._core.io.receive_tail cimport ReceiveTail
from fastrpc._core.io.session_output cimport SessionOutput


cdef class Session(SessionOutput):
    cdef:
        readonly object peer_name

        # Whether a `TLSLayer` is the transport.
        bint is_encrypted

        # Received bytes that are not handled yet. They lie in the loop's buffer only while that buffer is handled.
        ReceiveTail tail
        # Whether the last buffer that was handed out is the memory of a long payload.
        bint in_body

        # `has_turn`: whether the tail waits in the loop's queue of turns; `has_end`: whether the stream ended after the
        # bytes in it.
        bint has_turn
        bint has_end

        # Whether the engine accepts no input, between `hold_input` and `release_input`.
        bint is_input_held

        # Whether reading is paused for another reason, set by `hold_back`.
        bint is_held_back

        # Whether a check once a second looks for a peer that has disconnected, since no read would show it.
        bint is_watched

        # The start of this read, or of its part that is not yet counted as time for work without an answer.
        uint64_t began_ns

        # The size of the last buffer that was handed out. `read_share`: bytes to receive before other callbacks run.
        Py_ssize_t place_size
        Py_ssize_t read_share

        # The instant at which the engine compares its deadlines next; 0 = none.
        uint64_t check_due_ns

    # The parts of reading.
    cdef char* _place(self, Py_ssize_t* room) except NULL
    cdef int _took_in(self, Py_ssize_t size) except -1
    cdef int _heard(self) except -1
    cdef bint _takes_short_time(self, Py_ssize_t size, uint64_t now) noexcept
    cdef int _handle(self, Py_ssize_t size) except -1
    cdef int _hand_over(self, Py_ssize_t size) except -1
    cdef int _add_to_turns(self) except -1
    cdef int _put_off(self) except -1
    cdef int _yield_loop(self) except -1
    cdef int _recount_tail(self) except -1
    cdef int _go_on(self) except -1
    cdef int _read_on(self) except -1
    cdef int _hear_last_answers(self) except -1
    cdef int _watch_peer(self) except -1
