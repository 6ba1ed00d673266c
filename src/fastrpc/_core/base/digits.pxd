"""Decimal numbers in texts, as inline C."""

from libc.stdint cimport int64_t


cdef inline int64_t number_in(const char* text, Py_ssize_t size, Py_ssize_t digits) noexcept:
    """Return the number in a text of at most `digits` digits, up to 18; -1: the text is no number."""
    cdef Py_ssize_t at
    cdef int64_t number = 0
    if not 0 < size <= digits:
        return -1
    for at in range(size):
        if not c"0" <= text[at] <= c"9":
            return -1
        number = number * 10 + (text[at] - c"0")
    return number
