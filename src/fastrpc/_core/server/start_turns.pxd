"""The start of waiting calls: each turn of the loop starts some of them, by priority, connection after connection."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.server.admission cimport CallAdmission
from fastrpc._core.server.refused_calls cimport RefusedCalls
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


@cython.final
cdef class StartTurns:
    cdef:
        LoopState loop_state
        # `admission`: the waiting calls. `refusals`: the refusals of the server.
        CallAdmission admission
        RefusedCalls refusals

        # While a connection has more bytes of unsent output than this, none of its waiting calls starts.
        int64_t send_soft

        # The longest hold after a stall, without the time in which received bytes wait for their turn.
        uint64_t hold_ns

        # `turn`: the connections whose waiting calls are checked in the next turn; `is_scheduled`: whether that is
        # scheduled; `scheduled_ns`: since when.
        object turn
        bint is_scheduled
        uint64_t scheduled_ns

        # How many nanoseconds one connection may start waiting calls in a turn before the next connection may.
        uint64_t starts_each_ns
        object _look
        object _context

    cdef int schedule(self, ServedConnection connection) except -1
    cdef int weigh(self, ServedConnection connection, int64_t size) except -1
    cdef int note_stall(self, ServedConnection connection, uint64_t now, uint64_t came_ns) except -1
    cdef int hold_for_stall(self, ServedConnection connection) except -1
    cdef int note_long_start(self, ServerCall call, uint64_t before) except -1
