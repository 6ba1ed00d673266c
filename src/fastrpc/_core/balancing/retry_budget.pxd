"""The retry budget of a client. Touched with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Parts of the window, and nanoseconds of one: together a second.
    BUDGET_SLOTS = 10
    BUDGET_SLOT_NS = 100_000_000


@cython.final
cdef class RetryBudget:
    cdef:
        readonly double share
        readonly double per_second
        object _clock

        # Calls and retries of the last slots; slot number n is at n % BUDGET_SLOTS. The sums are over all of them.
        int64_t[BUDGET_SLOTS] _calls
        int64_t[BUDGET_SLOTS] _retries
        int64_t _call_sum
        int64_t _retry_sum
        uint64_t _slot

    cdef int count_call(self, uint64_t now) except -1
    cdef int _advance(self, uint64_t now) except -1
