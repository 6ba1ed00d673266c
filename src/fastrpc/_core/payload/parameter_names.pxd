from libc.stdint cimport uint64_t

cdef enum:
    # Names of positions above 255 are not sent.
    MOST_TOLD = 255


cdef class ParameterNames:
    cdef:
        # In order; _numbers[k] tells the first k of them, for k = 0 … len(names). 0 tells nothing.
        readonly tuple names
        uint64_t* _numbers
        Py_ssize_t _count

        # The numbers of other spellings that are accepted as well.
        frozenset _others

    cdef bint accepts(self, uint64_t told) except -1


# What a server says to a call whose names differ; what the caller adds to that text, None if it is another one.
cdef str refusal_text(str method, tuple names)
cdef str answer_to_refusal(str method, str text, tuple names)


cdef inline Py_ssize_t told_count(uint64_t told) noexcept:
    """Return the count of positions that a number covers."""
    return <Py_ssize_t>(told & 0xFF)
