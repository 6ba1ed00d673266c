"""The marshal of one method and one codec: arguments and results <-> payload."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.payload.arguments cimport ArgumentShape
from fastrpc._core.payload.coders cimport PayloadCoders, PayloadScan


@cython.final
cdef class Marshal:
    cdef:
        # The method and the codec; never change. `shape` is None for a method known only by name.
        readonly str method
        readonly int codec_id
        readonly ArgumentShape shape
        readonly PayloadCoders coders

        # Copies from shape and coders for the fast paths. Without a shape any n is in _shortest ... _positional.
        int _layout
        int _form
        Py_ssize_t _shortest
        Py_ssize_t _positional
        object _encode
        object _encode_result
        object _decode_result
        tuple _exact

        # Whether the single argument is the payload itself; whether arguments are always by name, each name once, and
        # results hold no number that JSON lacks.
        bint _takes_bytes
        readonly bint by_name

        # The scans of payloads before decoding, None for no scan; and their limits. _scan_opened is for arguments that
        # are not positional: they may hold containers even if the types of the arguments do not.
        PayloadScan _scan_arguments
        PayloadScan _scan_opened
        PayloadScan _scan_result
        PayloadScan _scan_message
        int _depth
        Py_ssize_t _item_limit

        # Bytes to charge for the last decoded arguments or message: the payload, 72 for each scanned container, and the
        # growth of long texts.
        readonly Py_ssize_t charge

        # Whether the arguments decoded last, by name, were accepted as a map: a refusal is about its parts.
        readonly bint was_opened

    # Returns bytes; raises TypeError as a local call if the arguments do not fit, EncodeError if one cannot be
    # encoded. `kwargs` may be None.
    cpdef object encode_arguments(self, tuple args, dict kwargs)

    # As `encode_arguments`; also sets `names` to the hash of the given positions for the REQUEST.
    cdef object encode_call(self, tuple args, dict kwargs, uint64_t* names)
    cdef uint64_t names_at(self, Py_ssize_t count) noexcept

    # Returns a tuple (exactly this type) of positions, or BoundArguments; raises CallError INVALID_ARGUMENT or
    # RESOURCE_EXHAUSTED, processed "no", which names the parameter and the expected type.
    cpdef object decode_arguments(self, object payload)

    # Returns bytes; raises EncodeError with the method. For a server stream: one message.
    cpdef object encode_result(self, object value)

    # Returns the value; raises DecodeError with method and place. For a server stream: one message.
    cpdef object decode_result(self, object payload)

    # One message of a client stream; errors as for arguments.
    cpdef object encode_message(self, object value)
    cpdef object decode_message(self, object payload)

    # Raises TypeError if `payload`, the encoded `value`, does not decode as a result.
    cdef int check_result(self, object value, bytes payload) except -1

    cdef object _encode_slowly(self, tuple args, dict kwargs, uint64_t* names)
    cdef object _encode_by_name(self, tuple args, dict kwargs, uint64_t* names)
    cdef object _encode_value(self, list values, tuple args, dict kwargs)
    cdef object _encode_untyped(self, tuple args, dict kwargs)
    cdef object _encode_single(self, object encode, object value, str part)
    cdef object _decode_slowly(self, object payload)
    cdef object _decode_read(self, bytes plain)
    cdef object _decode_opened(self, object payload)
    cdef object _decode_value(self, object payload)
    cdef object _decode_exactly(self, object payload)
    cdef object _decode_named(self, object payload)
    cdef object _decode_single(self, object payload)
    cdef object _decode_list(self, object items)
    cdef object _decode_map(self, dict items)
    cdef object _item(self, Py_ssize_t at, object item)
    cdef object _bind(self, list values)
    cdef int _refuse_long_map(self, object payload) except -1
    cdef int _scan_or_refuse(self, PayloadScan scan, object payload, str what) except -1
    cdef bint takes_details(self, bytes payload, int codec_id) except -1
