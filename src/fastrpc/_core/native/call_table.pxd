"""The table from call ids to the objects that wait for their answers."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t


cdef struct Slot:
    uint64_t id
    PyObject* entry                      # owned; NULL: the slot is free


@cython.final
cdef class CallTable:
    cdef:
        # Owned block of _capacity slots, 0 or a power of two and at least twice `size`; _shift is
        # 64 - log2(_capacity). No free slot lies between an entry's home slot and the entry.
        Slot* _slots
        uint64_t _capacity
        int _shift
        readonly Py_ssize_t size

        # The multiplier of ids; odd, secret and never changed.
        readonly uint64_t multiplier

        # Never set. An object field makes Cython add the type to garbage collection.
        object _collectable

    cdef int add(self, uint64_t id, PyObject* entry) except -1
    cdef PyObject* get(self, uint64_t id) noexcept
    cdef PyObject* take(self, uint64_t id) noexcept
    cdef void shrink(self) noexcept
    cdef list entries(self)

    cdef Slot* _find(self, uint64_t id) noexcept
    cdef void _close_gap(self, uint64_t gap) noexcept
    cdef int _grow(self) except -1
    cdef void _release(self) noexcept


cdef inline uint64_t home(uint64_t id, uint64_t multiplier, int shift) noexcept nogil:
    """Return the slot where the search for an id begins."""
    # The highest bits of the product choose the slot.
    return ((id >> 1) * multiplier) >> shift
