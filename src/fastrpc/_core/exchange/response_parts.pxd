"""The parts of responses that all versions of HTTP have in common."""

from libc.stdint cimport int64_t

cdef enum:
    # The most digits of a size.
    SIZE_DIGITS = 19

# The reason phrase of each status.
cdef dict phrases

# Return the present second as the field Date has it (RFC 9110, section 5.6.7): the same object within a second.
cdef bytes response_date()


cdef inline int put_digits(char* end, int64_t size) noexcept:
    """Write the digits of a size before an address; return their number."""
    cdef int count = 0
    while count == 0 or size:
        count += 1
        end[-count] = <char>(48 + size % 10)
        size //= 10
    return count
