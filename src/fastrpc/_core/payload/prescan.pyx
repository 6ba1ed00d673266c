"""Count the depth and the values of a payload before it is decoded.

Decoding turns one byte into an object of 60 bytes or more, and recurses once per level of nesting. So 16 MiB of empty
maps would become a gigabyte, and a million brackets would overflow a thread's stack. The scan reads the payload once,
without recursion, and refuses both. It allocates memory only to note keys for `hash_flood`, which checks them for
chosen collisions. It counts at least as many values as the decoder meets, since the decoder stops at the first
malformed byte, or earlier.

A `str` uses as many bytes for each character as its widest character needs: one character beyond U+FFFF makes it four
times as long as ASCII. Long texts are charged with their size in memory.

The positions of keys in long maps and of values in long arrays are noted for `hash_flood`, which decodes these
separately. The entries of open containers form a stack, since containers nest; when a container ends, its entries are
kept or dropped.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int16_t, int32_t, uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memset

from fastrpc._core.payload.json_text cimport hex_digit, string_end

cdef enum:
    FIRST_SPANS = 256
    FIRST_GROUPS = 16

PRESCAN_NAMES = ("ok", "too deep", "too many items", "malformed", "colliding keys", "no memory", "overlapping keys")


cdef bint grow_open(KeyLog* log) noexcept nogil:
    cdef Py_ssize_t capacity = 2 * log.capacity if log.capacity else FIRST_SPANS
    cdef Span* spans = <Span*>realloc(log.open, capacity * sizeof(Span))
    if spans is NULL:
        return False
    log.open = spans
    log.capacity = capacity
    return True


cdef bint grow_kept(KeyLog* log, Py_ssize_t count) noexcept nogil:
    """Make room for `count` further spans and a group."""
    cdef Py_ssize_t capacity = log.kept_capacity
    cdef Span* spans
    cdef Group* groups
    if log.kept_size + count > capacity:
        capacity = max(2 * capacity, log.kept_size + count)
        spans = <Span*>realloc(log.kept, capacity * sizeof(Span))
        if spans is NULL:
            return False
        log.kept = spans
        log.kept_capacity = capacity
    if log.group_count == log.group_capacity:
        capacity = 2 * log.group_capacity if log.group_capacity else FIRST_GROUPS
        groups = <Group*>realloc(log.groups, capacity * sizeof(Group))
        if groups is NULL:
            return False
        log.groups = groups
        log.group_capacity = capacity
    return True


cdef bint close_group(KeyLog* log, Py_ssize_t base, bint is_map, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t count = log.size - base, index
    cdef Group* group
    log.size = base
    if count <= UNNOTED_ENTRIES:
        return True
    if not grow_kept(log, count):
        return False
    if not is_map:
        for index in range(base, base + count - 1):
            log.open[index].end = log.open[index + 1].start
        log.open[base + count - 1].end = end
    memcpy(log.kept + log.kept_size, log.open + base, count * sizeof(Span))
    group = &log.groups[log.group_count]
    group.first = log.kept_size
    group.count = count
    group.is_map = is_map
    log.group_count += 1
    log.kept_size += count
    log.comparisons += <double>count * <double>count
    return True


cdef void release(KeyLog* log) noexcept nogil:
    free(log.open)
    free(log.kept)
    free(log.groups)
    memset(log, 0, sizeof(KeyLog))


cdef int prescan(
    int codec_id,
    const char* data,
    Py_ssize_t size,
    int max_depth,
    Py_ssize_t max_items,
    Py_ssize_t* charge,
    KeyLog* log,
) noexcept nogil:
    # Without the GIL: the caller keeps `data` alive for the call, and nothing here is an object.
    cdef Py_ssize_t beyond = 0
    cdef int result = PRESCAN_OK
    if max_depth > PRESCAN_DEEPEST:
        max_depth = PRESCAN_DEEPEST
    if codec_id == PRESCAN_MSGPACK:
        result = scan_msgpack(<const uint8_t*> data, size, max_depth, max_items, &beyond, log)
    elif codec_id == PRESCAN_JSON:
        result = scan_json(<const uint8_t*> data, size, max_depth, max_items, &beyond, log)
    charge[0] = size + beyond
    return result


# The size of texts in memory

cdef inline Py_ssize_t survey_word(uint64_t word, uint64_t* latin, uint64_t* plane) noexcept nogil:
    """Return the number of continuation bytes in eight bytes of UTF-8, and note the first bytes of wide characters."""
    cdef uint64_t highest = <uint64_t> 0x8080808080808080, lowest = <uint64_t> 0x0101010101010101
    cdef uint64_t leads = word & (word << 1) & highest
    # Shifting moves the bits of each byte to its highest bit. `latin`: first bytes of characters beyond U+00FF;
    # `plane`: beyond U+FFFF.
    latin[0] |= leads & ((word << 2) | (word << 3) | (word << 4) | (word << 5))
    plane[0] |= leads & (word << 2) & (word << 3)
    return <Py_ssize_t> (((word & ~(word << 1) & highest) >> 7) * lowest >> 56)


cdef Py_ssize_t signs_in(const uint8_t* place, Py_ssize_t size, int* width) noexcept nogil:
    """Return the number of characters in UTF-8, and the bytes that a `str` needs for each of them."""
    cdef uint64_t word, latin = 0, plane = 0
    cdef Py_ssize_t at, followers = 0
    # Eight bytes at a time: byte by byte, a text of 16 MB would block the loop for 15 ms.
    for at in range(0, size - 7, 8):
        memcpy(&word, place + at, 8)
        if word & <uint64_t> 0x8080808080808080:
            followers += survey_word(word, &latin, &plane)
    word = 0
    memcpy(&word, place + (size & ~7), size & 7)
    followers += survey_word(word, &latin, &plane)
    width[0] = 4 if plane else 2 if latin else 1
    return size - followers


cdef Py_ssize_t text_growth(const uint8_t* place, Py_ssize_t size) noexcept nogil:
    cdef int width
    cdef Py_ssize_t signs = signs_in(place, size, &width)
    return growth_of(width, signs, size)


cdef inline Py_ssize_t growth_of(int width, Py_ssize_t signs, Py_ssize_t size) noexcept nogil:
    return max(<Py_ssize_t>0, width * signs - size)


cdef Py_ssize_t json_growth(const uint8_t* place, Py_ssize_t size) noexcept nogil:
    """Return the `text_growth` of the content of a JSON string, which may contain escapes."""
    cdef const uint8_t* end = place + size
    cdef const uint8_t* escape = <const uint8_t*> memchr(place, c"\\", size)
    cdef int width, unit
    cdef Py_ssize_t signs = signs_in(place, size, &width)
    while escape != NULL and end - escape >= 2:
        if escape[1] == c"u" and end - escape >= 6:
            unit = hex_digit(escape[2]) << 4 | hex_digit(escape[3])
            # The two escapes of a surrogate pair are one character beyond U+FFFF.
            width = max(width, 1 if unit == 0 else 4 if 0xD8 <= unit <= 0xDF else 2)
            signs -= 6 if 0xDC <= unit <= 0xDF else 5
            escape += 6
        else:
            signs -= 1
            escape += 2
        escape = <const uint8_t*> memchr(escape, c"\\", end - escape)
    return growth_of(width, signs, size)


cdef inline uint64_t load_big_endian(const uint8_t* place, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int index
    for index in range(width):
        value = (value << 8) | place[index]
    return value


cdef inline bint is_container(uint8_t lead) noexcept nogil:
    return 0x80 <= lead < 0xA0 or 0xDC <= lead <= 0xDF      # fixmap, fixarray; array and map 16, 32


cdef inline bint is_map(uint8_t lead) noexcept nogil:
    return lead < 0x90 or lead >= 0xDE                      # among containers


cdef inline Py_ssize_t take_count(const uint8_t** place, const uint8_t* end, uint8_t lead) noexcept nogil:
    """Return the number of values in a container whose lead byte is just before `place`, or -1."""
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
    """Return the end of a value whose lead byte is just before `place`; NULL if it is incomplete."""
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
    # `pending`: the number of values still to come; `noted_from`: the start of the entries in a KeyLog, -1 if they are
    # not noted; `is_map`: whether this is a map. A level is 16 bytes, which are copied together. No payload has 2**31
    # entries: Memory.items is below that.
    Py_ssize_t pending
    int32_t noted_from
    int32_t is_map


cdef inline bint notes(const KeyLog* log, bint is_container_map, Py_ssize_t count) noexcept nogil:
    """Return whether the entries of a container of `count` values are noted."""
    if log == NULL:
        return False
    return log.notes_maps and count > 2 * UNNOTED_ENTRIES if is_container_map else (
        log.notes_arrays and count > UNNOTED_ENTRIES
    )


cdef inline bint is_text(uint8_t lead) noexcept nogil:
    return 0xA0 <= lead < 0xC0 or 0xC4 <= lead <= 0xC6 or 0xD9 <= lead <= 0xDB      # fixstr; bin, str 8, 16, 32


cdef inline bint note(KeyLog* log, const Level* level, uint8_t lead, Py_ssize_t at) noexcept nogil:
    """Note that the next value of a level begins. False: out of memory."""
    # Keys and values alternate, and a map ends with a value: the last key ends where that value begins.
    if level.is_map and not level.pending & 1:
        note_end(log, level.noted_from, at)
        return True
    return (level.is_map and log.skips_texts and is_text(lead)) or note_start(log, at)


cdef inline Py_ssize_t growth_behind(const uint8_t* place, const uint8_t* end, uint8_t lead) noexcept nogil:
    """Return the growth of a text whose size, of 8, 16 or 32 bits, is at `place`."""
    cdef int width = 1 << (lead - 0xD9)
    return text_growth(place + width, end - place - width) if end - place >= LONG_TEXT else 0


cdef inline const uint8_t* weigh_scalar(
    const uint8_t* place, const uint8_t* end, uint8_t lead, Py_ssize_t* beyond
) noexcept nogil:
    """Return the position after a scalar, NULL if it is malformed or incomplete; add the growth of a text."""
    cdef const uint8_t* behind = skip_scalar(place, end, lead)
    if behind != NULL and 0xD9 <= lead <= 0xDB:             # str 8, 16, 32
        beyond[0] += growth_behind(place, behind, lead)
    return behind


cdef int scan_msgpack(
    const uint8_t* place, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* beyond, KeyLog* log
) noexcept nogil:
    cdef Level[1024] outer                                  # PRESCAN_DEEPEST of them: the levels around this one
    cdef Level level = Level(1, -1, 0)
    cdef const uint8_t* data = place
    cdef const uint8_t* end = place + size
    cdef Py_ssize_t items = 0, count
    cdef int depth = 0
    cdef uint8_t lead
    while True:
        while level.pending == 0:
            if level.noted_from >= 0 and not close_group(log, level.noted_from, level.is_map, place - data):
                return PRESCAN_NO_MEMORY
            if depth == 0:
                return PRESCAN_OK
            depth -= 1
            level = outer[depth]
        level.pending -= 1
        if place >= end:
            return PRESCAN_MALFORMED
        lead = place[0]
        if level.noted_from >= 0 and not note(log, &level, lead, place - data):
            return PRESCAN_NO_MEMORY
        place += 1
        if not is_container(lead):
            place = weigh_scalar(place, end, lead, beyond)
            if place != NULL:
                continue
            return PRESCAN_MALFORMED
        count = take_count(&place, end, lead)
        beyond[0] += PRESCAN_CONTAINER_CHARGE
        items += count
        if depth >= max_depth:
            return PRESCAN_TOO_DEEP
        if items > max_items or not 0 <= count <= end - place:      # each value has a byte or more
            return PRESCAN_TOO_MANY_ITEMS if items > max_items else PRESCAN_MALFORMED
        outer[depth] = level
        depth += 1
        level = Level(count, <int32_t>log.size if notes(log, is_map(lead), count) else -1, is_map(lead))


cdef inline bint ends_scalar(uint8_t byte) noexcept nogil:
    return byte <= c" " or byte == c"," or byte == c"]" or byte == c"}" or byte == c":"


cdef inline const uint8_t* scalar_end(const uint8_t* place, const uint8_t* end) noexcept nogil:
    while place < end and not ends_scalar(place[0]):
        place += 1
    return place


cdef bint is_key(const uint8_t* quote, const uint8_t* end) noexcept nogil:
    """Return whether the string with this closing quote is a key, followed by a colon."""
    cdef const uint8_t* place = quote + 1
    while place < end and place[0] <= c" ":
        place += 1
    return place < end and place[0] == c":"


cdef struct JsonLevel:
    # `noted_from`: the start of the entries in a KeyLog; `notes_keys`: whether this is an object whose keys are noted;
    # `notes_values`: whether it is an array whose values are noted.
    int32_t noted_from
    int16_t notes_keys
    int16_t notes_values


cdef inline void open_level(const KeyLog* log, JsonLevel* levels, int depth, uint8_t bracket) noexcept nogil:
    if log != NULL:
        levels[depth] = JsonLevel(
            <int32_t>log.size, bracket == c"{" and log.notes_maps, bracket == c"[" and log.notes_arrays
        )


cdef inline bint close_level(KeyLog* log, const JsonLevel* levels, int depth, Py_ssize_t end) noexcept nogil:
    """Keep the noted entries of a level. False: out of memory."""
    return log == NULL or depth < 0 or close_group(log, levels[depth].noted_from, levels[depth].notes_keys, end)


cdef bint close_all(KeyLog* log, const JsonLevel* levels, int depth, Py_ssize_t end) noexcept nogil:
    """Keep the entries of unclosed levels: the decoder reads them before it meets the error."""
    while depth > 0:
        depth -= 1
        if not close_level(log, levels, depth, end):
            return False
    return True


cdef inline bint note_token(
    KeyLog* log, const JsonLevel* level, const uint8_t* data, const uint8_t* place, const uint8_t* quote, const uint8_t* end
) noexcept nogil:
    """Note the token at `place`, a string if it ends at `quote`, if tokens are noted. False: out of memory."""
    if level.notes_values:
        return note_start(log, place - data)
    if level.notes_keys and quote != NULL and is_key(quote, end):
        if not note_start(log, place - data):
            return False
        note_end(log, level.noted_from, quote + 1 - data)
    return True


cdef int scan_json(
    const uint8_t* place, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* beyond, KeyLog* log
) noexcept nogil:
    cdef JsonLevel[1024] levels                             # PRESCAN_DEEPEST of them; kept only where there is a log
    cdef const uint8_t* data = place
    cdef const uint8_t* end = place + size
    cdef const uint8_t* quote
    cdef Py_ssize_t items = -1                              # every token is one, but not the outermost value
    cdef int depth = 0
    cdef uint8_t byte
    while place < end:
        byte = place[0]
        place += 1
        if byte <= c" " or byte == c"," or byte == c":":
            continue
        if byte == c"]" or byte == c"}":
            depth -= 1
            if not close_level(log, levels, depth, place - 1 - data):
                return PRESCAN_NO_MEMORY
            if depth <= 0:
                return PRESCAN_OK           # whole, or closed once too often: the decoder goes no further
            continue
        items += 1
        if items > max_items:
            return PRESCAN_TOO_MANY_ITEMS
        quote = string_end(place, end) if byte == c'"' else NULL
        if log != NULL and depth > 0 and not note_token(log, &levels[depth - 1], data, place - 1, quote, end):
            return PRESCAN_NO_MEMORY
        if quote != NULL:
            beyond[0] += json_growth(place, quote - place) if quote - place >= LONG_TEXT else 0
            place = quote + 1
        elif byte == c"[" or byte == c"{":
            beyond[0] += PRESCAN_CONTAINER_CHARGE
            if depth >= max_depth:
                return PRESCAN_TOO_DEEP
            open_level(log, levels, depth, byte)
            depth += 1
        else:
            place = scalar_end(place, end)
    return PRESCAN_OK if close_all(log, levels, depth, end - data) else PRESCAN_NO_MEMORY


def prescan_payload(int codec_id, payload, *, int max_depth=100, Py_ssize_t max_items=1_000_000):
    cdef Py_buffer view
    cdef Py_ssize_t charge = 0
    cdef int result
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    # `view` keeps the payload in place until it is released, so the GIL may be released.
    with nogil:
        result = prescan(codec_id, <const char*> view.buf, view.len, max_depth, max_items, &charge, NULL)
    PyBuffer_Release(&view)
    return PRESCAN_NAMES[result], charge


def noted_entries(int codec_id, bytes payload not None, *, bint maps=True, bint arrays=True, bint texts=True):
    cdef KeyLog log
    cdef Py_ssize_t charge = 0, number, index
    cdef Group group
    memset(&log, 0, sizeof(log))
    log.notes_maps = maps
    log.notes_arrays = arrays
    log.skips_texts = not texts
    found = []
    try:
        # The caller keeps `payload` alive.
        prescan(codec_id, payload, len(payload), PRESCAN_DEEPEST, len(payload), &charge, &log)
        for number in range(log.group_count):
            group = log.groups[number]
            entries = [
                payload[log.kept[index].start:log.kept[index].end]
                for index in range(group.first, group.first + group.count)
            ]
            found.append(("map" if group.is_map else "array", entries))
    finally:
        release(&log)
    return found
