from libc.stdint cimport uint8_t, uint64_t


cdef struct Known:
    # A name in lower case (borrowed from `_folded`), its length, where its last part begins, and which bytes it has.
    const char* text
    Py_ssize_t size
    Py_ssize_t last_at
    uint64_t bag


cdef class NameIndex:
    cdef:
        # The names in the order of their lower case, and that; both as long as this lives.
        list _names
        list _folded

        # One for each name, and room for how far each is from the one that is looked for.
        Known* _known
        uint8_t* _distances
        Py_ssize_t _count

        # Last part of a name -> the first name that ends so.
        dict _by_last

    cdef list _closest(self, const char* wanted, Py_ssize_t size)
    cdef Py_ssize_t _measure(self, const char* wanted, Py_ssize_t size, Py_ssize_t first, Py_ssize_t end) noexcept
