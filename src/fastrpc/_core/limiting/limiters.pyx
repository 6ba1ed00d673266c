"""Limits of calls per second and of calls in progress, for each of many keys.

::

    RateLimiter            token buckets            ─┐
    ConcurrencyLimiter     calls in progress        ─┴──► KeyTable: a word for each key
      └── AdaptiveLimit    adapts its limit

**KeyTable** keeps the words in memory of a fixed size that forked processes may share::

    key ──► 64 places from hash(key) on ──► its own word
                    └─► no free place, none that is idle ──► the overflow word, shared by all such keys

A word at or below the limiter's idle value means the same as no word: a full bucket, or no call in progress. Only such
places are given to other keys, so a caller cannot refill its empty bucket by sending many keys. Every search checks all
64 places, so it finds its key even behind a place that became free.

Keys are kept as their 64-bit hash under a secret of this process: two of 10,000 keys share a word with a chance of
3e-12, and callers cannot choose them. Processes change keys and words without locks, so a killed process blocks no
other. Two processes that add a new key at the same instant may give it two places; the second one then stays idle.

**RateLimiter**: a bucket is one word, the instant at which it will be full again: the theoretical arrival time of the
generic cell rate algorithm (ITU-T I.371). Taking a token advances this instant by the time of one token; a bucket whose
instant has passed is full and idle. Nothing runs between calls, and a token is taken by one compare-and-swap, in any
process.

**AdaptiveLimit** follows the durations of calls. If calls take longer than on an idle server, they wait for each other,
and fewer of them should run. Ten times a second the median duration of the calls that ended is compared with the
shortest such median of the last ten seconds (the gradient of Netflix's concurrency-limits,
github.com/Netflix/concurrency-limits)::

    gradient = 1.5 x shortest / median, from 0.5 to 1
    limit    = 0.8 x limit + 0.2 x (gradient x limit + sqrt(limit))

A missed deadline counts as a drop: a window in which all calls missed their deadlines halves the limit. A limit that is
not used does not grow. Under permanent load the shortest median would only be a median of that load, and the limit
would creep upwards. Therefore, when the shortest median gets too old, half of the limit applies for two windows and the
median is measured anew (as in BBR, "BBR: congestion-based congestion control", ACM Queue 14, 2016).
"""

import mmap
import os

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport sqrt
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport qsort
from libc.string cimport memset

from fastrpc._core.base.wire cimport now_ns

cdef enum:
    WORDS = 2 * PLACES + 2

cdef uint64_t[2] secret
secret[0], secret[1] = int.from_bytes(os.urandom(8), "little"), int.from_bytes(os.urandom(8), "little")

cdef uint64_t SECOND_NS = 1_000_000_000
# Constants of AdaptiveLimit: the time between two medians.
cdef uint64_t MEDIAN_NS = 100_000_000
# The 1.5 and 0.2 of its formulas.
cdef double TOLERANCE = 1.5
cdef double SMOOTHING = 0.2

cdef enum:
    # The number of windows during which half of the limit applies.
    PROBE_WINDOWS = 2

cdef enum:
    # Ticks in a nanosecond. At 1,000,000 calls/s a token takes 16,000 ticks, so the rounding error is at most 0.003 %.
    # 63 bits of ticks last 18 years.
    TICKS = 16
    # A sweep of the whole table takes about 20 us, so there is at most one in a millisecond.
    SWEEP_TICKS = 1_000_000 * TICKS

cdef double SECOND_TICKS = 1e9 * TICKS

cdef enum:
    # Each call contributes an eighth to the mean.
    MEAN_BITS = 3

cdef uint64_t FIRST_PAUSE_NS = 100_000_000
cdef uint64_t SHORTEST_PAUSE_NS = 1_000_000
cdef uint64_t LONGEST_PAUSE_NS = 10_000_000_000


cdef uint64_t key_of(bytes name) noexcept:
    return keyed_hash(secret, PyBytes_AS_STRING(name), <size_t>PyBytes_GET_SIZE(name)) or 1


cdef class KeyTable:

    def __cinit__(self):
        # Zeros: the system allocates each page when it is first written.
        PyObject_GetBuffer(mmap.mmap(-1, WORDS * sizeof(int64_t)), &self._memory, PyBUF_WRITABLE)
        self._keys = <int64_t*>self._memory.buf
        self.words = self._keys + PLACES
        self._taken = self.words + PLACES + 1

    def __dealloc__(self):
        PyBuffer_Release(&self._memory)

    @property
    def taken(self):
        return word(self._taken)

    def place_of(self, bytes name not None, int64_t idle=0):
        cdef Py_ssize_t place = self.find(key_of(name), idle)
        return None if place == OVERFLOW else place

    def set_word(self, place, int64_t value):
        cdef Py_ssize_t at = OVERFLOW if place is None else place
        if not 0 <= at <= OVERFLOW:
            raise IndexError(f"place is {at}, there are {PLACES}")
        self.words[at] = value

    cdef bint is_full(self) noexcept:
        return word(self._taken) >= MOST_KEYS

    cdef Py_ssize_t find(self, uint64_t key, int64_t idle) noexcept:
        """Return the place of a key. A new key gets a free or an idle place, or shares the overflow word."""
        cdef Py_ssize_t start = <Py_ssize_t>(key & (PLACES - 1)), i, place, free, idle_place
        cdef int64_t wanted = <int64_t>key, found
        while True:
            free = idle_place = -1
            for i in range(WINDOW):
                place = (start + i) & (PLACES - 1)
                found = word(&self._keys[place])
                if found == wanted:
                    return place
                if found == 0:
                    if free < 0:
                        free = place
                elif idle_place < 0 and word(&self.words[place]) <= idle:
                    idle_place = place
            place = self._claim(key, free, idle_place, idle)
            if place >= 0:
                return place

    cdef Py_ssize_t _claim(self, uint64_t key, Py_ssize_t free, Py_ssize_t idle_place, int64_t idle) noexcept:
        """Claim one of two places; return -1 if another process was faster, or the search is worth repeating."""
        cdef int64_t old
        if free >= 0 and not self.is_full():
            if not replace_word(&self._keys[free], 0, <int64_t>key):
                return -1
            add_word(self._taken, 1)
            return free
        if idle_place >= 0:
            old = word(&self._keys[idle_place])
            return idle_place if replace_word(&self._keys[idle_place], old, <int64_t>key) else -1
        if idle >= self.sweep_at and self._sweep(idle):
            return -1
        return OVERFLOW

    cdef int _sweep(self, int64_t idle) noexcept:
        """Free all idle places; return their number. The next sweep waits until further places may be idle."""
        cdef Py_ssize_t place
        cdef int freed = 0
        cdef int64_t next_idle = INT64_MAX, key, value
        for place in range(PLACES):
            key = word(&self._keys[place])
            if key == 0:
                continue
            value = word(&self.words[place])
            if value > idle:
                next_idle = min(next_idle, value)
            elif replace_word(&self._keys[place], key, 0):
                freed += 1
        add_word(self._taken, -freed)
        self.sweep_at = max(next_idle, idle + self.sweep_pause)
        return freed

    cdef int forget(self, Py_ssize_t place) noexcept:
        """Free the place of an idle key."""
        cdef int64_t key = word(&self._keys[place])
        if place != OVERFLOW and key and replace_word(&self._keys[place], key, 0):
            add_word(self._taken, -1)
        return 0


cdef int compared(const void* first, const void* second) noexcept nogil:
    cdef uint64_t left = (<const uint64_t*>first)[0], right = (<const uint64_t*>second)[0]
    return (left > right) - (left < right)


@cython.final
cdef class AdaptiveLimit:

    def __init__(self, int64_t initial, int64_t floor, int64_t ceiling):
        if not 1 <= floor <= initial <= ceiling:
            raise ValueError(f"1 <= floor <= initial <= ceiling is required, not {floor}, {initial} and {ceiling}")
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
        """Note the end of a call; `calls` are in progress, including it. `held_ns` 0: its duration does not count."""
        if self._began_ns == 0:
            self._began_ns = now
        self._peak = max(self._peak, calls)
        if is_late:
            self._late += 1
        elif held_ns:
            self._times[self._ended % SAMPLES] = held_ns
            self._ended += 1
        if now >= self._began_ns + MEDIAN_NS:
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
        """Return the shortest median of the last seconds, including this one. Measure it anew once it is too old."""
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
            # Durations measured under load say nothing about an idle server.
            memset(self._least, 0, sizeof(self._least))
        return shortest

    cdef int _move(self, double shortest, double median) noexcept:
        cdef double gradient = min(1.0, max(0.5, TOLERANCE * shortest / median))
        cdef double wanted = gradient * self._limit + sqrt(self._limit)
        # So few calls do not show whether the server could handle more than the limit.
        if wanted <= self._limit or 2 * self._peak >= <int64_t>self._limit:
            self._limit = (1 - SMOOTHING) * self._limit + SMOOTHING * wanted
        return 0


@cython.final
cdef class RateLimiter:

    def __init__(self, double rate, int64_t burst, *, now=None):
        if not 0 < rate <= 1e9 or burst < 1 or burst / rate > 1e8:
            raise ValueError(f"rate is {rate} and burst {burst}: neither may be below 0, nor may a refill take 1e8 s")
        self.table = KeyTable()
        self.table.sweep_pause = SWEEP_TICKS
        self._base_ns = now_ns() if now is None else now
        self._token = max(<int64_t>1, <int64_t>(SECOND_TICKS / rate + 0.5))
        self._capacity = self._token * burst
        self._reserve = self._token * (burst // 4)

    def try_take(self, bytes name not None, uint64_t now, *, bint is_sheddable=False):
        return self.take(key_of(name), now, is_sheddable)

    def return_token(self):
        self.give_back()

    cdef int64_t take(self, uint64_t key, uint64_t now, bint is_sheddable) noexcept:
        """Take a token; return 0, or the nanoseconds until a token is available.

        Sheddable calls may not use the last quarter of the bucket.
        """
        # The clock of another processor may be a little behind.
        cdef int64_t ticks = <int64_t>((max(now, self._base_ns) - self._base_ns) * TICKS)
        cdef Py_ssize_t place = self.table.find(key, ticks)
        cdef int64_t full_at, after, most = self._capacity - (self._reserve if is_sheddable else 0)
        cdef int64_t* place_word = &self.table.words[place]
        while True:
            full_at = word(place_word)
            after = max(full_at, ticks) + self._token
            if after - ticks > most:
                return (after - ticks - most + TICKS - 1) // TICKS
            if replace_word(place_word, full_at, after):
                self._last = place
                return 0

    cdef int give_back(self) noexcept:
        """Undo the last successful `take`."""
        add_word(&self.table.words[self._last], -self._token)
        return 0


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
        """Count a call; return the place to free at its end, or -1 if the limit is reached.

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
                # If the table is full later, a sweep finds this place.
                self.table.sweep_at = 0
        if end != END_UNSTARTED and held_ns:
            self.mean_ns += (held_ns >> MEAN_BITS) - (self.mean_ns >> MEAN_BITS) if self.mean_ns else held_ns
        return 0

    cdef uint64_t pause(self) noexcept:
        """Return how long a refused caller should wait, in nanoseconds: the mean time of a call."""
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
