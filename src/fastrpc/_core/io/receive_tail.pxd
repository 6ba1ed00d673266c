from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.polling cimport PollClock
from fastrpc._core.loop.turns cimport Turns


cdef class ReceiveTail:
    cdef:
        # The kept bytes, at the end of an owned block; NULL if there are none.
        char* data
        char* _block
        Py_ssize_t size

        # The last bytes of a long payload: they are in their final place already, and do not count yet.
        Py_ssize_t placed

        # Whether the kept bytes wait for a turn of the loop, and since when (0: they do not wait).
        bint is_put_off
        uint64_t put_off_ns

        # The last instant at which a read left nothing in the socket, and the instant since which the loop watches it.
        uint64_t emptied_ns
        uint64_t watched_ns
        # The last read left bytes.
        bint is_behind
        # Whether the last read left bytes.
        int64_t behind_bytes
        uint64_t full_ns

        # Bytes received since the peer was weighed, and the level of its bucket then; whether it counts as a light
        # caller.
        int64_t received
        int64_t level
        uint64_t weighed_ns
        bint is_light

        # Microseconds that the last slice of a light caller had left when all that was put off was handled.
        uint32_t left_us

        # Bytes that are counted for the connection.
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
