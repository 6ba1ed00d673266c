"""A limit of calls in progress that follows their times.

Calls that take longer than on an idle server wait for each other: then fewer of them should run. Ten times a second the
median of the calls that ended is compared with the shortest such median of ten seconds (the gradient of Netflix's
concurrency-limits, github.com/Netflix/concurrency-limits)::

    gradient = 1.5 x shortest / median, from 0.5 to 1
    limit    = 0.8 x limit + 0.2 x (gradient x limit + sqrt(limit))

A deadline missed counts as a drop: a window in which all calls missed theirs halves the limit. A limit that is not used
does not grow. Under a load that never ends the shortest median would only be one of that load, and the limit would creep
upwards: when it gets too old, half of the limit holds for two windows, and it is measured anew (as BBR does, "BBR:
congestion-based congestion control", ACM Queue 14, 2016).
"""

cimport cython
from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memset

cdef uint64_t WINDOW_NS = 100_000_000
cdef uint64_t SECOND_NS = 1_000_000_000
cdef double TOLERANCE = 1.5
cdef double SMOOTHING = 0.2

cdef enum:
    PROBE_WINDOWS = 2


cdef int compared(const void* first, const void* second) noexcept nogil:
    cdef uint64_t left = (<const uint64_t*>first)[0], right = (<const uint64_t*>second)[0]
    return (left > right) - (left < right)


@cython.final
cdef class AdaptiveLimit:

    def __init__(self, int64_t initial, int64_t floor, int64_t ceiling):
        if not 1 <= floor <= initial <= ceiling:
            raise ValueError(f"floor {floor}, initial {initial} and ceiling {ceiling} are not in this order, from 1 on")
        self._limit = <double>initial
        self._floor = floor
        self._ceiling = ceiling

    @property
    def allowed(self):
        return self.now_allowed()

    def note_call(self, uint64_t now, uint64_t held_ns, *, bint is_late=False, int64_t calls=1):
        self.note(now, held_ns, is_late, calls)

    cdef int64_t now_allowed(self) noexcept:
        return max(self._floor, <int64_t>(self._limit / 2 if self._probes_left else self._limit))

    cdef int note(self, uint64_t now, uint64_t held_ns, bint is_late, int64_t calls) noexcept:
        """Note the end of a call among so many in progress, itself included; 0 ns: its time says nothing."""
        if self._began_ns == 0:
            self._began_ns = now
        self._peak = max(self._peak, calls)
        if is_late:
            self._late += 1
        elif held_ns:
            self._times[self._ended % SAMPLES] = held_ns
            self._ended += 1
        if now >= self._began_ns + WINDOW_NS:
            self._end_window(now)
        return 0

    cdef int _end_window(self, uint64_t now) noexcept:
        cdef uint64_t median, shortest
        cdef int64_t calls = self._ended + self._late
        if self._late:
            self._limit *= 1 - 0.5 * <double>self._late / <double>calls
        if self._ended:
            median = self._median()
            shortest = self._shortest(now, median)
            if self._probes_left:
                self._probes_left -= 1
            elif not self._late:
                self._move(<double>shortest, <double>median)
        self._limit = min(max(self._limit, <double>self._floor), <double>self._ceiling)
        self._began_ns = now
        self._ended = self._late = self._peak = 0
        return 0

    cdef uint64_t _median(self) noexcept:
        cdef int64_t count = min(self._ended, <int64_t>SAMPLES)
        qsort(self._times, <size_t>count, sizeof(uint64_t), compared)
        return self._times[count // 2]

    cdef uint64_t _shortest(self, uint64_t now, uint64_t median) noexcept:
        """Return the shortest median of the last seconds, this one included; measure anew once it is too old."""
        cdef uint64_t second = now // SECOND_NS, before = 0, shortest = median
        cdef int index, passed
        if self._second == 0:
            self._second = second
        passed = <int>min(second - self._second, <uint64_t>SECONDS)
        for index in range(SECONDS):
            if self._least[index]:
                before = min(before, self._least[index]) if before else self._least[index]
        for index in range(passed):
            self._least[(self._second + 1 + <uint64_t>index) % <uint64_t>SECONDS] = 0
        self._second = second
        index = <int>(second % <uint64_t>SECONDS)
        self._least[index] = min(self._least[index], median) if self._least[index] else median
        for index in range(SECONDS):
            if self._least[index]:
                shortest = min(shortest, self._least[index])
        if before and shortest > before and self._limit > <double>self._floor and not self._probes_left:
            self._probes_left = PROBE_WINDOWS
            # Times measured under load say nothing about an idle server.
            memset(self._least, 0, sizeof(self._least))
        return shortest

    cdef int _move(self, double shortest, double median) noexcept:
        cdef double gradient = min(1.0, max(0.5, TOLERANCE * shortest / median))
        cdef double wanted = gradient * self._limit + sqrt(self._limit)
        # Without so many calls it is unknown whether more would go well.
        if wanted <= self._limit or 2 * self._peak >= <int64_t>self._limit:
            self._limit = (1 - SMOOTHING) * self._limit + SMOOTHING * wanted
        return 0
