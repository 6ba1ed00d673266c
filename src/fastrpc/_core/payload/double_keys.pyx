"""Find a repeated key in one map of a payload.

Decoders use the last of two equal keys, some other programs the first: a handler could get another value than the one a
proxy has checked. So protocols that are used behind proxies refuse such a payload.

The payload is walked once, without recursion and without an object for a key. The keys of open maps form a stack. At
the end of a map its keys are compared, pairwise if they are few, otherwise after sorting. A JSON key with an escape may
be equal to a key without one, so its unescaped text is compared. The walk is not done by a JSON library: the decoder
may skip parts of the payload that another library would refuse.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memset

from fastrpc._core.payload.json_text cimport hex_digit, string_end

cdef enum:
    MSGPACK = 1
    JSON = 2
    # The deepest level that `prescan` accepts. A decoder skips deeper parts, in a member that its type does not have,
    # and so does this walk: keys around such a part are compared, keys inside it are not.
    DEEPEST = 1024
    # Up to this many keys are compared pairwise.
    FEW_KEYS = 12
    FIRST_KEYS = 64

cdef enum KeyKind:
    KEY_TEXT = 0
    KEY_NUMBER = 1
    KEY_OTHER = 2

cdef enum Found:
    FOUND_NOTHING = 0
    FOUND_DOUBLE = 1
    FOUND_NO_MEMORY = 2


cdef struct Key:
    # The bytes of a text without its delimiters, or of the whole value. A number is in `number`.
    const uint8_t* start
    Py_ssize_t size
    uint64_t number
    int kind


cdef struct Keys:
    # The keys of all open maps; the keys of the innermost map are last.
    Key* keys
    Py_ssize_t count
    Py_ssize_t capacity
    # The repeated key.
    Key double
    # `texts`: memory for the unescaped texts of keys, as large as the rest of the payload at the first such key;
    # `text`: its free part.
    uint8_t* texts
    uint8_t* text


cdef struct Level:
    # `base`: the index of a map's first key, -1 in an array. `pending`: the values still to come, for msgpack only.
    Py_ssize_t base
    Py_ssize_t pending


cdef bint push(Keys* keys, const uint8_t* start, Py_ssize_t size, uint64_t number, int kind) noexcept nogil:
    """Note a key. False: out of memory."""
    cdef Py_ssize_t capacity
    cdef Key* larger
    if keys.count == keys.capacity:
        capacity = 2 * keys.capacity if keys.capacity else FIRST_KEYS
        larger = <Key*>realloc(keys.keys, capacity * sizeof(Key))
        if larger is NULL:
            return False
        keys.keys = larger
        keys.capacity = capacity
    keys.keys[keys.count] = Key(start, size, number, kind)
    keys.count += 1
    return True


cdef int compare(const void* left, const void* right) noexcept nogil:
    cdef const Key* one = <const Key*>left
    cdef const Key* other = <const Key*>right
    if one.kind != other.kind:
        return -1 if one.kind < other.kind else 1
    if one.number != other.number:
        return -1 if one.number < other.number else 1
    if one.size != other.size:
        return -1 if one.size < other.size else 1
    return memcmp(one.start, other.start, <size_t>one.size)


cdef bint close_map(Keys* keys, Py_ssize_t base) noexcept nogil:
    """Forget the keys of the innermost map; return whether a key is repeated."""
    cdef Py_ssize_t count = keys.count - base, at, other
    cdef Key* first = keys.keys + base
    keys.count = base
    if count > FEW_KEYS:
        qsort(first, <size_t>count, sizeof(Key), compare)
    for at in range(1, count):
        for other in range(at - 1 if count > FEW_KEYS else 0, at):
            if compare(first + at, first + other) == 0:
                keys.double = first[at]
                return True
    return False


# JSON

cdef const char* BLANKS = b"        "

cdef enum JsonByte:
    # A byte that occurs only inside strings in valid JSON.
    JSON_WRONG
    # A byte of a number, of a name (true, false, null), or of the space between values.
    JSON_OTHER
    # A byte that begins or ends a string, an object or a list, or separates values; or a space, which occurs in runs.
    JSON_MARK


cdef enum:
    # The upper six bits of the high and the low surrogates.
    HIGH_HALF = 0xD800 >> 10
    LOW_HALF = 0xDC00 >> 10


cdef uint8_t[256] JSON_BYTES
# For the character after a backslash, the character that both stand for; by default the character itself.
cdef uint8_t[256] ESCAPED


cdef int set_kinds() except -1:
    """Fill the tables of byte kinds and of escapes, once."""
    cdef int byte
    for byte in range(256):
        ESCAPED[byte] = <uint8_t>byte
    for byte, sign in zip(b"bfnrt", b"\b\f\n\r\t"):
        ESCAPED[byte] = sign
    memset(JSON_BYTES, JSON_WRONG, sizeof(JSON_BYTES))
    for byte in b"0123456789+-.eEtruefalsenullNaNInfinity:\t\n\r":
        JSON_BYTES[byte] = JSON_OTHER
    for byte in b'"{}[], ':
        JSON_BYTES[byte] = JSON_MARK
    return 0


set_kinds()


cdef inline bint push_json_key(
    Keys* keys, const uint8_t* place, const uint8_t* quote, const uint8_t* end
) noexcept nogil:
    """Note the key that ends at the closing quote. False: out of memory."""
    cdef Py_ssize_t size = quote - place
    cdef const uint8_t* text
    if memchr(place, c"\\", <size_t>size) is NULL:
        return push(keys, place, size, 0, KEY_TEXT)
    if keys.texts is NULL:
        keys.texts = keys.text = <uint8_t*>malloc(<size_t>(end - place))
        if keys.texts is NULL:
            return False
    text = keys.text
    unescape(keys, place, quote)
    return push(keys, text, keys.text - text, 0, KEY_TEXT)


cdef void unescape(Keys* keys, const uint8_t* place, const uint8_t* quote) noexcept nogil:
    """Append a key's unescaped text, which is not longer than its JSON. The decoder reports wrong escapes."""
    cdef uint8_t* out = keys.text
    cdef uint32_t sign, low
    while place < quote:
        if place[0] != c"\\" or quote - place < 2:
            out[0] = place[0]
            out += 1
            place += 1
        elif place[1] != c"u" or quote - place < 6:
            out[0] = ESCAPED[place[1]]
            out += 1
            place += 2
        else:
            sign = unit_at(place + 2)
            place += 6
            if sign >> 10 == HIGH_HALF and quote - place >= 6 and place[0] == c"\\" and place[1] == c"u":
                low = unit_at(place + 2)
                if low >> 10 == LOW_HALF:
                    sign = 0x10000 + ((sign & 0x3FF) << 10 | (low & 0x3FF))
                    place += 6
            out += put_sign(out, sign)
    keys.text = out


cdef inline uint32_t unit_at(const uint8_t* place) noexcept nogil:
    """Return the number in the four hexadecimal digits of an escape."""
    cdef uint32_t unit = 0
    cdef int at
    for at in range(4):
        unit = unit << 4 | <uint32_t>hex_digit(place[at])
    return unit


cdef inline int put_sign(uint8_t* out, uint32_t sign) noexcept nogil:
    """Write a character in UTF-8, also a lone surrogate; return its size."""
    cdef int size = 1 if sign < 0x80 else 2 if sign < 0x800 else 3 if sign < 0x10000 else 4
    cdef int at
    if size == 1:
        out[0] = <uint8_t>sign
        return 1
    for at in range(size - 1, 0, -1):
        out[at] = <uint8_t>(0x80 | (sign & 0x3F))
        sign >>= 6
    # The number of leading ones in the first byte is the number of the character's bytes.
    out[0] = <uint8_t>(0xF00 >> size & 0xF0 | sign)
    return size


cdef int walk_json(const uint8_t* place, const uint8_t* end, Keys* keys) noexcept nogil:
    cdef Level[1024] levels
    cdef const uint8_t* quote
    cdef int depth = 0
    # Whether the next string of an object is a key.
    cdef bint is_key = False
    while True:
        while place < end and JSON_BYTES[place[0]] == JSON_OTHER:
            place += 1
        if place >= end or JSON_BYTES[place[0]] == JSON_WRONG:
            # Invalid JSON is reported by the decoder.
            return FOUND_NOTHING
        if place[0] == c'"':
            quote = string_end(place + 1, end)
            if is_key and depth and levels[depth - 1].base >= 0 and not push_json_key(keys, place + 1, quote, end):
                return FOUND_NO_MEMORY
            is_key = False
            place = quote
        elif place[0] == c"{" or place[0] == c"[":
            if depth == DEEPEST:
                is_key = False
                place = behind_json(place, end)
                continue
            is_key = place[0] == c"{"
            levels[depth].base = keys.count if is_key else -1
            depth += 1
        elif place[0] == c"}" or place[0] == c"]":
            if depth == 0:
                return FOUND_NOTHING
            depth -= 1
            is_key = False
            if levels[depth].base >= 0 and close_map(keys, levels[depth].base):
                return FOUND_DOUBLE
        elif place[0] == c",":
            is_key = True
        place += 1
        while end - place >= 8 and memcmp(place, BLANKS, 8) == 0:
            place += 8


cdef const uint8_t* behind_json(const uint8_t* place, const uint8_t* end) noexcept nogil:
    """Return the place after the object or list that begins at `place`, or `end`."""
    cdef Py_ssize_t depth = 0
    while place < end:
        if place[0] == c'"':
            place = string_end(place + 1, end)
        elif place[0] == c"{" or place[0] == c"[":
            depth += 1
        elif place[0] == c"}" or place[0] == c"]":
            depth -= 1
        if place < end:
            place += 1
        if depth == 0:
            break
    return place


# msgpack

cdef uint64_t big_endian(const uint8_t* place, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int index
    for index in range(width):
        value = (value << 8) | place[index]
    return value


cdef Py_ssize_t body_of(const uint8_t* place, const uint8_t* end, int* head) noexcept nogil:
    """Return the size of a scalar after its head, and set the size of the head; -1: it is malformed or incomplete."""
    cdef uint8_t lead = place[0]
    cdef int width
    cdef Py_ssize_t size = 0
    head[0] = 1
    if 0xA0 <= lead < 0xC0:
        size = lead & 0x1F
    elif 0xCA <= lead <= 0xD3:
        size = 1 << ((lead - 0xCC) & 3)
    elif 0xD4 <= lead <= 0xD8:
        size = 1 + (1 << (lead - 0xD4))
    elif lead == 0xC1:
        return -1
    elif 0xC4 <= lead <= 0xC9 or 0xD9 <= lead <= 0xDB:
        width = 1 << (lead - 0xD9 if lead >= 0xD9 else (lead - 0xC4) % 3)
        if end - place <= width:
            return -1
        head[0] = 1 + width
        size = <Py_ssize_t>big_endian(place + 1, width) + (0xC7 <= lead <= 0xC9)
    return size if size <= end - place - head[0] else -1


cdef bint push_scalar(Keys* keys, const uint8_t* place, int head, Py_ssize_t size) noexcept nogil:
    """Note a msgpack key. Equal texts and numbers are noted as equal in every encoding. False: out of memory."""
    cdef uint8_t lead = place[0]
    cdef uint64_t number
    if 0xA0 <= lead < 0xC0 or 0xD9 <= lead <= 0xDB:
        return push(keys, place + head, size, 0, KEY_TEXT)
    if lead < 0x80 or lead >= 0xE0:
        # A negative number has all upper bits set, as below.
        return push(keys, place, 0, lead if lead < 0x80 else <uint64_t>lead | <uint64_t>0xFFFFFFFFFFFFFF00, KEY_NUMBER)
    if 0xCC <= lead <= 0xD3:
        number = big_endian(place + 1, <int>size)
        if lead >= 0xD0 and size < 8 and number >> (8 * size - 1):
            number |= <uint64_t>0xFFFFFFFFFFFFFFFF << (8 * size)
        return push(keys, place, 0, number, KEY_NUMBER)
    return push(keys, place, head + size, 0, KEY_OTHER)


cdef int walk_msgpack(const uint8_t* place, const uint8_t* end, Keys* keys) noexcept nogil:
    cdef Level[1024] outer
    cdef Level level = Level(-1, 1)
    cdef Py_ssize_t size
    cdef int depth = 0, head = 0
    cdef bint is_key, is_map
    while True:
        while level.pending == 0:
            if level.base >= 0 and close_map(keys, level.base):
                return FOUND_DOUBLE
            if depth == 0:
                return FOUND_NOTHING
            depth -= 1
            level = outer[depth]
        # Keys and values alternate in a map.
        is_key = level.base >= 0 and level.pending & 1 == 0
        level.pending -= 1
        if place >= end:
            return FOUND_NOTHING
        if not is_container(place[0]):
            size = body_of(place, end, &head)
            if size < 0:
                return FOUND_NOTHING
            if is_key and not push_scalar(keys, place, head, size):
                return FOUND_NO_MEMORY
            place += head + size
            continue
        if depth == DEEPEST:
            place = behind_msgpack(place, end)
            continue
        is_map = place[0] < 0x90 or place[0] >= 0xDE
        size = values_of(place, end, &head)
        if size < 0:
            return FOUND_NOTHING
        place += head
        outer[depth] = level
        depth += 1
        level = Level(keys.count if is_map else -1, size)


cdef inline bint is_container(uint8_t lead) noexcept nogil:
    return 0x80 <= lead < 0xA0 or 0xDC <= lead <= 0xDF


cdef Py_ssize_t values_of(const uint8_t* place, const uint8_t* end, int* head) noexcept nogil:
    """Return how many values follow the head of an array or a map, keys included; -1: it is incomplete."""
    cdef int width = 2 << (place[0] & 1) if place[0] >= 0xDC else 0
    cdef Py_ssize_t size = place[0] & 0x0F
    if end - place <= width:
        return -1
    if width:
        size = <Py_ssize_t>big_endian(place + 1, width)
    head[0] = 1 + width
    return 2 * size if place[0] < 0x90 or place[0] >= 0xDE else size


cdef const uint8_t* behind_msgpack(const uint8_t* place, const uint8_t* end) noexcept nogil:
    """Return the place after the value that begins at `place`; `end` if it is malformed or incomplete."""
    cdef Py_ssize_t pending = 1, size
    cdef int head = 0
    while pending and place < end:
        pending -= 1
        if is_container(place[0]):
            size = values_of(place, end, &head)
            pending += size
            place += head
        else:
            size = body_of(place, end, &head)
            place += head + size
        if size < 0:
            return end
    return place


cdef object double_key(int codec_id, bytes payload):
    cdef Keys keys
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef const uint8_t* end = start + PyBytes_GET_SIZE(payload)
    cdef int found
    memset(&keys, 0, sizeof(keys))
    # Without the GIL: the caller keeps the payload alive, and nothing below is an object.
    with nogil:
        found = walk_json(start, end, &keys) if codec_id == JSON else walk_msgpack(start, end, &keys)
    try:
        if found == FOUND_NO_MEMORY:
            raise MemoryError("not enough memory to compare the keys of a payload")
        if found != FOUND_DOUBLE:
            return None
        if keys.double.kind == KEY_NUMBER:
            return str(<long long>keys.double.number)
        return (<const char*>keys.double.start)[:keys.double.size].decode("utf-8", "backslashreplace")
    finally:
        free(keys.keys)
        free(keys.texts)


def find_double_key(int codec_id, bytes payload not None):
    return double_key(codec_id, payload)
