"""The circuit breaker of one method at one endpoint. Touched with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Slots of the sliding window of one second, and nanoseconds of a slot.
    BUDGET_SLOTS = 10
    BUDGET_SLOT_NS = 100_000_000


@cython.final
cdef class RetryBudget:
    cdef:
        readonly double share
        readonly double per_second
        object _clock

        # `_calls`, `_retries`: calls and retries of the last slots; slot number n is at n % BUDGET_SLOTS. `_call_sum`,
        # `_retry_sum`: the sums over these slots. `_slot`: the number of the present slot.
        int64_t[BUDGET_SLOTS] _calls
        int64_t[BUDGET_SLOTS] _retries
        int64_t _call_sum
        int64_t _retry_sum
        uint64_t _slot

    cdef int count_call(self, uint64_t now) except -1
    cdef int _advance(self, uint64_t now) except -1


cdef enum BreakerState:
    BREAKER_CLOSED = 0
    BREAKER_OPEN = 1
    BREAKER_HALF_OPEN = 2

cdef enum:
    # Slots of the sliding window of the fault rate.
    BREAKER_SLOTS = 10


@cython.final
cdef class EndpointBreaker:
    cdef:
        # The settings. 0 in `_consecutive` or `_fault_rate` disables its rule.
        int64_t _consecutive
        double _fault_rate
        int64_t _minimum_calls
        uint64_t _slot_ns
        uint64_t _open_ns
        uint64_t _longest_ns
        int64_t _probes

        # A ticket is the generation in which it was issued; each change of state starts a new generation.
        int _state
        int64_t generation
        int64_t first_generation

        # While closed. `_row`: consecutive faults. `_calls`, `_faults`: calls and faults of the last slots; slot number
        # n is at n % BREAKER_SLOTS. `_call_sum`, `_fault_sum`: the sums over these slots.
        int64_t _row
        int64_t[BREAKER_SLOTS] _calls
        int64_t[BREAKER_SLOTS] _faults
        int64_t _call_sum
        int64_t _fault_sum
        uint64_t _slot

        # While open. `_until_ns`: the instant at which this state ends. `_times`: the number of consecutive openings.
        uint64_t _until_ns
        int _times

        # While half open: `_under_way` is the number of probes in flight, `_succeeded` the number of successful probes.
        int64_t _under_way
        int64_t _succeeded

    cdef void begin(self, int64_t generation) noexcept
    cdef int64_t enter(self, uint64_t now) noexcept
    cdef bint admits(self, uint64_t now) noexcept
    cdef void leave(self, int64_t ticket, bint is_fault, uint64_t now) noexcept
    cdef void forget(self, int64_t ticket) noexcept
    cdef bint is_idle(self, uint64_t now) noexcept
    cdef void _open(self, uint64_t now) noexcept
    cdef void _close(self) noexcept
    cdef void _advance(self, uint64_t now) noexcept
