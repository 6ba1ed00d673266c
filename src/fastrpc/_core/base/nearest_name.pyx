"""Find the nearest of many names in bounded time, because peers choose the wanted name.

::

    up to MOST_SCANNED names ──► distance by length and bytes, a few nanoseconds each
                             ──► the MOST_COMPARED nearest, and the neighbours by order
                             ──► likeness ──► the BEST of them, whose last part is compared as well

The likeness of two names is twice their longest common subsequence over the sum of their lengths. The subsequence is
computed in the bits of two words (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): about ten operations
per byte.

`difflib` blocked the loop for 11 ms per unknown name among 200 methods, and a peer may send unknown names at will.
"""

from bisect import bisect_left

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcmp, memset

cdef extern from *:
    """
    #define frpc_bits(word) __builtin_popcountll(word)
    """
    int bits "frpc_bits"(uint64_t word) noexcept nogil

cdef enum:
    # Longest compared name: its bits fit into two words.
    LONGEST = 128
    # With more names than this, only the neighbours of the wanted name in sorted order are compared.
    MOST_SCANNED = 2048
    MOST_COMPARED = 32
    NEIGHBOURS = 8
    BEST = 5
    FARTHEST = 255

# The least likeness of two names.
cdef double ALIKE = 0.6


cdef class NameIndex:
    """Names to search for the nearest one."""

    def __init__(self, names):
        cdef Py_ssize_t place
        cdef bytes folded
        pairs = sorted([(str(name).casefold().encode("utf-8", "replace"), str(name)) for name in set(names)])
        self._folded = [pair[0] for pair in pairs]
        self._names = [pair[1] for pair in pairs]
        self._count = len(pairs)
        self._by_last = {}
        for name in sorted(self._names, reverse=True):
            self._by_last[name.rpartition(".")[2]] = name
        PyMem_Free(self._known)
        PyMem_Free(self._distances)
        self._distances = NULL
        self._known = <Known*>PyMem_Malloc(max(<Py_ssize_t>1, self._count) * sizeof(Known))
        self._distances = <uint8_t*>PyMem_Malloc(max(<Py_ssize_t>1, self._count))
        if self._known is NULL or self._distances is NULL:
            self._count = 0
            raise MemoryError()
        for place, folded in enumerate(self._folded):
            self._known[place].text = PyBytes_AS_STRING(folded)
            self._known[place].size = PyBytes_GET_SIZE(folded)
            self._known[place].last_at = folded.rfind(b".") + 1
            self._known[place].bag = bag_of(PyBytes_AS_STRING(folded), PyBytes_GET_SIZE(folded))

    def __dealloc__(self):
        PyMem_Free(self._known)
        PyMem_Free(self._distances)

    def nearest(self, str name not None):
        """Return the nearest name, None if none is near."""
        cdef bytes wanted
        cdef Py_ssize_t size, last_at, place
        cdef const char* text
        if len(name) > LONGEST or self._count == 0:
            return None
        wanted = name.casefold().encode("utf-8", "replace")
        text = PyBytes_AS_STRING(wanted)
        size = PyBytes_GET_SIZE(wanted)
        last_at = wanted.rfind(b".") + 1
        if size <= LONGEST:
            for place in self._closest(text, size):
                # Full names of one service share a long beginning, so the last parts have to be alike, too.
                if is_last_alike(text + last_at, size - last_at, &self._known[place]):
                    return self._names[place]
        # The wanted name may lack the service: `mul` for `arith.mul`.
        return self._by_last.get(name)

    cdef list _closest(self, const char* wanted, Py_ssize_t size):
        """Return the indices of the most similar names, the best one first."""
        cdef Py_ssize_t middle = bisect_left(self._folded, wanted[:size])
        cdef Py_ssize_t first = max(<Py_ssize_t>0, min(middle - MOST_SCANNED // 2, self._count - MOST_SCANNED))
        cdef Py_ssize_t end = min(self._count, first + MOST_SCANNED), place, limit, left = MOST_COMPARED
        cdef double found
        limit = self._measure(wanted, size, first, end)
        likely = []
        for place in range(first, end):
            # Names with the same beginning are neighbours in sorted order; the others are found by their bytes.
            if middle - NEIGHBOURS <= place < middle + NEIGHBOURS:
                if self._known[place].size > LONGEST:
                    continue
            elif self._distances[place] <= limit and left > 0:
                left -= 1
            else:
                continue
            found = likeness(wanted, size, self._known[place].text, self._known[place].size)
            if found >= ALIKE:
                likely.append((-found, place))
        likely.sort()
        return [place for _, place in likely[:BEST]]

    cdef Py_ssize_t _measure(self, const char* wanted, Py_ssize_t size, Py_ssize_t first, Py_ssize_t end) noexcept:
        """Estimate the distance of each name. Return a limit that about MOST_COMPARED estimates do not exceed."""
        cdef Py_ssize_t[FARTHEST + 1] counts
        cdef Py_ssize_t place, distance, total = 0
        cdef uint64_t bag = bag_of(wanted, size)
        cdef Known* known
        memset(counts, 0, sizeof(counts))
        for place in range(first, end):
            known = &self._known[place]
            distance = bits(known.bag ^ bag) + (known.size - size if known.size > size else size - known.size)
            if distance > FARTHEST or known.size > LONGEST:
                distance = FARTHEST
            self._distances[place] = <uint8_t>distance
            counts[distance] += 1
        for distance in range(FARTHEST):
            total += counts[distance]
            if total >= MOST_COMPARED:
                return distance
        return FARTHEST - 1


cdef uint64_t bag_of(const char* text, Py_ssize_t size) noexcept:
    """Return the set of a text's bytes, folded to 64 bits."""
    cdef uint64_t bag = 0
    cdef Py_ssize_t place
    for place in range(size):
        bag |= <uint64_t>1 << (text[place] & 63)
    return bag


cdef bint is_last_alike(const char* wanted, Py_ssize_t size, Known* known) noexcept:
    """Return whether the last parts are similar as well, or one begins with the other."""
    cdef const char* last = known.text + known.last_at
    cdef Py_ssize_t last_size = known.size - known.last_at
    if size and last_size and memcmp(wanted, last, min(size, last_size)) == 0:
        return True
    return likeness(wanted, size, last, last_size) >= ALIKE


cdef double likeness(const char* first, Py_ssize_t first_size, const char* second, Py_ssize_t second_size) noexcept:
    """Return the likeness from 0 to 1 of names of up to LONGEST bytes."""
    cdef uint64_t[256][2] places
    cdef uint64_t low = ~<uint64_t>0, high = ~<uint64_t>0, sum_low, matches
    cdef Py_ssize_t place
    cdef uint8_t byte
    if first_size + second_size == 0:
        return 1.0
    memset(places, 0, sizeof(places))
    for place in range(first_size):
        places[<uint8_t>first[place]][place >> 6] |= <uint64_t>1 << (place & 63)
    for place in range(second_size):
        byte = <uint8_t>second[place]
        matches = places[byte][0]
        sum_low = low + (low & matches)
        matches = places[byte][1]
        high = (high + (high & matches) + (sum_low < low)) | (high & ~matches)
        low = sum_low | (low & ~places[byte][0])
    # Only the first first_size bits can become 0: no byte has a position above them, and a carry sets bits.
    return 2.0 * (128 - bits(low) - bits(high)) / (first_size + second_size)
