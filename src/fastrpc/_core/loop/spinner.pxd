from libc.stdint cimport uint64_t

from fastrpc._core.base.timer_wheel cimport Timed


cdef class Spinner:
    cdef:
        # The loop it keeps awake, and the callback it schedules there.
        object loop
        object _call_soon
        object _tick
        object _context

        # Until when it spins, 0 = not at all; whether the next round is scheduled; rounds so far.
        uint64_t until_ns
        readonly bint is_armed
        readonly uint64_t rounds

        # The connections that use it; the last busy one; whether one has a callback in the loop's queue, which polling
        # the socket would delay.
        readonly Py_ssize_t sessions
        Timed last
        bint has_waiting

    cdef int join(self) except -1
    cdef int leave(self, Timed session) except -1
    cdef int touch(self, Timed session, uint64_t until_ns) except -1
    cdef int _arm(self) except -1
