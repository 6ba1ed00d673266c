from libc.stdint cimport uint64_t

cdef enum:
    # Names of positions above 255 are not sent.
    MOST_TOLD = 255


cdef inline Py_ssize_t told_count(uint64_t told) noexcept:
    """Return the count of positions that a number covers."""
    return <Py_ssize_t>(told & 0xFF)


cdef class ParameterNames:
    cdef:
        # In order; _numbers[k] is the hash of the first k names, for k = 0 … len(names). 0 states nothing.
        readonly tuple names
        uint64_t* _numbers
        Py_ssize_t _count

        # The hashes of other accepted spellings.
        frozenset _others

    cdef bint _accepts_other(self, Py_ssize_t count, uint64_t told) except -1

    cdef inline bint accepts(self, uint64_t told) except -1:
        """Return whether the sent names are these, or accepted in their place."""
        cdef Py_ssize_t count = told_count(told)
        if count <= self._count and self._numbers[count] == told:
            return True
        return self._accepts_other(count, told)


# The server's error text for a call with other names; the caller's addition to that text, None for another text.
cdef str refusal_text(str method, tuple names)
cdef str answer_to_refusal(str method, str text, tuple names)
