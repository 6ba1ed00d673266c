from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.polling cimport PollClock
from fastrpc._core.loop.turns cimport Turns


cdef class ReceiveTail:
    cdef:
        # `data`: the kept bytes, at the end of the owned `_block`; both are NULL if there are none. `size`: their
        # number.
        char* data
        char* _block
        Py_ssize_t size

        # The last bytes of a long payload that wait for a turn. They are already in their final place and do not count
        # as kept.
        Py_ssize_t placed

        # `is_put_off`: whether the kept bytes wait for a turn of the loop; `put_off_ns`: since when (0: they do not
        # wait).
        bint is_put_off
        uint64_t put_off_ns

        # `emptied_ns`: the last instant at which the socket was known to be empty; `watched_ns`: the instant since
        # which the loop watches the socket.
        uint64_t emptied_ns
        uint64_t watched_ns
        # Whether the last read left bytes in the socket.
        bint is_behind
        # `behind_bytes`: how many of these bytes are unread; `full_ns`: the instant at which they were counted.
        int64_t behind_bytes
        uint64_t full_ns

        # `received`: bytes received since the peer's rate was last weighed; `level`: the level of the peer's leaky
        # bucket at that instant, `weighed_ns`; `is_light`: whether the peer counts as a light caller.
        int64_t received
        int64_t level
        uint64_t weighed_ns
        bint is_light

        # Microseconds that a light caller had left of its last slice when all deferred input was handled.
        uint32_t left_us

        # The number of this connection's bytes in `Turns.deferred_bytes`.
        Py_ssize_t counted

    cdef int keep(self, const char* data, Py_ssize_t size) except -1
    cdef int drop(self) noexcept
    cdef bint keep_unseen(self, Engine engine, const char* data, Py_ssize_t size, bint in_body) except -1
    cdef Py_ssize_t give(self, Engine engine) except -1
    cdef Py_ssize_t take_up(self, Engine engine, bint* in_body) except -1
    cdef int end(self) noexcept
    cdef Py_ssize_t recount(self, Turns turns) noexcept
    cdef bint weigh(self, uint64_t now) noexcept
    cdef bint weigh_short(self, Py_ssize_t size, uint64_t now, uint64_t came_ns) noexcept
    cdef int leave_time(self, uint64_t now, uint64_t ends_ns) noexcept
    cdef bint has_time_left(self) noexcept
    cdef uint64_t take_time(self, uint64_t now, uint64_t ends_ns) noexcept
    cdef Py_ssize_t room(self, LoopState loop_state) noexcept
    cdef uint64_t dated(self, LoopState loop_state, uint64_t now, object transport, Py_ssize_t most) except 0
    cdef uint64_t _dated_back(self, LoopState loop_state, uint64_t now) noexcept
    cdef int _leave_rest(self, uint64_t now, object transport, Py_ssize_t size) except -1
    cdef int _note_unread(self, uint64_t now, object transport) except -1
    cdef int watched(self, PollClock polls, object transport, bint for_turn) except -1
    cdef int released(self) noexcept
