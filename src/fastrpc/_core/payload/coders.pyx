"""The functions that a codec prepares for one method, the layout of its payloads, and the scan before decoding.

::

    msgpack, JSON    prescan            depth and items ─► hash_flood, if keys may have a type that can collide
    protobuf         prescan_protobuf   depth and items
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.string cimport memset

from fastrpc._core.base.codec_numbers cimport CODEC_PROTOBUF, CODEC_RAW
from fastrpc._core.payload.hash_flood cimport KEYS_COLLIDE, KEYS_OVERLAP
from fastrpc._core.payload.prescan cimport (
    PRESCAN_COLLIDING_KEYS,
    PRESCAN_DEEPEST,
    PRESCAN_JSON,
    PRESCAN_MSGPACK,
    PRESCAN_NAMES,
    PRESCAN_NO_MEMORY,
    PRESCAN_OK,
    PRESCAN_OVERLAPPING_KEYS,
    PRESCAN_TOO_DEEP,
    PRESCAN_TOO_MANY_ITEMS,
    KeyLog,
    prescan,
    release,
)

from fastrpc._core.payload.hash_flood import untyped_guard

# None until the codec's first error details.
cdef PayloadScan msgpack_details = None
cdef PayloadScan json_details = None


@cython.final
cdef class PayloadScan:
    def __init__(self, int codec_id, *, MessageLayout layout=None, HashFloodGuard guard=None):
        self.codec_id = codec_id
        self.layout = layout
        self.guard = guard

    def scan(self, payload, *, int max_depth=100, Py_ssize_t max_items=1_000_000):
        cdef Py_ssize_t charge = 0
        cdef int found = self.find(payload, max_depth, max_items, &charge)
        return PRESCAN_NAMES[found], charge

    cdef int find(self, object payload, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge) except -1:
        cdef Py_buffer view
        cdef int found
        if PyBytes_CheckExact(payload):
            found = self._find(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), max_depth, max_items, charge)
        else:
            # The view keeps the payload in place until it is released.
            PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
            try:
                found = self._find(<const char*>view.buf, view.len, max_depth, max_items, charge)
            finally:
                PyBuffer_Release(&view)
        if found == PRESCAN_NO_MEMORY:
            raise MemoryError("not enough memory to scan a payload")
        return found

    cdef int _find(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1:
        if self.layout is not None:
            return self.layout.prescan(data, size, max_depth, max_items, charge)
        if self.guard is not None:
            return self._find_guarded(data, size, max_depth, max_items, charge)
        return prescan(self.codec_id, data, size, max_depth, max_items, charge, NULL)

    cdef int _find_guarded(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1:
        cdef KeyLog log
        cdef int found
        memset(&log, 0, sizeof(log))
        log.notes_maps = len(self.guard.keys) > 0
        log.notes_arrays = len(self.guard.values) > 0
        log.skips_texts = self.guard.skips_texts
        try:
            found = prescan(self.codec_id, data, size, max_depth, max_items, charge, &log)
            if found != PRESCAN_OK:
                return found
            found = self.guard.look_at(data, size, &log)
            if found == KEYS_COLLIDE:
                return PRESCAN_COLLIDING_KEYS
            return PRESCAN_OVERLAPPING_KEYS if found == KEYS_OVERLAP else PRESCAN_OK
        finally:
            release(&log)


cdef Py_ssize_t weight_of(int codec_id, object payload) except -1:
    cdef Py_buffer view
    cdef Py_ssize_t charge = len(payload)
    if charge > LONG_PAYLOAD:
        # The view keeps the payload in place until it is released.
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        prescan(codec_id, <const char*>view.buf, view.len, PRESCAN_DEEPEST, view.len, &charge, NULL)
        PyBuffer_Release(&view)
    return charge


cdef PayloadScan details_scan(int codec_id):
    global json_details, msgpack_details
    if codec_id == PRESCAN_JSON:
        if json_details is None:
            json_details = PayloadScan(PRESCAN_JSON)
        return json_details
    if msgpack_details is None:
        msgpack_details = PayloadScan(PRESCAN_MSGPACK, guard=untyped_guard())
    return msgpack_details


cdef str scan_text(int found, str what, int max_depth, Py_ssize_t max_items, str codec):
    if found == PRESCAN_TOO_DEEP:
        return f"{what}: nested deeper than {max_depth} levels"
    if found == PRESCAN_TOO_MANY_ITEMS:
        return f"{what}: more than {max_items} items"
    if found == PRESCAN_COLLIDING_KEYS:
        return f"{what}: the keys of a map collide, or the values of a set, as only those made for it do"
    if found == PRESCAN_OVERLAPPING_KEYS:
        return f"{what}: long maps lie in keys, or long arrays in each other, too deep to see whether keys collide"
    return f"{what}: malformed {codec}"


cdef str scan_limit(int found):
    """Return the setting of the exceeded limit, to append to the text; empty for other results."""
    if found == PRESCAN_TOO_DEEP:
        return " (Limits.depth)"
    return " (Memory.items)" if found == PRESCAN_TOO_MANY_ITEMS else ""


cdef str scan_hint(int found):
    if found == PRESCAN_TOO_DEEP:
        return "raise Limits.depth on the server, or send a flatter value"
    if found == PRESCAN_TOO_MANY_ITEMS:
        return "raise Memory.items on the server, or send less at a time"
    if found == PRESCAN_COLLIDING_KEYS:
        return "send a list of pairs"
    if found == PRESCAN_OVERLAPPING_KEYS:
        return "send a flatter value"
    return None


@cython.final
cdef class PayloadCoders:
    def __init__(
        self,
        str codec not None,
        int codec_id,
        *,
        tuple encode not None,
        tuple decode not None,
        tuple exact,
        open not None,
        tuple items not None,
        tuple scan not None,
    ):
        self.codec = codec
        self.codec_id = codec_id
        self.encode_arguments, self.encode_result, self.encode_message = encode
        self.decode_result, self.decode_message = decode
        self.exact = exact
        self.open = open
        self.items = items
        self.scan_arguments, self.scan_result, self.scan_message = scan

    def read_by(self, arguments not None, result not None, message not None):
        self.read_arguments, self.read_result, self.read_message = arguments, result, message
        return self


cdef int layout_of(PayloadCoders coders) noexcept:
    cdef int codec_id = coders.codec_id
    if coders.read_arguments is not None:
        return LAYOUT_READ
    if codec_id == PRESCAN_MSGPACK:
        return LAYOUT_MSGPACK
    if codec_id == PRESCAN_JSON:
        return LAYOUT_JSON
    if codec_id == CODEC_RAW:
        return LAYOUT_RAW
    if codec_id == CODEC_PROTOBUF:
        return LAYOUT_MESSAGE
    return LAYOUT_OTHER


cdef int check_layout(
    str method, ArgumentShape shape, PayloadCoders coders, bint by_name, bint is_value
) except -1:
    """Refuse arguments that a codec cannot carry, or cannot carry in this form."""
    cdef int layout = layout_of(coders)
    if by_name and (shape is None or layout > LAYOUT_JSON):
        raise ValueError(f"{method} has no names for codec {coders.codec}")
    if is_value and layout > LAYOUT_JSON:
        raise ValueError(f"{method}: codec {coders.codec} cannot carry arguments as one value, use msgpack or JSON")
    if shape is not None and layout > LAYOUT_OTHER and len(shape.names) > 1:
        raise ValueError(f"{method} has {len(shape.names)} parameters; codec {coders.codec} carries one")
    return 0
