"""The limits of attempts after faults: the circuit breaker of one method at one endpoint, the retry budget of a client.

::

               faults in a row, or their rate
      closed ────────────────────────────────► open
        ▲                                      │  ▲
        │ all probes succeeded    time is over │  │ a probe failed: twice as long
        └──────────────── half open ◄──────────┘  │
                              └───────────────────┘

The first fault creates a breaker, and it is dropped once it has no history, so a healthy endpoint costs one pointer
check.

A breaker stays open for two seconds at most (`Breaker.longest_open`). If several tiers have breakers, a breaker closes
only after a probe that passes the breakers of all tiers behind it. With pauses of up to 30 s, calls through three tiers
still failed 8 s after the end of an outage of 20 s. Now they succeed after 2 s, at the cost of one probe per client
every two seconds.

The budget counts over a sliding second and accumulates nothing: the retries of a second are at most `share` of its calls
plus `per_second`, even in the first second of an outage. A token bucket would fill in quiet times and send its burst to a
server at the moment it fails. Attempts that reached no server, or that a draining server did not start, cause no load
and are not counted. A refusal by an overloaded server counts.
"""

cimport cython
from libc.string cimport memset

from fastrpc._core.base.wire cimport now_ns

STATES = ("closed", "open", "half_open")


@cython.final
cdef class RetryBudget:

    def __init__(self, double share=0.2, double per_second=10.0, *, clock=None):
        if not 0 <= share <= 1000 or not 0 <= per_second <= 1e9:
            raise ValueError(f"share is {share} and per_second {per_second}, they must be 0 to 1000 and 0 to 1e9")
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


cdef uint64_t nanoseconds(double seconds) noexcept:
    return <uint64_t>(seconds * 1e9)


@cython.final
cdef class EndpointBreaker:

    def __init__(self, settings):
        self._consecutive = settings.consecutive or 0
        self._fault_rate = settings.fault_rate or 0.0
        self._minimum_calls = settings.minimum_calls
        self._slot_ns = max(nanoseconds(settings.window) // BREAKER_SLOTS, <uint64_t>1)
        self._open_ns = nanoseconds(settings.open_seconds)
        self._longest_ns = nanoseconds(settings.longest_open)
        self._probes = settings.probes
        self.begin(1)

    @property
    def state(self):
        return STATES[self._state]

    def acquire(self, double now):
        return self.enter(nanoseconds(now))

    def record(self, int64_t ticket, bint is_fault, double now):
        self.leave(ticket, is_fault, nanoseconds(now))

    def release(self, int64_t ticket):
        self.forget(ticket)

    def opens_in(self, double now):
        """Return the seconds until the next probe; 0 if it is due."""
        if self._state != BREAKER_OPEN:
            return 0.0
        return max(0.0, <double>self._until_ns * 1e-9 - now)

    cdef void begin(self, int64_t generation) noexcept:
        """Issue tickets of this generation from now on; earlier tickets belong to the previous state."""
        self.generation = self.first_generation = generation

    cdef int64_t enter(self, uint64_t now) noexcept:
        """Return a ticket for a call, or 0 if the breaker refuses it."""
        if self._state == BREAKER_OPEN and now >= self._until_ns:
            self._state = BREAKER_HALF_OPEN
            self.generation += 1
            self._under_way = self._succeeded = 0
        if self._state == BREAKER_CLOSED:
            return self.generation
        if self._state == BREAKER_OPEN or self._under_way + self._succeeded >= self._probes:
            return 0
        self._under_way += 1
        return self.generation

    cdef bint admits(self, uint64_t now) noexcept:
        """Return whether `enter` would return a ticket."""
        if self._state == BREAKER_OPEN:
            return now >= self._until_ns
        return self._state == BREAKER_CLOSED or self._under_way + self._succeeded < self._probes

    cdef void leave(self, int64_t ticket, bint is_fault, uint64_t now) noexcept:
        """Count the end of a call. Calls of an earlier generation are ignored."""
        if ticket != self.generation or self._state == BREAKER_OPEN:
            return
        if self._state == BREAKER_HALF_OPEN:
            if is_fault:
                self._open(now)
                return
            self._under_way -= 1
            self._succeeded += 1
            if self._succeeded >= self._probes:
                self._close()
            return
        self._advance(now)
        self._calls[self._slot % BREAKER_SLOTS] += 1
        self._call_sum += 1
        if not is_fault:
            self._row = 0
            return
        self._row += 1
        self._faults[self._slot % BREAKER_SLOTS] += 1
        self._fault_sum += 1
        if (self._consecutive and self._row >= self._consecutive) or (
            self._fault_rate > 0
            and self._call_sum >= self._minimum_calls
            and <double>self._fault_sum >= self._fault_rate * <double>self._call_sum
        ):
            self._open(now)

    cdef void forget(self, int64_t ticket) noexcept:
        """Release a ticket without counting an outcome, so that another call may probe."""
        if self._state == BREAKER_HALF_OPEN and ticket == self.generation and self._under_way > 0:
            self._under_way -= 1

    cdef bint is_idle(self, uint64_t now) noexcept:
        """Return whether the breaker has no history, so that a new one is equivalent."""
        self._advance(now)
        return self._state == BREAKER_CLOSED and not self._row and not self._fault_sum

    cdef void _open(self, uint64_t now) noexcept:
        cdef uint64_t wait = self._open_ns
        cdef int _
        for _ in range(self._times):
            if wait >= self._longest_ns:
                break
            wait *= 2
        self._state = BREAKER_OPEN
        self.generation += 1
        self._until_ns = now + min(wait, self._longest_ns)
        self._times += 1

    cdef void _close(self) noexcept:
        self._state = BREAKER_CLOSED
        self.generation += 1
        self._row = self._call_sum = self._fault_sum = 0
        self._times = 0
        memset(self._calls, 0, sizeof(self._calls))
        memset(self._faults, 0, sizeof(self._faults))

    cdef void _advance(self, uint64_t now) noexcept:
        """Drop counts older than the window."""
        cdef uint64_t slot = now // self._slot_ns
        cdef uint64_t _
        if slot <= self._slot:
            return
        for _ in range(min(slot - self._slot, <uint64_t>BREAKER_SLOTS)):
            self._slot += 1
            self._call_sum -= self._calls[self._slot % BREAKER_SLOTS]
            self._fault_sum -= self._faults[self._slot % BREAKER_SLOTS]
            self._calls[self._slot % BREAKER_SLOTS] = 0
            self._faults[self._slot % BREAKER_SLOTS] = 0
        self._slot = slot
