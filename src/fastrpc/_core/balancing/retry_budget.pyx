"""The retry budget of a client.

It counts over a sliding second and accumulates nothing: the retries of a second are at most `share` of its calls plus
`per_second`, even in the first second of an outage. A token bucket would fill in quiet times and send its burst to a
server at the moment it fails.

Attempts that reached no server, or that a leaving server did not start, are no load and are not counted. A refusal by
an overloaded server counts.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns


@cython.final
cdef class RetryBudget:

    def __init__(self, double share=0.2, double per_second=10.0, *, clock=None):
        if not 0 <= share <= 1000 or not 0 <= per_second <= 1e9:
            raise ValueError(f"share is {share} and per_second {per_second}, neither may be negative or that large")
        self.share = share
        self.per_second = per_second
        self._clock = clock

    def note_call(self):
        self.count_call(self._now())

    @property
    def has_room(self):
        self._advance(self._now())
        return <double>(self._retry_sum + 1) <= self.share * <double>self._call_sum + self.per_second

    def take(self):
        if not self.has_room:
            return False
        self._retries[self._slot % BUDGET_SLOTS] += 1
        self._retry_sum += 1
        return True

    @property
    def calls(self):
        self._advance(self._now())
        return self._call_sum

    @property
    def retries(self):
        self._advance(self._now())
        return self._retry_sum

    def _now(self):
        return now_ns() if self._clock is None else <uint64_t>(self._clock() * 1e9)

    cdef int count_call(self, uint64_t now) except -1:
        self._advance(now)
        self._calls[self._slot % BUDGET_SLOTS] += 1
        self._call_sum += 1
        return 0

    cdef int _advance(self, uint64_t now) except -1:
        """Drop counts older than the window."""
        cdef uint64_t slot = now // BUDGET_SLOT_NS
        cdef uint64_t _
        if slot <= self._slot:
            return 0
        for _ in range(min(slot - self._slot, <uint64_t>BUDGET_SLOTS)):
            self._slot += 1
            self._call_sum -= self._calls[self._slot % BUDGET_SLOTS]
            self._retry_sum -= self._retries[self._slot % BUDGET_SLOTS]
            self._calls[self._slot % BUDGET_SLOTS] = 0
            self._retries[self._slot % BUDGET_SLOTS] = 0
        self._slot = slot
        return 0
