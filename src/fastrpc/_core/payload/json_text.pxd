"""JSON strings, for code that walks a payload before it is decoded."""

from libc.stdint cimport uint8_t
from libc.string cimport memchr


cdef inline const uint8_t* string_end(const uint8_t* place, const uint8_t* end) noexcept nogil:
    """Return the closing quote of the string whose content begins at `place`, or `end`."""
    cdef const uint8_t* quote
    cdef const uint8_t* before
    cdef const uint8_t* start = place
    while True:
        quote = <const uint8_t*> memchr(place, c'"', end - place)
        if quote == NULL:
            return end
        before = quote
        while before > start and (before - 1)[0] == c"\\":
            before -= 1
        if (quote - before) & 1 == 0:
            return quote
        # An escaped quote. The search continues after it, so that each byte is read at most twice.
        place = start = quote + 1


cdef inline int hex_digit(uint8_t byte) noexcept nogil:
    """Return the value of a hexadecimal digit; for any other character the value is arbitrary."""
    return byte & 0x0F if byte <= c"9" else (byte & 0x07) + 9
