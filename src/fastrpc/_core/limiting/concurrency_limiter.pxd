cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.limiting.adaptive_limit cimport AdaptiveLimit
from fastrpc._core.limiting.key_table cimport KeyTable

cdef enum CallEnd:
    # The end of a call: never started, handler failed, deadline missed, succeeded.
    END_UNSTARTED = 0
    END_FAILED = 1
    END_LATE = 2
    END_GOOD = 3


@cython.final
cdef class ConcurrencyLimiter:
    cdef:
        # Words of the table are calls in progress.
        readonly KeyTable table
        readonly int64_t limit

        # The rule that moves the limit, or None. With one, the limiter has one key.
        readonly AdaptiveLimit adaptive

        # The mean time that a call holds its place, in nanoseconds: an exponential average, 0 before the first end.
        readonly uint64_t mean_ns

    cdef Py_ssize_t enter(self, uint64_t key, bint is_sheddable) noexcept
    cdef int leave(self, Py_ssize_t place, uint64_t held_ns, uint64_t now, CallEnd end) noexcept
    cdef uint64_t pause(self) noexcept


@cython.final
cdef class Permit:
    cdef:
        # The place of a call under a limit, and the call's permit under the next one, or None.
        ConcurrencyLimiter limiter
        Py_ssize_t place
        Permit next


# Leave the places of all permits in a chain.
cdef int leave_all(Permit permit, uint64_t held_ns, uint64_t now, CallEnd end) noexcept
