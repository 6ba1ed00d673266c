"""Checks text in UTF-8 as it comes, piece by piece."""

from libc.stdint cimport uint32_t

cdef enum:
    # The text may end here.
    UTF8_WHOLE = 0
    # No text begins so.
    UTF8_WRONG = 0xFF


# Return the state after further bytes. It begins as UTF8_WHOLE; any other but UTF8_WRONG is within a character.
cdef uint32_t check_text(uint32_t state, const char* data, Py_ssize_t size) noexcept nogil
