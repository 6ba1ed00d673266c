"""The wire of protobuf: tags, numbers and the ends of values, as inline C."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport WriteBuffer

cdef enum:
    # https://protobuf.dev/programming-guides/encoding/#structure
    WIRE_VARINT = 0
    WIRE_EIGHT_BYTES = 1
    WIRE_BYTES = 2
    WIRE_GROUP = 3
    WIRE_GROUP_END = 4
    WIRE_FOUR_BYTES = 5
    LONGEST_VARINT = 10
    # Most bytes of a tag or a length.
    LONGEST_SIZE = 5
    # Most levels of nested groups in an unknown field.
    DEEPEST_GROUP = 100


cdef inline const uint8_t* load_varint(
    const uint8_t* place, const uint8_t* end, int longest, uint64_t* value
) noexcept nogil:
    """Return the end of a varint of up to `longest` bytes, or NULL if it is incomplete."""
    cdef int width
    value[0] = 0
    for width in range(longest):
        if place >= end:
            return NULL
        value[0] |= <uint64_t> (place[0] & 0x7F) << (7 * width)
        place += 1
        if not (place - 1)[0] & 0x80:
            return place
    return NULL


cdef inline const uint8_t* load_tag(
    const uint8_t* place, const uint8_t* end, uint32_t* tag
) noexcept nogil:
    """Return the end of a tag, or NULL if it is incomplete or names no field."""
    cdef uint64_t value
    place = load_varint(place, end, LONGEST_SIZE, &value)
    if place == NULL or value >> 32 or not value >> 3:
        return NULL
    tag[0] = <uint32_t> value
    return place


cdef inline const uint8_t* skip_scalar(
    const uint8_t* place, const uint8_t* end, uint32_t wire_type
) noexcept nogil:
    """Return the end of a scalar, or NULL if it is incomplete or `wire_type` is no type of scalars."""
    cdef uint64_t ignored
    cdef Py_ssize_t width
    if wire_type == WIRE_VARINT:
        return load_varint(place, end, LONGEST_VARINT, &ignored)
    if wire_type == WIRE_EIGHT_BYTES:
        width = 8
    elif wire_type == WIRE_FOUR_BYTES:
        width = 4
    else:
        return NULL
    return place + width if width <= end - place else NULL

cdef inline const uint8_t* skip_sized(const uint8_t* place, const uint8_t* end) noexcept nogil:
    """Return the end of bytes that follow their length, or NULL if they are incomplete."""
    cdef uint64_t size
    place = load_varint(place, end, LONGEST_SIZE, &size)
    if place == NULL or size > <uint64_t>(end - place):
        return NULL
    return place + size


cdef inline const uint8_t* skip_group(const uint8_t* place, const uint8_t* end, uint32_t number) noexcept nogil:
    """Return the end of a group, after its end tag; NULL if it is malformed."""
    cdef uint32_t[DEEPEST_GROUP] numbers
    cdef uint32_t tag = 0
    cdef int depth = 1
    numbers[0] = number
    while depth:
        place = load_tag(place, end, &tag)
        if place == NULL:
            return NULL
        if tag & 7 == WIRE_GROUP:
            if depth == DEEPEST_GROUP:
                return NULL
            numbers[depth] = tag >> 3
            depth += 1
        elif tag & 7 == WIRE_GROUP_END:
            depth -= 1
            if numbers[depth] != tag >> 3:
                return NULL
        else:
            place = skip_sized(place, end) if tag & 7 == WIRE_BYTES else skip_scalar(place, end, tag & 7)
            if place == NULL:
                return NULL
    return place


cdef inline const uint8_t* skip_value(const uint8_t* place, const uint8_t* end, uint32_t tag) noexcept nogil:
    """Return the end of the value after a tag; NULL if it is malformed."""
    if tag & 7 == WIRE_BYTES:
        return skip_sized(place, end)
    return skip_group(place, end, tag >> 3) if tag & 7 == WIRE_GROUP else skip_scalar(place, end, tag & 7)


cdef inline Py_ssize_t count_varints(const uint8_t* place, Py_ssize_t size) noexcept nogil:
    """Count the varints: each ends with a byte whose highest bit is clear."""
    cdef const uint8_t* end = place + size
    cdef uint64_t word
    cdef inline Py_ssize_t count = 0
    while end - place >= 8:
        memcpy(&word, place, 8)
        # One bit for each byte that ends a number; the product adds the eight bytes up in the highest one.
        count += <Py_ssize_t>((((~word) & <uint64_t>0x8080808080808080) >> 7) * <uint64_t>0x0101010101010101 >> 56)
        place += 8
    while place < end:
        count += not place[0] & 0x80
        place += 1
    return count


cdef inline int put_varint(WriteBuffer out, uint64_t value) except -1:
    cdef Py_ssize_t size = out.size
    cdef uint8_t* place = <uint8_t*>out.reserve(LONGEST_VARINT)
    # Valid until the next `reserve`.
    while value >= 0x80:
        place[0] = <uint8_t>(value | 0x80)
        place += 1
        size += 1
        value >>= 7
    place[0] = <uint8_t>value
    out.keep(size + 1)
    return 0
