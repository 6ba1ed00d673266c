# Arguments and results of one method <-> payload, prepared for one codec.

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.payload.parameter_names cimport ParameterNames
from fastrpc._core.payload.payload_scan cimport PayloadScan


@cython.final
cdef class BoundArguments:
    cdef:
        # A handler is called as handler(*args, **kwargs) with these; positions alone would not do.
        readonly tuple args
        readonly dict kwargs


@cython.final
cdef class ArgumentShape:
    cdef:
        # Parameters that travel, in order; the first `positional` may be given by position, the first
        # `positional_only` of them only so. required[i] says that names[i] has no default.
        readonly tuple names
        readonly tuple required
        readonly Py_ssize_t positional
        readonly Py_ssize_t positional_only

        # Fewest positions that do alone; above `positional` if a keyword-only parameter is required.
        readonly Py_ssize_t shortest

        # The numbers of `names` for a REQUEST; the positions of old names.
        readonly ParameterNames told
        readonly dict renamed

        # Called with (args, kwargs) that do not fit; raises the TypeError of a local call.
        readonly object refuse


@cython.final
cdef class PayloadCoders:
    cdef:
        # The codec, and the scans of arguments, results and messages before decoding; None if they hold no containers.
        readonly str codec
        readonly int codec_id
        readonly PayloadScan scan_arguments
        readonly PayloadScan scan_result
        readonly PayloadScan scan_message

        # value -> payload, and payload -> value of the result and of a message the caller streams.
        readonly object encode
        readonly object decode_result
        readonly object decode_message

        # exact[n]: payload of n arguments -> tuple, or None where n do not fit; None if not prepared.
        readonly tuple exact
        # payload -> list or dict of items; items[i]: one of those -> value of parameter i.
        readonly object open
        readonly tuple items


@cython.final
cdef class Marshal:
    cdef:
        # Which method and codec this serves; never changes. `shape` is None for a method known only by name.
        readonly str method
        readonly int codec_id
        readonly ArgumentShape shape
        readonly PayloadCoders coders

        # What the fast paths need of the two above. Without a shape any n is in _shortest ... _positional.
        int _layout
        Py_ssize_t _shortest
        Py_ssize_t _positional
        object _encode
        object _decode_result
        tuple _exact

        # Whether a payload is, untouched, the one argument.
        bint _takes_bytes

        # How payloads are scanned before they are decoded, None: not at all; and the limits. Where the types of the
        # arguments hold no containers, those that are no row of positions may all the same: they have _scan_opened.
        PayloadScan _scan_arguments
        PayloadScan _scan_opened
        PayloadScan _scan_result
        PayloadScan _scan_message
        int _depth
        Py_ssize_t _item_limit

        # Bytes to charge for the arguments decoded last: their own, and 72 for each container scanned.
        readonly Py_ssize_t charge

    # bytes; TypeError as for a local call when the arguments do not fit, EncodeError when one has no
    # payload. `kwargs` may be None.
    cpdef object encode_arguments(self, tuple args, dict kwargs)

    # The same; `names` is set to what the REQUEST tells of the positions given.
    cdef object encode_call(self, tuple args, dict kwargs, uint64_t* names)
    cdef uint64_t names_at(self, Py_ssize_t count) noexcept

    # A tuple (exactly this type) of positions, or BoundArguments; CallError INVALID_ARGUMENT or
    # RESOURCE_EXHAUSTED, processed "no", naming the parameter and what was expected.
    cpdef object decode_arguments(self, object payload)

    # bytes; EncodeError naming the method. For a server stream: one message.
    cpdef object encode_result(self, object value)

    # The value; DecodeError naming method and place. For a server stream: one message.
    cpdef object decode_result(self, object payload)

    # One message of a client stream: bytes or EncodeError; the value or CallError as for arguments.
    cpdef object encode_message(self, object value)
    cpdef object decode_message(self, object payload)

    # Raise TypeError if `payload`, which is this value encoded, does not hold a result.
    cdef int check_result(self, object value, bytes payload) except -1

    cdef object _encode_slowly(self, tuple args, dict kwargs, uint64_t* names)
    cdef object _encode_by_name(self, tuple args, dict kwargs, uint64_t* names)
    cdef object _encode_untyped(self, tuple args, dict kwargs)
    cdef object _encode_single(self, object value, str part)
    cdef object _decode_slowly(self, object payload)
    cdef object _decode_exactly(self, object payload)
    cdef object _decode_single(self, object payload)
    cdef object _decode_list(self, object items)
    cdef object _decode_map(self, dict items)
    cdef Py_ssize_t _position_of(self, object key) except -2
    cdef object _item(self, Py_ssize_t at, object item)
    cdef object _bind(self, list values)
    cdef int _refuse_long_map(self, object payload) except -1
    cdef int _scan_or_refuse(self, PayloadScan scan, object payload, str what) except -1
    cdef bint takes_details(self, bytes payload, int codec_id) except -1
