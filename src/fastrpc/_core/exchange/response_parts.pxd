"""The parts of responses that are equal in all versions of HTTP."""

from libc.stdint cimport int64_t

cdef enum:
    # The most digits of a size in 64 bits.
    SIZE_DIGITS = 19

# The reason phrase of each status.
cdef dict phrases

# Return the current time in the form of the Date field (RFC 9110, section 5.6.7); the same object within a second.
cdef bytes response_date()


cdef inline int put_digits(char* end, int64_t size) noexcept:
    """Write the digits of a size so that they end at `end`; return their number."""
    cdef int count = 0
    while count == 0 or size:
        count += 1
        end[-count] = <char>(48 + size % 10)
        size //= 10
    return count
