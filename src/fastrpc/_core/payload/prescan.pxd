"""Count depth and values of a payload before any object of it exists."""

from fastrpc._core.payload.key_log cimport KeyLog

cdef enum:
    # The codec numbers of PROTOCOL.md that this scan reads; it accepts all others unread. Protobuf has its own scan.
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

# `data` is borrowed for the call. The outermost container is depth 1. Every element, key and value
# inside a container is an item. `charge` receives the bytes of the scanned part and of its containers.
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
