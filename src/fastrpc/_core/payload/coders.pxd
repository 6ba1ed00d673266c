cimport cython

from fastrpc._core.payload.arguments cimport ArgumentShape
from fastrpc._core.payload.prescan cimport PayloadScan

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

        # arguments, a result, a message of the caller's stream -> payload; payload -> result; payload -> such a message.
        readonly object encode_arguments
        readonly object encode_result
        readonly object encode_message
        readonly object decode_result
        readonly object decode_message

        # exact[n]: payload of n arguments -> tuple, or None if n arguments do not fit; None as a whole if not prepared.
        readonly tuple exact
        # A payload in another form -> one of msgpack, which the parts above take; None where they take it as it is.
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
