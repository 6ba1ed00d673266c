cimport cython

from fastrpc._core.payload.arguments cimport ArgumentShape
from fastrpc._core.payload.hash_flood cimport HashFloodGuard
from fastrpc._core.payload.prescan_protobuf cimport MessageLayout


@cython.final
cdef class PayloadScan:
    cdef:
        # The format and the checks; never change. `layout` exists for protobuf only, `guard` for msgpack and JSON.
        readonly int codec_id
        readonly MessageLayout layout
        readonly HashFloodGuard guard

    # Returns one of the results of `prescan`; raises MemoryError, or the error of a user-defined `==`. Sets `charge`.
    cdef int find(self, object payload, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge) except -1
    cdef int _find(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1
    cdef int _find_guarded(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1


cdef enum:
    # Without a scan a payload up to this size is charged with its bytes: its texts take little.
    LONG_PAYLOAD = 1_024

# Returns the bytes that a payload without a scan takes once decoded: its own, and the growth of its texts.
cdef Py_ssize_t weight_of(int codec_id, object payload) except -1

# Returns the scan of the details of an error, which may be any value.
cdef PayloadScan details_scan(int codec_id)

# Returns the reason of a refusal in words, and a hint for the sender; None without a reason.
cdef str scan_text(int found, str what, int max_depth, Py_ssize_t max_items, str codec)
cdef str scan_limit(int found)
cdef str scan_hint(int found)


cdef enum:
    LAYOUT_MSGPACK  # an array whose first byte tells the length, or a map
    LAYOUT_JSON  # an array or an object
    LAYOUT_READ  # an array or a map of msgpack, made of a payload in another form
    LAYOUT_OTHER  # an array or a map of an installed codec
    LAYOUT_VALUE  # one value, as other protocols send it: the argument, or the arguments by name
    LAYOUT_RAW  # the bytes of the only parameter
    LAYOUT_MESSAGE  # the only parameter, a protobuf message


@cython.final
cdef class PayloadCoders:
    cdef:
        # The codec; the scans of arguments, results and messages before decoding, None if they hold no containers.
        readonly str codec
        readonly int codec_id
        readonly PayloadScan scan_arguments
        readonly PayloadScan scan_result
        readonly PayloadScan scan_message

        # Encode arguments, a result or a message of the caller's stream; decode a result or such a message.
        readonly object encode_arguments
        readonly object encode_result
        readonly object encode_message
        readonly object decode_result
        readonly object decode_message

        # exact[n]: payload of n arguments -> tuple, or None if n arguments do not fit; None as a whole if not prepared.
        readonly tuple exact
        # A payload in another form -> one of msgpack, for the parts above; None if they accept it unchanged.
        readonly object read_arguments
        readonly object read_result
        readonly object read_message

        # payload -> list or dict of items; items[i]: an item -> value of parameter i.
        readonly object open
        readonly tuple items


cdef int layout_of(PayloadCoders coders) noexcept
cdef int check_layout(
    str method, ArgumentShape shape, PayloadCoders coders, bint by_name, bint is_value
) except -1
