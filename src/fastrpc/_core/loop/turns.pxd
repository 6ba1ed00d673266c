from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.loop.polling cimport PollClock


cdef enum:
    # The time for work without an answer in one turn of the loop, whose slices take 4 ms. Longer turns have a
    # proportional share (`unanswered_share`).
    UNANSWERED_NS = 1_000_000

cdef enum:
    # A longer payload is compressed in slices: at some 40 ns a byte, this many bytes take 10 ms.
    SLICED_ABOVE = 262_144

cdef enum:
    # Decoders read some hundred million bytes a second, so a shorter body takes less time than a turn has.
    LONG_BODY = 65_536


cdef inline bint outlasts_turn(Py_ssize_t size, uint64_t ends_ns) noexcept:
    """Return whether a body of `size` bytes took longer than its turn allows, so that other reads have to wait."""
    return size >= LONG_BODY and now_ns() > ends_ns


cpdef uint64_t slices_ns(uint64_t others_ns, uint64_t spent_ns) noexcept
cpdef uint64_t unanswered_share(uint64_t length_ns) noexcept


cdef class Turns:
    cdef:
        # Functions of the loop, and whether the next round is scheduled there. `_call_at` is None if one callback
        # begins a turn and runs its slices.
        object _call_soon
        object _call_at
        object _mark
        object _run
        object _report
        bint _is_scheduled

        # `_began_ns`: the start of the last round; `_due`: the number of owners that waited then.
        uint64_t _began_ns
        Py_ssize_t _due

        # Owners that wait for a slice, each with its context, in the order of their slices. Here: owners with time left
        # of their last slice.
        object _going_on
        # Owners that had no slice yet.
        object _fresh
        # Owners that had a slice.
        object _begun
        # Owners that had a slice in this turn and stay in `_fresh`.
        list _kept
        # Whether this slice belongs to an owner of `_going_on` or `_fresh`.
        bint _is_fresh_slice
        # How much more time `_begun` had than `_going_on` and `_fresh`, in nanoseconds.
        int64_t _lead_ns

        # `ends_ns`: the instant at which this turn of the loop is used up; 0: its start was not noted. `_ran_ns`: the
        # end of the last slices if more work waits, else 0.
        uint64_t ends_ns
        uint64_t _ran_ns

        # The time left in this turn for work without an answer.
        uint64_t unanswered_ns

        # The time left in this turn for short reads after it is used up.
        uint64_t short_ns

        # The instants at which the loop's polls returned.
        readonly PollClock polls

        # The number of received bytes that wait for a slice, over all connections.
        int64_t deferred_bytes

        # The number of frames that all connections together may handle before the start of a turn is noted.
        int frames_left

    cdef int add(self, Timed owner, bint is_busy=*) except -1
    cdef int spend_short(self, uint64_t nanoseconds) noexcept
    cdef int go_on(self, Timed owner) except -1
    cdef int keep_first(self, Timed owner) except -1
    cdef uint64_t begin(self, uint64_t now) except 0
    cdef bint is_over(self, uint64_t now) noexcept
    cdef bint spend_unanswered(self, uint64_t nanoseconds) noexcept
    cdef uint64_t read_until(self, uint64_t now) except 0
    cdef Py_ssize_t _waiting(self) except -1
    cdef uint64_t _slice_ns(self, bint is_begun) except 0
    cdef object _next(self)
    cdef uint64_t _run_next(self, uint64_t now) except 0
    cdef int _schedule(self) except -1
    cdef int _begin_turn(self, uint64_t now) except -1
    cdef bint _give_slice(self, Timed owner, uint64_t ends_ns) except -1


cdef class SlicedWork(Timed):
    cdef:
        # `_step`: the function that does a slice, and returns whether more work remains. `_turns`: the Turns that give
        # this work its slices.
        object _step
        Turns _turns
