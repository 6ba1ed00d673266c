cimport cython

from fastrpc._core.payload.arguments cimport ArgumentShape
from fastrpc._core.payload.hash_flood cimport HashFloodGuard
from fastrpc._core.payload.prescan_protobuf cimport MessageLayout


@cython.final
cdef class PayloadScan:
    cdef:
        # The format and the checks, constant. `layout` exists only for protobuf, `guard` only for msgpack and JSON.
        readonly int codec_id
        readonly MessageLayout layout
        readonly HashFloodGuard guard

    # Return one of the results of `prescan`, and set `charge`. Raise MemoryError, or an error of a user-defined `==`.
    cdef int find(self, object payload, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge) except -1
    cdef int _find(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1
    cdef int _find_guarded(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1


cdef enum:
    # A payload that is not scanned and has at most this size is charged with its size: its texts grow little.
    LONG_PAYLOAD = 1_024

# Return the bytes to charge for a payload that is not scanned: its size, and the growth of its texts when decoded.
cdef Py_ssize_t weight_of(int codec_id, object payload) except -1

# Return the scan for the details of an error, which may be any value.
cdef PayloadScan details_scan(int codec_id)

# `scan_text` returns the text of a refusal, `scan_limit` the exceeded setting, to append to the text, `scan_hint` a
# hint for the sender, or None.
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
        # `codec`, `codec_id`: the codec and its number. The scans run before arguments, results and messages are
        # decoded; a scan is None if these cannot have containers.
        readonly str codec
        readonly int codec_id
        readonly PayloadScan scan_arguments
        readonly PayloadScan scan_result
        readonly PayloadScan scan_message

        # Functions that encode arguments, a result, a message of the caller's stream; that decode a result, such a
        # message.
        readonly object encode_arguments
        readonly object encode_result
        readonly object encode_message
        readonly object decode_result
        readonly object decode_message

        # exact[n] decodes a payload of n arguments to a tuple; it is None if n arguments do not fit. `exact` is None if
        # this is not prepared.
        readonly tuple exact
        # Functions that convert a payload in another form to msgpack, for the functions above; None if these accept the
        # payload.
        readonly object read_arguments
        readonly object read_result
        readonly object read_message

        # `open` decodes a payload to a list or dict of items; items[i] decodes an item to the value of parameter i.
        readonly object open
        readonly tuple items


cdef int layout_of(PayloadCoders coders) noexcept
cdef int check_layout(
    str method, ArgumentShape shape, PayloadCoders coders, bint by_name, bint is_value
) except -1
