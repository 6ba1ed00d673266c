"""Depth and number of values in a payload, found before any object of it exists.

Decoding turns one byte into an object of 60 or more, and calls itself once per level of nesting. So
16 MiB of empty maps would become a gigabyte, and a million brackets would run over a thread's stack.
The scan reads the payload once, without recursion, and refuses both. It allocates only where a long
map has numbers for keys, which `key_load` weighs: they can be chosen to make a dict crawl. It is
never more lenient than the decoder that follows: where a payload is malformed the decoder stops at
the same byte or earlier, so it meets no more than what was counted here.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr, memset

from fastrpc._core.key_load cimport (
    KEYS_UNSEEN,
    KeyLoad,
    is_overloaded,
    load_big_endian,
    note_escaped,
    note_key,
    note_text,
    release,
    weigh_keys,
)

_NAMES = ("ok", "too deep", "too many items", "malformed", "colliding keys", "no memory")


cdef int prescan(
    int codec_id, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
) noexcept nogil:
    # nogil: `data` is a raw pointer that the caller keeps alive for the call; nothing here is an object.
    cdef Py_ssize_t containers = 0
    cdef int result = PRESCAN_OK
    cdef KeyLoad load
    if max_depth > PRESCAN_DEEPEST:
        max_depth = PRESCAN_DEEPEST
    if codec_id == PRESCAN_MSGPACK:
        memset(&load, 0, sizeof(load))
        result = scan_msgpack(<const uint8_t*> data, size, max_depth, max_items, &containers, &load)
        if load.keys != NULL:
            release(&load)
    elif codec_id == PRESCAN_JSON:
        memset(&load, 0, sizeof(load))
        result = scan_json(<const uint8_t*> data, size, max_depth, max_items, &containers, &load)
        if load.keys != NULL:
            release(&load)
    charge[0] = size + PRESCAN_CONTAINER_CHARGE * containers
    return result


cdef inline bint is_container(uint8_t lead) noexcept nogil:
    return 0x80 <= lead < 0xA0 or 0xDC <= lead <= 0xDF      # fixmap, fixarray; array and map 16, 32


cdef inline bint is_map(uint8_t lead) noexcept nogil:
    return lead < 0x90 or lead >= 0xDE                      # of those that are containers


cdef inline Py_ssize_t take_count(const uint8_t** place, const uint8_t* end, uint8_t lead) noexcept nogil:
    """Return how many values the container has whose lead byte is before `place`, or -1."""
    cdef Py_ssize_t count = lead & 0x0F
    cdef int width
    if lead >= 0xDC:
        width = 2 << (lead & 1)
        if end - place[0] < width:
            return -1
        count = <Py_ssize_t>load_big_endian(place[0], width)       # of 2 or 4 bytes
        place[0] += width
    if is_map(lead):
        count *= 2                                          # keys and values
    return count


cdef inline const uint8_t* skip_scalar(
    const uint8_t* place, const uint8_t* end, uint8_t lead
) noexcept nogil:
    """Return where the value ends whose lead byte is before `place`; NULL if it does not."""
    cdef Py_ssize_t size
    cdef int width = 0
    if lead < 0x80 or lead >= 0xE0:                         # fixint
        return place
    if 0xCA <= lead <= 0xD3:                                # float 32, 64, uint 8 to 64, int 8 to 64
        size = 1 << ((lead - 0xCC) & 3)
    elif 0xA0 <= lead < 0xC0:                               # fixstr
        size = lead & 0x1F
    elif lead == 0xC0 or lead == 0xC2 or lead == 0xC3:      # nil, false, true
        size = 0
    elif 0xD4 <= lead <= 0xD8:                              # fixext 1 to 16, and the type
        size = 1 + (1 << (lead - 0xD4))
    elif lead == 0xC1:                                      # means nothing
        return NULL
    else:                                                   # bin, ext and str 8, 16, 32
        width = 1 << (lead - 0xD9 if lead >= 0xD9 else (lead - 0xC4) % 3)
        if end - place < width:
            return NULL
        size = width + <Py_ssize_t>load_big_endian(place, width)
        size += 0xC7 <= lead <= 0xC9                        # an ext's type
    return place + size if size <= end - place else NULL


cdef struct Level:
    # Values still to come; where the keys begin in a KeyLoad, -1 where nobody counts them; how many are no numbers.
    # 16 bytes, which are copied at once; no payload has 2**31 keys, Memory.items is below that.
    Py_ssize_t pending
    int32_t keys_from
    uint32_t others


cdef inline bint count_key(
    KeyLoad* load, Level* level, uint8_t lead, const uint8_t* place, const uint8_t* end
) noexcept nogil:
    # Not the address of the field itself, which would keep the level out of the registers.
    cdef uint32_t others = level.others
    cdef bint is_noted = note_key(load, lead, place, end, &others)
    level.others = others
    return is_noted


cdef inline int end_keys(KeyLoad* load, Py_ssize_t keys_from) noexcept nogil:
    if not weigh_keys(load, keys_from):
        return PRESCAN_NO_MEMORY
    return PRESCAN_COLLIDING_KEYS if is_overloaded(load) else PRESCAN_OK


cdef int scan_msgpack(
    const uint8_t* place, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* containers, KeyLoad* load
) noexcept nogil:
    cdef Level[1024] outer                                  # PRESCAN_DEEPEST of them: the levels around this one
    cdef Level level = Level(1, -1, 0)
    cdef const uint8_t* end = place + size
    cdef Py_ssize_t items = 0, count
    cdef int depth = 0, found
    cdef uint8_t lead
    while True:
        while level.pending == 0:
            found = PRESCAN_OK if level.keys_from < 0 else end_keys(load, level.keys_from)
            if depth == 0 or found != PRESCAN_OK:
                return found
            depth -= 1
            level = outer[depth]
        level.pending -= 1
        if place >= end:
            return PRESCAN_MALFORMED
        lead = place[0]
        place += 1
        # Keys and values take turns, and a map ends with a value.
        if level.keys_from >= 0 and level.pending & 1 and not count_key(load, &level, lead, place, end):
            return PRESCAN_NO_MEMORY
        if not is_container(lead):
            place = skip_scalar(place, end, lead)
            if place != NULL:
                continue
            return PRESCAN_MALFORMED
        count = take_count(&place, end, lead)
        containers[0] += 1
        items += count
        if depth >= max_depth:
            return PRESCAN_TOO_DEEP
        if items > max_items or not 0 <= count <= end - place:      # each value has a byte or more
            return PRESCAN_TOO_MANY_ITEMS if items > max_items else PRESCAN_MALFORMED
        outer[depth] = level
        depth += 1
        level = Level(count, <int32_t>load.size if is_map(lead) and count >= 2 * KEYS_UNSEEN else -1, 0)


cdef inline const uint8_t* string_end(const uint8_t* place, const uint8_t* end) noexcept nogil:
    """Return where the string that begins at `place` has its closing quote, or `end`."""
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
        # An escaped quote. What is in front of it is settled: each byte is looked at twice at most.
        place = start = quote + 1


cdef inline bint ends_scalar(uint8_t byte) noexcept nogil:
    return byte <= c" " or byte == c"," or byte == c"]" or byte == c"}" or byte == c":"


cdef inline bint may_be_number(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """Whether an annotation may turn a key into a number or a UUID."""
    return size > 0 and (text[0] <= c"9" or text[0] == c"\\" or size == 32 or size == 36)


cdef bint count_text_key(KeyLoad* load, const uint8_t* text, const uint8_t* quote, const uint8_t* end) noexcept nogil:
    """Note a string, if it is the key of a map; False: no memory."""
    cdef const uint8_t* place = quote + 1
    while place < end and place[0] <= c" ":
        place += 1
    if place >= end or place[0] != c":":
        return True
    if memchr(text, c"\\", quote - text) != NULL:
        return note_escaped(load, text, quote - text)
    return note_text(load, text, quote - text)


cdef inline int end_level(KeyLoad* load, const int32_t* keys_from, int depth) noexcept nogil:
    return end_keys(load, keys_from[depth]) if depth >= 0 and load.size > keys_from[depth] else PRESCAN_OK


cdef int end_json(KeyLoad* load, const int32_t* keys_from, int depth) noexcept nogil:
    """Weigh the keys of maps that nobody closed: up to its error the decoder fills them all the same."""
    cdef int found = PRESCAN_OK
    while depth > 0 and found == PRESCAN_OK:
        depth -= 1
        found = end_level(load, keys_from, depth)
    return found


cdef int scan_json(
    const uint8_t* place, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* containers, KeyLoad* load
) noexcept nogil:
    # Every value and key is one token; the outermost value is a token and no item.
    cdef int32_t[1024] keys_from                            # PRESCAN_DEEPEST of them: where those of a level begin
    cdef const uint8_t* end = place + size
    cdef const uint8_t* quote
    cdef Py_ssize_t items = -1
    cdef int depth = 0, found
    cdef uint8_t byte
    while place < end:
        byte = place[0]
        place += 1
        if byte <= c" " or byte == c"," or byte == c":":
            continue
        if byte == c"]" or byte == c"}":
            depth -= 1
            found = end_level(load, keys_from, depth)
            if depth <= 0 or found != PRESCAN_OK:
                return found                # whole, or closed once too often: the decoder goes no further
            continue
        items += 1
        if items > max_items:
            return PRESCAN_TOO_MANY_ITEMS
        if byte == c'"':
            quote = string_end(place, end)
            if may_be_number(place, quote - place) and not count_text_key(load, place, quote, end):
                return PRESCAN_NO_MEMORY
            place = quote + 1
        elif byte == c"[" or byte == c"{":
            containers[0] += 1
            if depth >= max_depth:
                return PRESCAN_TOO_DEEP
            keys_from[depth] = <int32_t>load.size
            depth += 1
        else:
            while place < end and not ends_scalar(place[0]):
                place += 1
    return end_json(load, keys_from, depth)


def prescan_payload(int codec_id, payload, *, int max_depth=100, Py_ssize_t max_items=1_000_000):
    cdef Py_buffer view
    cdef Py_ssize_t charge = 0
    cdef int result
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    # `view` keeps the payload alive and unmoved until it is released, so the GIL may go.
    with nogil:
        result = prescan(codec_id, <const char*> view.buf, view.len, max_depth, max_items, &charge)
    PyBuffer_Release(&view)
    return _NAMES[result], charge
