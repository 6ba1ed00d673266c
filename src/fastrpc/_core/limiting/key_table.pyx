"""A word for each key of a limit, in a fixed piece of memory that forked processes may share.

::

    key ──► 64 places from hash(key) on ──► its own word
                    └─► no free place, none that is idle ──► the overflow word, shared by all such keys

A word at or below the caller's idle value means the same as no word: a full bucket, no call in progress. Only such
places are given to other keys, so a caller cannot reset a spent bucket by sending many keys. A place that becomes free
breaks no search, because every search looks at its whole window.

Keys are kept as their 64-bit hash under a secret of this process: two of 10,000 keys share a word with a chance of
3e-12, and callers cannot choose them. Processes change keys and words without locks, so one that is killed holds
nothing up. Two that bring the same new key at the same instant may give it two places: the second one is idle from then
on.
"""

import mmap
import os

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.stdint cimport INT64_MAX

cdef enum:
    WORDS = 2 * PLACES + 2

cdef uint64_t[2] secret
secret[0], secret[1] = int.from_bytes(os.urandom(8), "little"), int.from_bytes(os.urandom(8), "little")


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
        """Return the place of a key; a new key takes a free or an idle place, or shares the overflow."""
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
        """Take one of these places; return -1 if another process was first, or the search is worth repeating."""
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
        """Free all idle places; return their number. The next sweep waits until another place may be idle."""
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
