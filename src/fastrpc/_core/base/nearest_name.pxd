from libc.stdint cimport uint8_t, uint64_t


cdef struct Known:
    # `text`, `size`: a name in lower case, borrowed from `_folded`, and its length. `last_at`: the start of its last
    # part. `bag`: the set of its bytes.
    const char* text
    Py_ssize_t size
    Py_ssize_t last_at
    uint64_t bag


cdef class NameIndex:
    cdef:
        # `_names`: the names in the order of their lower-case forms. `_folded`: these forms. The entries of `_known`
        # borrow from both.
        list _names
        list _folded

        # `_known`: an entry for each name. `_distances`: memory for the distance of each name from the searched name.
        Known* _known
        uint8_t* _distances
        Py_ssize_t _count

        # Last part of a name -> the first name with that last part.
        dict _by_last

    cdef list _closest(self, const char* wanted, Py_ssize_t size)
    cdef Py_ssize_t _measure(self, const char* wanted, Py_ssize_t size, Py_ssize_t first, Py_ssize_t end) noexcept
