"""The coders of msgpack payloads that are one `bytes` value."""

cimport cython


@cython.final
cdef class BytesDecoder:
    cdef:
        # The decoder of payloads that are not exactly one `bytes` value; never changes.
        readonly object otherwise


@cython.final
cdef class BytesEncoder:
    cdef:
        # The encoder of all other values; never changes.
        readonly object otherwise
