"""The pre-scan of protobuf payloads, which can only be parsed with the descriptor of their message.

An empty message within a message has two bytes and becomes an object of thirty or more: 16 MiB would need half a
gigabyte and a second. The scan counts the objects that the decoder would create; see `prescan`.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.protobuf_wire cimport (
    LONGEST_SIZE,
    WIRE_BYTES,
    WIRE_GROUP,
    WIRE_GROUP_END,
    count_varints,
    load_tag,
    load_varint,
    skip_scalar,
)
from fastrpc._core.payload.prescan cimport (
    PRESCAN_CONTAINER_CHARGE,
    PRESCAN_DEEPEST,
    PRESCAN_MALFORMED,
    PRESCAN_NAMES,
    PRESCAN_OK,
    PRESCAN_TOO_DEEP,
    PRESCAN_TOO_MANY_ITEMS,
)

# The contents of fields that are not messages. `codecs.protobuf` writes these numbers into layouts.
cdef enum:
    SCALAR = -1
    PACKED_VARINTS = -2
    PACKED_FOUR_BYTES = -3
    PACKED_EIGHT_BYTES = -4


cdef Py_ssize_t count_packed(int32_t held, const uint8_t* place, Py_ssize_t size) noexcept nogil:
    """Return the number of values in a packed field."""
    if held == PACKED_VARINTS:
        return count_varints(place, size)
    return size // (4 if held == PACKED_FOUR_BYTES else 8)


@cython.final
cdef class MessageLayout:
    def __cinit__(self, list messages):
        cdef Py_ssize_t fields = sum(len(held_by_tag) for held_by_tag in messages)
        cdef Py_ssize_t message, field = 0
        if not messages:
            raise ValueError("a layout needs at least one message")
        self.first = <Py_ssize_t*> PyMem_Calloc(len(messages) + 1, sizeof(Py_ssize_t))
        self.tags = <uint32_t*> PyMem_Calloc(fields + 1, sizeof(uint32_t))
        self.messages = <int32_t*> PyMem_Calloc(fields + 1, sizeof(int32_t))
        if self.first == NULL or self.tags == NULL or self.messages == NULL:
            raise MemoryError
        for message in range(len(messages)):
            self.first[message] = field
            for tag, held in sorted(messages[message].items()):
                if not PACKED_EIGHT_BYTES <= held < len(messages) or held == SCALAR:
                    raise ValueError(f"tag {tag} refers to message {held}, there are {len(messages)}")
                self.tags[field] = tag
                self.messages[field] = held
                field += 1
        self.first[len(messages)] = field

    def __dealloc__(self):
        PyMem_Free(self.first)
        PyMem_Free(self.tags)
        PyMem_Free(self.messages)

    def prescan_payload(self, payload, *, int max_depth=100, Py_ssize_t max_items=1_000_000):
        cdef Py_buffer view
        cdef Py_ssize_t charge = 0
        cdef int result
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        # `view` keeps the payload in place until it is released; the caller keeps `self`.
        with nogil:
            result = self.prescan(<const char*> view.buf, view.len, max_depth, max_items, &charge)
        PyBuffer_Release(&view)
        return PRESCAN_NAMES[result], charge

    cdef int prescan(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) noexcept nogil:
        # The payload itself is the first container.
        cdef Py_ssize_t containers = 1
        cdef int result = PRESCAN_TOO_DEEP
        cdef Level whole
        whole.end = <const uint8_t*> data + size
        whole.message = 0
        whole.group = 0
        if max_depth > PRESCAN_DEEPEST:
            max_depth = PRESCAN_DEEPEST
        if max_depth > 0:
            result = self.scan(whole, <const uint8_t*> data, max_depth, max_items, &containers)
        charge[0] = size + PRESCAN_CONTAINER_CHARGE * containers
        return result

    cdef int32_t held_message(self, int32_t message, uint32_t tag) noexcept nogil:
        """Return what a field of `message` holds: the number of a message type, `SCALAR`, or a packing of numbers."""
        cdef Py_ssize_t low, high, middle
        if message == SCALAR:
            return SCALAR
        low = self.first[message]
        high = self.first[message + 1]
        while low < high:
            middle = (low + high) // 2
            if self.tags[middle] == tag:
                return self.messages[middle]
            if self.tags[middle] < tag:
                low = middle + 1
            else:
                high = middle
        return SCALAR

    cdef int take_field(self, Level* level, const uint8_t** place, uint32_t tag, Py_ssize_t* items) noexcept nogil:
        """Skip the field after `tag` (0) or enter it (1); return -1 if it is malformed.

        Numbers that are packed into the field are added to `items`.
        """
        cdef uint64_t length = 0
        cdef int32_t held
        if tag & 7 != WIRE_BYTES and tag & 7 != WIRE_GROUP:
            place[0] = skip_scalar(place[0], level.end, tag & 7)
            return -1 if place[0] == NULL else 0
        held = self.held_message(level.message, tag)
        if tag & 7 == WIRE_BYTES:
            place[0] = load_varint(place[0], level.end, LONGEST_SIZE, &length)
            if place[0] == NULL or length > <uint64_t> (level.end - place[0]):
                return -1
            if held < 0:
                if held != SCALAR:
                    items[0] += count_packed(held, place[0], <Py_ssize_t>length)
                place[0] += length
                return 0
            level.end = place[0] + length
            level.group = 0
        else:
            level.group = tag >> 3
        level.message = held
        return 1

    cdef int scan(
        self, Level level, const uint8_t* place, int max_depth, Py_ssize_t max_items, Py_ssize_t* containers
    ) noexcept nogil:
        cdef Level[1024] outer                              # PRESCAN_DEEPEST of them
        cdef Level around
        cdef Py_ssize_t items = 0
        cdef uint32_t tag = 0
        cdef int depth = 1, taken
        while True:
            if place == level.end and level.group == 0:
                depth -= 1
                if depth == 0:
                    return PRESCAN_OK
                level = outer[depth]
                continue
            place = load_tag(place, level.end, &tag)
            if place == NULL:
                return PRESCAN_MALFORMED
            if tag & 7 == WIRE_GROUP_END:
                if level.group != tag >> 3:
                    return PRESCAN_MALFORMED
                depth -= 1
                level = outer[depth]
                continue
            items += 1
            if items > max_items:
                return PRESCAN_TOO_MANY_ITEMS
            around = level
            taken = self.take_field(&level, &place, tag, &items)
            if taken < 0:
                return PRESCAN_MALFORMED
            if items > max_items:
                return PRESCAN_TOO_MANY_ITEMS
            if taken:
                if depth == max_depth:
                    return PRESCAN_TOO_DEEP
                containers[0] += 1
                outer[depth] = around
                depth += 1
