"""What the keys of maps would cost a dict that is not protected against them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    # A map of fewer pairs is let through unseen: whatever its keys, it costs less than a microsecond a pair.
    KEYS_UNSEEN = 64


cdef struct Key:
    # Its hash as Python computes it, and its own bits: equal keys have both the same.
    uint64_t hash
    uint64_t bits


cdef struct KeyLoad:
    # The numbers that are keys of the maps being read, those of the innermost one last; the first `size` of `capacity`.
    Key* keys
    Py_ssize_t size
    Py_ssize_t capacity

    # A dict's table of places in `keys`, 0 = free.
    uint32_t* slots
    Py_ssize_t slot_capacity

    # Keys seen, and slots that a dict would have looked at in vain for them.
    Py_ssize_t seen
    Py_ssize_t misses


cdef inline uint64_t load_big_endian(const uint8_t* place, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int index
    for index in range(width):
        value = (value << 8) | place[index]
    return value


# `place` is behind the lead byte of a key and borrowed for the call, as is what `end` ends; a key cut short is left to
# the scan. `others` counts the keys of this map that are neither text, bytes nor numbers. False: no memory.
cdef bint note_key(KeyLoad* load, uint8_t lead, const uint8_t* place, const uint8_t* end, uint32_t* others) noexcept nogil

# The same for a key that is text, and for one of JSON with escapes in it. `text` is borrowed for the call.
cdef bint note_text(KeyLoad* load, const uint8_t* text, Py_ssize_t size) noexcept nogil
cdef bint note_escaped(KeyLoad* load, const uint8_t* text, Py_ssize_t size) noexcept nogil

# The map whose keys begin at `base` ended; its keys are dropped. False: no memory.
cdef bint weigh_keys(KeyLoad* load, Py_ssize_t base) noexcept nogil

# Whether the keys seen so far collide far more often than keys do.
cdef bint is_overloaded(const KeyLoad* load) noexcept nogil

cdef void release(KeyLoad* load) noexcept nogil
