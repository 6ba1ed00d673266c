"""Checks text in UTF-8 as it comes, piece by piece.

A wrong byte is reported on arrival, not at the end of its message: RFC 6455, section 8.1.

The state says which bytes may come next, by the table of well-formed sequences (The Unicode Standard, table 3-7): no
overlong forms, no surrogates, nothing above U+10FFFF.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    # So many bytes must follow, each 80 to BF.
    ONE_MORE = 1
    TWO_MORE = 2
    THREE_MORE = 3
    # Of the next byte only a part of these: behind E0, ED, F0, F4.
    BEHIND_E0 = 4
    BEHIND_ED = 5
    BEHIND_F0 = 6
    BEHIND_F4 = 7

cdef uint64_t HIGH_BITS = 0x8080808080808080


cdef uint32_t check_text(uint32_t state, const char* data, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    while at < size:
        if state == UTF8_WHOLE:
            # Most texts are ASCII.
            while size - at >= 8:
                memcpy(&word, data + at, 8)
                if word & HIGH_BITS:
                    break
                at += 8
            if at == size:
                return state
            state = _after_first(<uint8_t>data[at])
        else:
            state = _after_next(state, <uint8_t>data[at])
        if state == UTF8_WRONG:
            return state
        at += 1
    return state


cdef inline uint32_t _after_first(uint8_t byte) noexcept nogil:
    if byte < 0x80:
        return UTF8_WHOLE
    if byte < 0xC2 or byte > 0xF4:
        return UTF8_WRONG
    if byte < 0xE0:
        return ONE_MORE
    if byte < 0xF0:
        return BEHIND_E0 if byte == 0xE0 else BEHIND_ED if byte == 0xED else TWO_MORE
    return BEHIND_F0 if byte == 0xF0 else BEHIND_F4 if byte == 0xF4 else THREE_MORE


cdef inline uint32_t _after_next(uint32_t state, uint8_t byte) noexcept nogil:
    cdef uint8_t least = 0x80, most = 0xBF
    if state == BEHIND_E0:
        least = 0xA0
    elif state == BEHIND_ED:
        most = 0x9F
    elif state == BEHIND_F0:
        least = 0x90
    elif state == BEHIND_F4:
        most = 0x8F
    if not least <= byte <= most:
        return UTF8_WRONG
    if state == ONE_MORE:
        return UTF8_WHOLE
    if state == TWO_MORE or state == BEHIND_E0 or state == BEHIND_ED:
        return ONE_MORE
    return TWO_MORE
