"""The table from call ids to the objects that wait for their answers.

A hash table with open addressing and linear probing; deleting moves later entries of the cluster back, so there are no
tombstones and a table that lives for a billion calls stays as fast as a new one (Knuth, The Art of Computer Programming
3, section 6.4, algorithm R). At most half of the slots are in use.

Ids rise by two. Used directly they would fill neighbouring slots, and a block of calls that stay open (streams) would
be one long cluster for every later id that maps to it. Multiplying by a fraction such as the golden ratio (the same
section) spreads neighbours: ids of one window do not collide.

The peer chooses the ids, so each table has its own secret fraction: with a known one a peer could choose ids that all
collide. A fraction spreads neighbours well when the partial quotients of its continued fraction are small (Knuth,
section 6.4, exercise 9). The quotients of the golden ratio are all 1; here each is 1 or 2 at random.
"""

import os

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from fastrpc.errors import LocalProtocolError


cdef extern from "Python.h":
    # Declared here because cpython.object lets them raise, which a traversal must not.
    ctypedef int (*visitproc)(PyObject*, void*) noexcept
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*) noexcept
    ctypedef int (*inquiry)(PyObject*) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear


cdef extern from "base/bits.h" nogil:
    void prefetch "fastrpc_prefetch"(const void* place) noexcept

cdef enum:
    SMALLEST_CAPACITY = 4
    # An empty table keeps at most this many slots, 16 KiB, so that a burst does not cost memory for the connection's life.
    KEPT_CAPACITY = 1024
    # The continued fraction ends at this denominator: its quotients have 32 bits, and 64 bits hold them shifted by 32.
    LEAST_DENOMINATOR = 1 << 30

# The state of the random generator `next_chance`, which each table advances.
cdef uint64_t chance = int.from_bytes(os.urandom(8), "little")


@cython.final
cdef class CallTable:

    def __cinit__(self):
        self.multiplier = spreading_multiplier()

    def __dealloc__(self):
        self._release()

    cdef int add(self, uint64_t id, PyObject* entry) except -1:
        cdef uint64_t index
        if <uint64_t>self.size * 2 >= self._capacity:
            self._grow()
        index = home(id, self.multiplier, self._shift)
        while self._slots[index].entry is not NULL:
            if self._slots[index].id == id:
                raise LocalProtocolError(f"call id {id} is in use")
            index = (index + 1) & (self._capacity - 1)
        Py_INCREF(<object>entry)
        self._slots[index].id = id
        self._slots[index].entry = entry
        self.size += 1
        # With many open calls the slot of the next one is usually not in the cache.
        prefetch(&self._slots[home(id + 2, self.multiplier, self._shift)])
        return 0

    cdef PyObject* get(self, uint64_t id) noexcept:
        cdef Slot* slot = self._find(id)
        return NULL if slot is NULL else slot.entry

    cdef PyObject* take(self, uint64_t id) noexcept:
        cdef Slot* slot = self._find(id)
        cdef PyObject* entry
        if slot is NULL:
            return NULL
        entry = slot.entry
        self.size -= 1
        if self.size == 0 and self._capacity > KEPT_CAPACITY:
            self.shrink()
        else:
            self._close_gap(slot - self._slots)
        return entry

    cdef void shrink(self) noexcept:
        """Free the slots if the table has no calls."""
        if self.size == 0:
            free(self._slots)
            self._slots = NULL
            self._capacity = 0

    cdef list entries(self):
        # Appending runs no Python code, so the slots stay in place meanwhile.
        cdef list found = []
        cdef uint64_t index
        for index in range(self._capacity):
            if self._slots[index].entry is not NULL:
                found.append(<object>self._slots[index].entry)
        return found

    cdef Slot* _find(self, uint64_t id) noexcept:
        cdef uint64_t index
        if self._capacity == 0:
            return NULL
        index = home(id, self.multiplier, self._shift)
        while self._slots[index].entry is not NULL:
            if self._slots[index].id == id:
                return &self._slots[index]
            index = (index + 1) & (self._capacity - 1)
        return NULL

    cdef void _close_gap(self, uint64_t gap) noexcept:
        """Free a slot and move back every later entry of the cluster that could no longer be found."""
        cdef uint64_t last = self._capacity - 1
        cdef uint64_t index = (gap + 1) & last
        while self._slots[index].entry is not NULL:
            # An entry may move if the gap lies (cyclically) between its home and the entry.
            if ((index - home(self._slots[index].id, self.multiplier, self._shift)) & last) >= ((index - gap) & last):
                self._slots[gap] = self._slots[index]
                gap = index
            index = (index + 1) & last
        self._slots[gap].entry = NULL

    cdef int _grow(self) except -1:
        """Double the capacity; on a MemoryError the table is unchanged."""
        cdef uint64_t capacity = max(<uint64_t>SMALLEST_CAPACITY, self._capacity * 2)
        cdef Slot* slots = <Slot*>calloc(capacity, sizeof(Slot))
        cdef Slot* old = self._slots
        cdef int shift = self._shift - 1 if self._capacity else 62  # 64 - log2(SMALLEST_CAPACITY)
        cdef uint64_t source, index
        if slots is NULL:
            raise MemoryError
        for source in range(self._capacity):
            if old[source].entry is not NULL:
                index = home(old[source].id, self.multiplier, shift)
                while slots[index].entry is not NULL:
                    index = (index + 1) & (capacity - 1)
                slots[index] = old[source]
        self._slots = slots
        self._capacity = capacity
        self._shift = shift
        free(old)
        return 0

    cdef void _release(self) noexcept:
        """Drop every entry. The destructor of an entry may use this table, which is already empty then."""
        cdef Slot* slots = self._slots
        cdef uint64_t capacity = self._capacity
        cdef uint64_t index
        self._slots = NULL
        self._capacity = 0
        self.size = 0
        for index in range(capacity):
            if slots[index].entry is not NULL:
                Py_DECREF(<object>slots[index].entry)
        free(slots)

    def __sizeof__(self):
        return object.__sizeof__(self) + self._capacity * sizeof(Slot)


cdef uint64_t next_chance() noexcept:
    """Return 64 bits that are unpredictable from outside (splitmix64)."""
    global chance
    cdef uint64_t bits
    chance += <uint64_t>0x9E3779B97F4A7C15
    bits = (chance ^ chance >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    bits = (bits ^ bits >> 27) * <uint64_t>0x94D049BB133111EB
    return bits ^ bits >> 31


cdef uint64_t spreading_multiplier() noexcept:
    """Return 2**64 times a secret fraction that spreads neighbours, made odd."""
    cdef uint64_t bits = next_chance()
    cdef uint64_t above = 0, below = 1, above_before = 1, below_before = 0, quotient, rest
    while below < LEAST_DENOMINATOR:
        quotient = 1 + (bits & 1)
        bits >>= 1
        above, above_before = quotient * above + above_before, above
        below, below_before = quotient * below + below_before, below
    # Long division, 32 bits at a time: `above` < `below` < 3 * 2**30.
    quotient = (above << 32) // below
    rest = (above << 32) % below
    return quotient << 32 | (rest << 32) // below | 1


# Cython's generated code visits only declared Python objects, but the entries are in a C array. Therefore tp_traverse and
# tp_clear of the type are replaced, as SageMath does for its coerce_dict. Otherwise the garbage collector would not find
# the cycle of a session, its table and its calls.
cdef traverseproc generated_traverse
cdef inquiry generated_clear


cdef int traverse(PyObject* table, visitproc visit, void* argument) noexcept:
    """Visit the entries. Take no references, because the collector is counting them."""
    cdef Slot* slots = (<CallTable>table)._slots
    cdef uint64_t index
    cdef int stop
    for index in range((<CallTable>table)._capacity):
        if slots[index].entry is not NULL:
            stop = visit(slots[index].entry, argument)
            if stop:
                return stop
    return generated_traverse(table, visit, argument)


cdef int clear(PyObject* table) noexcept:
    (<CallTable>table)._release()
    return generated_clear(table)


cdef void install_traversal(PyTypeObject* type) noexcept:
    global generated_traverse, generated_clear
    generated_traverse = type.tp_traverse
    generated_clear = type.tp_clear
    type.tp_traverse = traverse
    type.tp_clear = clear


install_traversal(<PyTypeObject*>CallTable)
