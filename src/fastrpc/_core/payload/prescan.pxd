"""Count depth and values of a payload before any object of it exists."""

from libc.stdint cimport uint8_t

cdef enum:
    # The entries of the longest container that is not noted: a dict then compares an entry with at most 63 others.
    UNNOTED_ENTRIES = 64


cdef struct Span:
    # Bytes start ... end - 1 of the payload.
    Py_ssize_t start
    Py_ssize_t end


cdef struct Group:
    # The keys of one map, or the values of one array: kept[first], … kept[first + count - 1].
    Py_ssize_t first
    Py_ssize_t count
    bint is_map


cdef struct KeyLog:
    # Whether keys of maps and values of arrays are noted; without either the scan gets no log.
    bint notes_maps
    bint notes_arrays
    # Keys of msgpack that are text or bytes are omitted: their hashes are unpredictable.
    bint skips_texts

    # Spans of the containers being read, the innermost one last; the first `size` of `capacity`.
    Span* open
    Py_ssize_t size
    Py_ssize_t capacity

    # Spans of the long containers that ended.
    Span* kept
    Py_ssize_t kept_size
    Py_ssize_t kept_capacity
    Group* groups
    Py_ssize_t group_count
    Py_ssize_t group_capacity

    # The sum of count * count over the groups: the most comparisons between entries.
    double comparisons


cdef bint grow_open(KeyLog* log) noexcept nogil

# An entry of the innermost container begins. False: no memory.
cdef inline bint note_start(KeyLog* log, Py_ssize_t start) noexcept nogil:
    if log.size == log.capacity and not grow_open(log):
        return False
    log.open[log.size].start = log.open[log.size].end = start
    log.size += 1
    return True

# Ends the entry noted last, if one was noted since `base` and has no end yet.
cdef inline void note_end(KeyLog* log, Py_ssize_t base, Py_ssize_t end) noexcept nogil:
    if log.size > base and log.open[log.size - 1].end == log.open[log.size - 1].start:
        log.open[log.size - 1].end = end

# Ends the container whose entries begin at `base`, at `end`, and keeps the entries if they are many. An entry of an
# array ends where the next one begins. False: no memory.
cdef bint close_group(KeyLog* log, Py_ssize_t base, bint is_map, Py_ssize_t end) noexcept nogil

cdef void release(KeyLog* log) noexcept nogil

cdef enum:
    # The codec numbers of PROTOCOL.md that this scan reads; payloads of other codecs are accepted unread. Protobuf has
    # its own scan.
    PRESCAN_MSGPACK = 1
    PRESCAN_JSON = 2

cdef enum:
    # The results of `prescan`. A payload with any result but PRESCAN_OK must not be decoded.
    PRESCAN_OK = 0
    PRESCAN_TOO_DEEP = 1
    PRESCAN_TOO_MANY_ITEMS = 2
    PRESCAN_MALFORMED = 3
    PRESCAN_COLLIDING_KEYS = 4
    PRESCAN_NO_MEMORY = 5
    PRESCAN_OVERLAPPING_KEYS = 6

cdef enum:
    # The scan's own stack, 8 bytes a level; a larger `max_depth` counts as this one.
    PRESCAN_DEEPEST = 1024
    # Bytes charged for each container beside the payload's own: an empty dict or list with its slot.
    PRESCAN_CONTAINER_CHARGE = 72
    # Longer texts are charged with the size of their `str`; the header of a shorter one outweighs its characters.
    LONG_TEXT = 64

# The bytes that a `str` takes beyond its UTF-8, without its header. `place` is borrowed for the call.
cdef Py_ssize_t text_growth(const uint8_t* place, Py_ssize_t size) noexcept nogil

# `data` is borrowed for the call. The outermost container is depth 1. Every element, key and value
# inside a container is an item. `charge` receives the bytes of the scanned part, of its containers, and those by which
# its long texts grow.
# `log` receives the places of keys and values of long containers; NULL: not recorded.
cdef int prescan(
    int codec_id,
    const char* data,
    Py_ssize_t size,
    int max_depth,
    Py_ssize_t max_items,
    Py_ssize_t* charge,
    KeyLog* log,
) noexcept nogil

# The names of the results.
cdef tuple PRESCAN_NAMES
