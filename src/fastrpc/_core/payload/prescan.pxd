"""Count the depth and the values of a payload before it is decoded."""

from libc.stdint cimport uint8_t

cdef enum:
    # The most entries of a container that is not noted: a dict then compares an entry with at most 63 others.
    UNNOTED_ENTRIES = 64


cdef struct Span:
    # The bytes `start` ... `end` - 1 of the payload.
    Py_ssize_t start
    Py_ssize_t end


cdef struct Group:
    # The keys of one map, or the values of one array: kept[first], … kept[first + count - 1].
    Py_ssize_t first
    Py_ssize_t count
    bint is_map


cdef struct KeyLog:
    # Whether map keys and array values are noted. If neither is, the scan gets no log.
    bint notes_maps
    bint notes_arrays
    # Whether text and bytes keys of msgpack are omitted, since their hashes are unpredictable.
    bint skips_texts

    # Spans of entries in the open containers, the entries of the innermost container last; the first `size` of
    # `capacity` are used.
    Span* open
    Py_ssize_t size
    Py_ssize_t capacity

    # `kept`: spans of entries in the long containers that have ended. `groups`: the groups that these spans form.
    Span* kept
    Py_ssize_t kept_size
    Py_ssize_t kept_capacity
    Group* groups
    Py_ssize_t group_count
    Py_ssize_t group_capacity

    # The sum of count * count over the groups: the most comparisons between their entries.
    double comparisons


cdef bint grow_open(KeyLog* log) noexcept nogil

# Note that an entry of the innermost container begins. False: out of memory.
cdef inline bint note_start(KeyLog* log, Py_ssize_t start) noexcept nogil:
    if log.size == log.capacity and not grow_open(log):
        return False
    log.open[log.size].start = log.open[log.size].end = start
    log.size += 1
    return True

# Set the end of the last noted entry, if an entry was noted since `base` and has no end yet.
cdef inline void note_end(KeyLog* log, Py_ssize_t base, Py_ssize_t end) noexcept nogil:
    if log.size > base and log.open[log.size - 1].end == log.open[log.size - 1].start:
        log.open[log.size - 1].end = end

# End the container whose entries begin at `base`, and keep the entries if they are many. An entry of an array ends
# where the next entry begins. False: out of memory.
cdef bint close_group(KeyLog* log, Py_ssize_t base, bint is_map, Py_ssize_t end) noexcept nogil

cdef void release(KeyLog* log) noexcept nogil

cdef enum:
    # The codecs that this scan reads, by their numbers in PROTOCOL.md. Payloads of other codecs are accepted unread;
    # protobuf has a separate scan.
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
    # The levels of the scan's stack, 8 bytes each; a larger `max_depth` is treated as this one.
    PRESCAN_DEEPEST = 1024
    # Bytes charged for each container in addition to the payload: an empty dict or list with its slot.
    PRESCAN_CONTAINER_CHARGE = 72
    # Texts longer than this are charged with the size of their `str`; the header of a shorter `str` outweighs its
    # characters.
    LONG_TEXT = 64

# Return the bytes by which a `str` exceeds its UTF-8, without its header. `place` is borrowed for the call.
cdef Py_ssize_t text_growth(const uint8_t* place, Py_ssize_t size) noexcept nogil

# Scan `data`, which is borrowed for the call. The outermost container has depth 1. Every element, key and value inside
# a container is an item. `charge` is set to the bytes to charge: for the scanned part, for its containers, and for the
# growth of its long texts. `log` gets the positions of keys and values in long containers; NULL: they are not noted.
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
