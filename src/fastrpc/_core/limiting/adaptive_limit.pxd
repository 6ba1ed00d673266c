cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # The last calls of a window whose times are kept, and the seconds for which the shortest median is remembered.
    SAMPLES = 512
    SECONDS = 10


@cython.final
cdef class AdaptiveLimit:
    cdef:
        # floor <= _limit <= ceiling; half of it applies while the shortest time is measured anew.
        double _limit
        int64_t _floor
        int64_t _ceiling
        int _probes_left

        # The running window: its start, the times of calls that ended well, how many did, how many missed their deadline,
        # the most calls in progress.
        uint64_t _began_ns
        uint64_t[SAMPLES] _times
        int64_t _ended
        int64_t _late
        int64_t _peak

        # The shortest median of each of the last seconds, 0: none; the second of the latest one.
        uint64_t[SECONDS] _least
        uint64_t _second

    cdef int64_t now_allowed(self) noexcept
    cdef int note(self, uint64_t now, uint64_t held_ns, bint is_late, int64_t calls) noexcept
    cdef int _end_window(self, uint64_t now) noexcept
    cdef uint64_t _median(self) noexcept
    cdef uint64_t _shortest(self, uint64_t now, uint64_t median) noexcept
    cdef int _move(self, double shortest, double median) noexcept
