"""Read plain values from msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md.

A program can pass any bytes to msgspec as a `Raw`, so each function checks whether bytes are missing.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.protobuf.message cimport cut_short

cdef enum PlainLead:
    FIXMAP = 0x80
    FIXARRAY = 0x90
    FIXSTR = 0xA0
    NIL = 0xC0
    FALSE = 0xC2
    TRUE = 0xC3
    BIN8 = 0xC4
    EXT8 = 0xC7
    FLOAT32 = 0xCA
    FLOAT64 = 0xCB
    UINT8 = 0xCC
    INT8 = 0xD0
    FIXEXT1 = 0xD4
    FIXEXT4 = 0xD6
    FIXEXT8 = 0xD7
    STR8 = 0xD9
    ARRAY16 = 0xDC
    MAP16 = 0xDE
    NEGATIVE = 0xE0
    TIMESTAMP_TYPE = 0xFF


# The unread rest of a plain value; its owner keeps the bytes alive.
cdef struct Plain:
    const uint8_t* place
    const uint8_t* end


cdef inline bint is_map(uint8_t lead) noexcept nogil:
    return lead & 0xF0 == FIXMAP or lead == MAP16 or lead == MAP16 + 1


cdef inline bint is_array(uint8_t lead) noexcept nogil:
    return lead & 0xF0 == FIXARRAY or lead == ARRAY16 or lead == ARRAY16 + 1


cdef inline bint is_text(uint8_t lead) noexcept nogil:
    return lead & 0xE0 == FIXSTR or STR8 <= lead <= STR8 + 2


cdef inline bint is_integer(uint8_t lead) noexcept nogil:
    return lead < FIXMAP or lead >= NEGATIVE or UINT8 <= lead < FIXEXT1


cdef inline uint64_t load_big(const uint8_t* place, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int at
    # The caller has checked that there are `width` bytes.
    for at in range(width):
        value = value << 8 | place[at]
    return value


cdef inline int need(const Plain* plain, Py_ssize_t size) except -1:
    """Raise an error if fewer than `size` bytes are left."""
    if size > plain.end - plain.place:
        raise cut_short()
    return 0


cdef inline int peek(const Plain* plain) except -1:
    """Return the first byte of the next value."""
    if plain.place >= plain.end:
        raise cut_short()
    return plain.place[0]


cdef inline Py_ssize_t take_size(Plain* plain, int head, int width) except -1:
    """Skip the head of a value, whose last `width` bytes are the value's size; return the size."""
    cdef Py_ssize_t size
    need(plain, head + width)
    size = <Py_ssize_t>load_big(plain.place + head, width)
    plain.place += head + width
    return size


cdef inline Py_ssize_t take_count(Plain* plain) except -1:
    """Skip the head of the next array or map; return its length."""
    cdef uint8_t lead = plain.place[0]
    if lead < FIXSTR:
        plain.place += 1
        return lead & 0x0F
    return take_size(plain, 1, 4 if lead & 1 else 2)


cdef inline Py_ssize_t take_text(Plain* plain) except -1:
    """Skip the head of the next text; return its length, after a check that the whole text is present."""
    cdef uint8_t lead = plain.place[0]
    cdef Py_ssize_t size
    if lead < NIL:
        plain.place += 1
        size = lead & 0x1F
    else:
        size = take_size(plain, 1, 1 << (lead - STR8))
    need(plain, size)
    return size


cdef inline int take_integer(Plain* plain, uint64_t* value, bint* is_negative) except -1:
    """Skip the next integer; set its 64 bits."""
    cdef uint8_t lead = plain.place[0]
    cdef int width
    is_negative[0] = lead >= NEGATIVE
    if lead < FIXMAP or lead >= NEGATIVE:
        plain.place += 1
        value[0] = <uint64_t><int64_t><signed char>lead
        return 0
    width = 1 << ((lead - UINT8) & 3)
    need(plain, 1 + width)
    value[0] = load_big(plain.place + 1, width)
    plain.place += 1 + width
    if lead >= INT8 and value[0] >> (8 * width - 1):
        is_negative[0] = True
        if width < 8:
            value[0] |= ~<uint64_t>0 << 8 * width
    return 0


cdef inline int take_number(Plain* plain, double* value) except -1:
    """Skip the next integer or float."""
    cdef bint is_negative = False
    cdef uint64_t bits = 0
    cdef uint32_t narrow_bits
    cdef float narrow
    if plain.place[0] == FLOAT64:
        need(plain, 9)
        bits = load_big(plain.place + 1, 8)
        plain.place += 9
        memcpy(value, &bits, 8)
    elif plain.place[0] == FLOAT32:
        need(plain, 5)
        narrow_bits = <uint32_t>load_big(plain.place + 1, 4)
        plain.place += 5
        memcpy(&narrow, &narrow_bits, 4)
        value[0] = narrow
    else:
        take_integer(plain, &bits, &is_negative)
        value[0] = <double><int64_t>bits if is_negative else <double>bits
    return 0


cdef inline int take_instant(Plain* plain, int64_t* seconds, int64_t* nanos) except -1:
    """Skip an extension of the timestamp type; return 0 if it has another type."""
    cdef uint8_t lead = plain.place[0]
    cdef int head = 2 if lead == EXT8 else 1
    cdef int width = 4 if lead == FIXEXT4 else 8 if lead == FIXEXT8 else 12
    cdef uint64_t packed
    if lead != FIXEXT4 and lead != FIXEXT8 and lead != EXT8:
        return 0
    need(plain, head + 1 + width)
    if plain.place[head] != TIMESTAMP_TYPE or (lead == EXT8 and plain.place[1] != width):
        return 0
    plain.place += head + 1
    nanos[0] = 0
    if width == 4:
        seconds[0] = <int64_t>load_big(plain.place, 4)
    elif width == 8:
        packed = load_big(plain.place, 8)
        seconds[0] = <int64_t>(packed & 0x3FFFFFFFF)
        nanos[0] = <int64_t>(packed >> 34)
    else:
        nanos[0] = <int64_t>load_big(plain.place, 4)
        seconds[0] = <int64_t>load_big(plain.place + 4, 8)
    plain.place += width
    return 1


cdef inline int skip(Plain* plain) except -1:
    """Skip the next value."""
    cdef Py_ssize_t left = 1, size
    cdef uint8_t lead
    while left:
        left -= 1
        lead = <uint8_t>peek(plain)
        if is_map(lead):
            left += 2 * take_count(plain)
            continue
        if is_array(lead):
            left += take_count(plain)
            continue
        if is_text(lead):
            size = take_text(plain)
        elif BIN8 <= lead < EXT8:
            size = take_size(plain, 1, 1 << (lead - BIN8))
        elif EXT8 <= lead < FLOAT32:
            size = take_size(plain, 1, 1 << (lead - EXT8)) + 1
        elif FLOAT32 <= lead < FIXEXT1:
            size = 1 + (1 << ((lead - UINT8) & 3))
        elif FIXEXT1 <= lead < STR8:
            size = 2 + (1 << (lead - FIXEXT1))
        else:
            size = 1
        need(plain, size)
        plain.place += size
    return 0
