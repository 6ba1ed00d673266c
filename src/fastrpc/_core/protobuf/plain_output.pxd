"""Write plain values as msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport WriteBuffer


cdef inline void store_big(uint8_t* place, uint64_t value, int width) noexcept nogil:
    """Write the lowest `width` bytes of a number, the most significant byte first."""
    # The caller has reserved the place.
    while width:
        width -= 1
        place[width] = <uint8_t>value
        value >>= 8


cdef inline int put_byte(WriteBuffer out, uint8_t value) except -1:
    out.reserve(1)[0] = <char>value
    return 0


cdef inline int put_led(WriteBuffer out, uint8_t lead, uint64_t value, int width) except -1:
    """Write a lead byte, followed by a number of `width` bytes."""
    cdef uint8_t* place = <uint8_t*>out.reserve(1 + width)
    place[0] = lead
    store_big(place + 1, value, width)
    return 0


cdef inline int put_sized(WriteBuffer out, uint8_t lead8, uint64_t size) except -1:
    """Write a size of 8, 16 or 32 bits, whichever is shortest, after its lead byte."""
    if size <= 0xFF:
        return put_led(out, lead8, size, 1)
    if size <= 0xFFFF:
        return put_led(out, lead8 + 1, size, 2)
    return put_led(out, lead8 + 2, size, 4)


cdef inline int put_whole(WriteBuffer out, uint64_t value) except -1:
    if value < 0x80:
        return put_byte(out, <uint8_t>value)
    if value <= 0xFFFFFFFF:
        return put_sized(out, 0xCC, value)
    return put_led(out, 0xCF, value, 8)


cdef inline int put_int(WriteBuffer out, int64_t value) except -1:
    if value >= 0:
        return put_whole(out, <uint64_t>value)
    if value >= -32:
        return put_byte(out, <uint8_t>value)
    return put_led(out, 0xD3, <uint64_t>value, 8)


cdef inline int put_double(WriteBuffer out, uint64_t bits) except -1:
    return put_led(out, 0xCB, bits, 8)


cdef inline int put_copy(WriteBuffer out, const uint8_t* data, Py_ssize_t size) except -1:
    # The caller keeps the bytes alive.
    if size:
        memcpy(out.reserve(size), data, size)
    return 0


cdef inline int put_text(WriteBuffer out, const uint8_t* data, Py_ssize_t size) except -1:
    if size < 32:
        put_byte(out, <uint8_t>(0xA0 | size))
    else:
        put_sized(out, 0xD9, size)
    return put_copy(out, data, size)


cdef inline int put_bin(WriteBuffer out, const uint8_t* data, Py_ssize_t size) except -1:
    put_sized(out, 0xC4, size)
    return put_copy(out, data, size)


cdef inline int put_array_head(WriteBuffer out, Py_ssize_t count) except -1:
    if count < 16:
        return put_byte(out, <uint8_t>(0x90 | count))
    if count <= 0xFFFF:
        return put_led(out, 0xDC, count, 2)
    return put_led(out, 0xDD, count, 4)


cdef inline int put_map_head(WriteBuffer out, Py_ssize_t count) except -1:
    if count < 16:
        return put_byte(out, <uint8_t>(0x80 | count))
    if count <= 0xFFFF:
        return put_led(out, 0xDE, count, 2)
    return put_led(out, 0xDF, count, 4)


cdef inline int put_timestamp(WriteBuffer out, int64_t seconds, uint32_t nanos) except -1:
    """Write an extension of type -1 in its longest form."""
    cdef uint8_t* place = <uint8_t*>out.reserve(15)
    place[0] = 0xC7
    place[1] = 12
    place[2] = 0xFF
    store_big(place + 3, nanos, 4)
    store_big(place + 7, <uint64_t>seconds, 8)
    return 0
