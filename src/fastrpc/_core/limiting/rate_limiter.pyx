"""Token buckets, one for each key: limits of calls a second, and of calls at once.

A bucket is one word, the instant at which it will be full again: the theoretical arrival time of the generic cell rate
algorithm (ITU-T I.371). Taking a token moves it on by the time in which a token comes; a bucket whose instant has
passed is full. Nothing runs between calls, one compare-and-swap takes a token in any process, and an idle bucket is one
whose word lies in the past.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.limiting.key_table cimport add_word, key_of, replace_word, word

cdef enum:
    # Ticks in a nanosecond: at 1,000,000 calls/s a token takes 16,000 of them, so rounding is 0.003 % at most. 63 bits of
    # them last 18 years.
    TICKS = 16
    # A sweep of the whole table costs about 20 us: at most one in a millisecond.
    SWEEP_TICKS = 1_000_000 * TICKS

cdef double SECOND_TICKS = 1e9 * TICKS


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
        """Take a token; return 0, or the nanoseconds until there will be one.

        Sheddable calls may not use the last quarter of the bucket.
        """
        # A clock of another processor may be a little behind.
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
        """Undo the last `take` that succeeded."""
        add_word(&self.table.words[self._last], -self._token)
        return 0
