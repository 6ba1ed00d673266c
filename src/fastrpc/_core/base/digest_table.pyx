"""A table of digests whose search takes the same steps for all of them.

A dict compares as many entries as happen to lie at the place of a key. So two refused tokens differ by nanoseconds,
always in the same direction, and a measurement cannot tell that from a comparison that leaks. Here each search compares
the same number of slots, each as a whole, without a branch on what is in them. Up to 16 digests are all compared. In a
larger table each search reads slots at its own place, and their position in the lines of the cache costs up to a
nanosecond: it depends on the digest presented, not on those in the table.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport load64

cdef enum:
    DIGEST_BYTES = 32
    WORDS = 4
    # Slots for each digest, at least: with a quarter of them used, few digests lie beside their place.
    SPARE = 4
    # Up to this many digests share one place, so that each search reads the same memory. To compare sixteen takes
    # some 20 ns longer than to compare one.
    SHARED = 16


@cython.final
cdef class DigestTable:
    """Numbers of digests of 32 bytes, by their order."""

    def __init__(self, digests):
        cdef uint64_t number = 0
        self._allocate(len(digests))
        for digest in digests:
            number += 1
            self._place(digest, number)

    def __dealloc__(self):
        PyMem_Free(self._slots)

    cdef int _allocate(self, Py_ssize_t count) except -1:
        cdef uint64_t capacity = 1
        if count > SHARED:
            while capacity < <uint64_t>(SPARE * count):
                capacity *= 2
        PyMem_Free(self._slots)
        # Digests may lie after the last place; at most all of them do.
        self._slots = <Slot*>PyMem_Calloc(capacity + count + 1, sizeof(Slot))
        if self._slots is NULL:
            raise MemoryError()
        self._mask = capacity - 1
        self.reach = 1
        return 0

    cdef int _place(self, bytes digest, uint64_t number) except -1:
        cdef int i, at = 0
        cdef Slot* slot
        if PyBytes_GET_SIZE(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {len(digest)} bytes, it must have {DIGEST_BYTES}")
        slot = &self._slots[load64(PyBytes_AS_STRING(digest)) & self._mask]
        while slot[at].number:
            at += 1
        for i in range(WORDS):
            slot[at].words[i] = load64(PyBytes_AS_STRING(digest) + 8 * i)
        slot[at].number = number
        self.reach = max(self.reach, at + 1)
        return 0

    def find(self, bytes digest not None):
        """Return the number of a digest, counted from 0; -1 if it is not in the table."""
        cdef uint64_t first, second, third, fourth, difference, found = 0
        cdef const char* data = PyBytes_AS_STRING(digest)
        cdef Slot* slot
        cdef int at
        if PyBytes_GET_SIZE(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {len(digest)} bytes, it must have {DIGEST_BYTES}")
        first, second, third, fourth = load64(data), load64(data + 8), load64(data + 16), load64(data + 24)
        slot = &self._slots[first & self._mask]
        for at in range(self.reach):
            difference = (
                (first ^ slot[at].words[0]) | (second ^ slot[at].words[1])
                | (third ^ slot[at].words[2]) | (fourth ^ slot[at].words[3])
            )
            # All bits are set for a slot without a difference, none for another.
            found |= slot[at].number & (((difference | (0 - difference)) >> 63) - 1)
        return <long long>found - 1
