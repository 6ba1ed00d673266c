from libc.stdint cimport uint64_t


cdef struct Slot:
    # A digest, and its number counted from 1; 0: the slot is empty.
    uint64_t[4] words
    uint64_t number


cdef class DigestTable:
    cdef:
        # Slots by the first bits of a digest, or one place for all, and room behind for digests without a free place.
        Slot* _slots
        uint64_t _mask

        # The number of slots that every search reads.
        readonly int reach

    cdef int _allocate(self, Py_ssize_t count) except -1
    cdef int _place(self, bytes digest, uint64_t number) except -1
