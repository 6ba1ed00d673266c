"""The marshal of one method and one codec: arguments and results <-> payload."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.payload.arguments cimport ArgumentShape
from fastrpc._core.payload.coders cimport PayloadCoders, PayloadScan


@cython.final
cdef class Marshal:
    cdef:
        # The method and the codec, constant. `shape` is None for a method known only by name.
        readonly str method
        readonly int codec_id
        readonly ArgumentShape shape
        readonly PayloadCoders coders

        # Copies from `shape` and `coders` for the fast paths. Without a shape any number of arguments is between
        # _shortest and _positional.
        int _layout
        int _form
        Py_ssize_t _shortest
        Py_ssize_t _positional
        object _encode
        object _encode_result
        object _decode_result
        tuple _exact

        # `_takes_bytes`: the payload is the single argument itself. `by_name`: arguments are always sent by name, each
        # name once, and results contain no number that JSON lacks.
        bint _takes_bytes
        readonly bint by_name

        # The scans of payloads before decoding, None for no scan, and the limits of the scans. `_scan_opened` is for
        # arguments that are not positional: they may contain containers even if the types of the arguments do not.
        PayloadScan _scan_arguments
        PayloadScan _scan_opened
        PayloadScan _scan_result
        PayloadScan _scan_message
        int _depth
        Py_ssize_t _item_limit

        # The bytes to charge for the last decoded arguments or message: the payload, 72 for each scanned container, and
        # the growth of long texts.
        readonly Py_ssize_t charge

        # Whether the last decoded arguments, sent by name, were accepted as a map; then a refusal concerns a value in
        # it.
        readonly bint was_opened

    # Return bytes. Raise TypeError, like a local call, if the arguments do not fit; raise EncodeError if an argument
    # cannot be encoded. `kwargs` may be None.
    cpdef object encode_arguments(self, tuple args, dict kwargs)

    # Like `encode_arguments`, but also set `names` to the number of the given names for the REQUEST (ParameterNames).
    cdef object encode_call(self, tuple args, dict kwargs, uint64_t* names)
    cdef uint64_t names_at(self, Py_ssize_t count) noexcept

    # Return a tuple (exactly this type) of positional arguments, or BoundArguments. Raise CallError with
    # INVALID_ARGUMENT or RESOURCE_EXHAUSTED, processed "no", and with the parameter and the expected type in its text.
    cpdef object decode_arguments(self, object payload)

    # Return bytes; raise EncodeError with the method. In a server stream this encodes one message.
    cpdef object encode_result(self, object value)

    # Return the value; raise DecodeError with the method and the place. In a server stream this decodes one message.
    cpdef object decode_result(self, object payload)

    # One message of a client stream, with the errors of arguments.
    cpdef object encode_message(self, object value)
    cpdef object decode_message(self, object payload)

    # Raise TypeError if `payload`, the encoded `value`, cannot be decoded as a result.
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
