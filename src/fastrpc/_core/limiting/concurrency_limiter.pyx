"""Calls in progress, counted for each key against one limit."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.limiting.key_table cimport OVERFLOW, key_of

cdef enum:
    # A call counts for an eighth of the mean.
    MEAN_BITS = 3

cdef uint64_t FIRST_PAUSE_NS = 100_000_000
cdef uint64_t SHORTEST_PAUSE_NS = 1_000_000
cdef uint64_t LONGEST_PAUSE_NS = 10_000_000_000


@cython.final
cdef class ConcurrencyLimiter:

    def __init__(self, int64_t limit, *, AdaptiveLimit adaptive=None):
        if limit < 1:
            raise ValueError(f"limit is {limit}, it must be at least 1")
        self.table = KeyTable()
        self.limit = limit
        self.adaptive = adaptive

    def try_enter(self, bytes name not None, *, bint is_sheddable=False):
        cdef Py_ssize_t place = self.enter(key_of(name), is_sheddable)
        return None if place < 0 else place

    def note_left(self, Py_ssize_t place, uint64_t held_ns):
        if not 0 <= place <= OVERFLOW or not self.table.words[place]:
            raise ValueError(f"no call holds place {place}")
        self.leave(place, held_ns, 0, END_GOOD if held_ns else END_UNSTARTED)

    @property
    def pause_ns(self):
        return self.pause()

    cdef Py_ssize_t enter(self, uint64_t key, bint is_sheddable) noexcept:
        """Count a call; return the place to leave, or -1 if the limit is reached.

        Sheddable calls may not use the last quarter of the limit.
        """
        cdef Py_ssize_t place = self.table.find(key, 0)
        if self.table.words[place] >= self.limit - (self.limit // 4 if is_sheddable else 0):
            return -1
        self.table.words[place] += 1
        return place

    cdef int leave(self, Py_ssize_t place, uint64_t held_ns, uint64_t now, CallEnd end) noexcept:
        if self.adaptive is not None:
            if end == END_GOOD or end == END_LATE:
                self.adaptive.note(now, held_ns, end == END_LATE, self.table.words[place])
                self.limit = self.adaptive.now_allowed()
        self.table.words[place] -= 1
        if not self.table.words[place]:
            if self.table.is_full():
                self.table.forget(place)
            else:
                # Should the table be full later, a sweep finds this place.
                self.table.sweep_at = 0
        if end != END_UNSTARTED and held_ns:
            self.mean_ns += (held_ns >> MEAN_BITS) - (self.mean_ns >> MEAN_BITS) if self.mean_ns else held_ns
        return 0

    cdef uint64_t pause(self) noexcept:
        """Return the time that a refused caller should wait: the average time of a call."""
        if not self.mean_ns:
            return FIRST_PAUSE_NS
        return min(max(self.mean_ns, SHORTEST_PAUSE_NS), LONGEST_PAUSE_NS)


@cython.final
@cython.freelist(64)
cdef class Permit:
    """The place that a call holds under one limit."""


cdef int leave_all(Permit permit, uint64_t held_ns, uint64_t now, CallEnd end) noexcept:
    while permit is not None:
        permit.limiter.leave(permit.place, held_ns, now, end)
        permit = permit.next
    return 0
