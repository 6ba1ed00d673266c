# Arguments and results of one method <-> payload, prepared for one codec.

cimport cython


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

        # Positions that must be given when nothing is given by name; -1 if a keyword-only one is required too.
        readonly Py_ssize_t shortest


@cython.final
cdef class PayloadCoders:
    cdef:
        # value -> bytes, and bytes -> value of the result, of a stream's sent message, of anything.
        readonly object encode
        readonly object decode_result
        readonly object decode_message
        # exact[n]: payload of n arguments -> tuple, or None where n arguments do not fit; () if not prepared.
        readonly tuple exact
        # payload -> list or dict of items; items[i]: one of those -> value of parameter i.
        readonly object open
        readonly tuple items


@cython.final
cdef class Marshal:
    cdef:
        # Which method and codec this serves; never changes.
        readonly str method
        readonly int codec_id
        readonly ArgumentShape shape
        readonly PayloadCoders coders

        # Copies of what the fast paths need: fields of `shape` and `coders`.
        object _encode
        object _decode_result
        tuple _exact
        Py_ssize_t _most
        Py_ssize_t _least
        int _layout

        # Which payloads are scanned before they are decoded, and with what limits.
        bint _scan_arguments
        bint _scan_result
        bint _scan_message
        int _depth
        Py_ssize_t _item_limit

        # Bytes to charge for the payload scanned last: its own and 72 for each container; valid until the next decode.
        readonly Py_ssize_t charge

        # Called with (args, kwargs) that do not fit the signature; raises the TypeError of a local call.
        object _refuse

    # bytes; TypeError as for a local call when the arguments do not fit, EncodeError when one cannot be encoded.
    # `kwargs` may be None.
    cpdef object encode_arguments(self, tuple args, dict kwargs)

    # A tuple (exactly this type) of positions, or BoundArguments; CallError INVALID_ARGUMENT or RESOURCE_EXHAUSTED,
    # processed "no", naming the parameter and what was expected.
    cpdef object decode_arguments(self, object payload)

    # bytes; EncodeError naming the method. For a server stream: one message.
    cpdef object encode_result(self, object value)

    # The value; DecodeError naming method and place. For a server stream: one message.
    cpdef object decode_result(self, object payload)

    # One message of a client stream: bytes or EncodeError, the value or CallError as for arguments.
    cpdef object encode_message(self, object value)
    cpdef object decode_message(self, object payload)
