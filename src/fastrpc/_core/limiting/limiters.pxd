"""Limits of calls per second and of calls in progress, for each of many keys."""

cimport cython
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint64_t

cdef extern from "limiting/shared_word.h" nogil:
    int64_t word "frpc_word"(const int64_t* place) noexcept
    bint replace_word "frpc_replace_word"(int64_t* place, int64_t old, int64_t new) noexcept
    void add_word "frpc_add_word"(int64_t* place, int64_t change) noexcept
    uint64_t keyed_hash "frpc_keyed_hash"(const uint64_t* secret, const char* data, size_t size) noexcept

cdef enum:
    # The most keys of a table, and the number of its places: three times as many, so that a key finds a place within
    # its window (the chance of a full window is below 1e-13).
    MOST_KEYS = 10_000
    PLACES = 32_768
    WINDOW = 64
    # The index of the word that is shared by all keys without a place.
    OVERFLOW = PLACES


# Return the key of a name, the same in every table of this process and of its forks. Never 0.
cdef uint64_t key_of(bytes name) noexcept


cdef class KeyTable:
    cdef:
        # Owns the memory of the three arrays. Processes forked from this one may share it.
        Py_buffer _memory
        # The key of each place; 0: the place is free.
        int64_t* _keys
        # The word of each place, and the overflow word.
        int64_t* words
        # The number of places taken.
        int64_t* _taken

        # Instants in the unit of the words: a sweep before `sweep_at` finds no idle place. The next sweep is at least
        # `sweep_pause` later.
        int64_t sweep_at
        int64_t sweep_pause

    cdef Py_ssize_t find(self, uint64_t key, int64_t idle) noexcept
    cdef Py_ssize_t _claim(self, uint64_t key, Py_ssize_t free, Py_ssize_t idle_place, int64_t idle) noexcept
    cdef int _sweep(self, int64_t idle) noexcept
    cdef bint is_full(self) noexcept
    cdef int forget(self, Py_ssize_t place) noexcept


cdef enum:
    # SAMPLES: the last calls of a window whose times are kept; SECONDS: the seconds for which the shortest median
    # is remembered.
    SAMPLES = 512
    SECONDS = 10


@cython.final
cdef class AdaptiveLimit:
    cdef:
        # floor <= _limit <= ceiling. Half of it applies while `_probes_left` windows measure the shortest median anew.
        double _limit
        int64_t _floor
        int64_t _ceiling
        int _probes_left

        # The start of the current window.
        uint64_t _began_ns
        # `_times`: the times of successful calls; `_ended`: the number of these calls.
        uint64_t[SAMPLES] _times
        int64_t _ended
        # The number of calls that missed their deadline.
        int64_t _late
        # The most calls in progress.
        int64_t _peak

        # `_least`: the shortest median of each of the last seconds, 0: none; `_second`: the last second that has one.
        uint64_t[SECONDS] _least
        uint64_t _second

    cdef int64_t now_allowed(self) noexcept
    cdef int note(self, uint64_t now, uint64_t held_ns, bint is_late, int64_t calls) noexcept
    cdef int _end_window(self, uint64_t now) noexcept
    cdef uint64_t _median(self) noexcept
    cdef uint64_t _shortest(self, uint64_t now, uint64_t median) noexcept
    cdef int _move(self, double shortest, double median) noexcept


@cython.final
cdef class RateLimiter:
    cdef:
        readonly KeyTable table

        # Words of the table are ticks since `_base_ns`: the instant at which the bucket is full again.
        uint64_t _base_ns

        # Ticks for one token (`_token`), for a full bucket (`_capacity`), and for the part of a bucket that sheddable
        # calls may not use (`_reserve`).
        int64_t _token
        int64_t _capacity
        int64_t _reserve

        # The place whose token was taken last, for `give_back`.
        Py_ssize_t _last

    cdef int64_t take(self, uint64_t key, uint64_t now, bint is_sheddable) noexcept
    cdef int give_back(self) noexcept


cdef enum CallEnd:
    # How a call ended: it was never started, its handler failed, it missed its deadline, it succeeded.
    END_UNSTARTED = 0
    END_FAILED = 1
    END_LATE = 2
    END_GOOD = 3


@cython.final
cdef class ConcurrencyLimiter:
    cdef:
        # Words of the table are numbers of calls in progress.
        readonly KeyTable table
        readonly int64_t limit

        # The rule that adapts the limit, or None. A limiter with a rule has one key.
        readonly AdaptiveLimit adaptive

        # The mean time that a call takes, in nanoseconds: an exponential average, 0 before the first call ends.
        readonly uint64_t mean_ns

    cdef Py_ssize_t enter(self, uint64_t key, bint is_sheddable) noexcept
    cdef int leave(self, Py_ssize_t place, uint64_t held_ns, uint64_t now, CallEnd end) noexcept
    cdef uint64_t pause(self) noexcept


@cython.final
cdef class Permit:
    cdef:
        # `limiter`, `place`: the limiter, and the call's place in it. `next`: the call's permit of the next limiter, or
        # None.
        ConcurrencyLimiter limiter
        Py_ssize_t place
        Permit next


# Free the places of all permits in a chain.
cdef int leave_all(Permit permit, uint64_t held_ns, uint64_t now, CallEnd end) noexcept
