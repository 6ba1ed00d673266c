"""The arguments of a call, encoded: an attempt that compresses them in slices keeps them here until it sends them."""

cimport cython


@cython.final
cdef class EncodedRequest:
    """The arguments of a call, encoded, and compressed once that is done."""


cdef EncodedRequest new_encoded(Call call, bytes payload, bint is_packed=False, bint is_smaller=False):
    """Return the arguments of a call in the names and the codec of its route."""
    cdef EncodedRequest encoded = EncodedRequest.__new__(EncodedRequest)
    encoded.route = call.route
    encoded.names = call.names
    encoded.payload = payload
    encoded.is_packed = is_packed
    encoded.is_smaller = is_smaller
    return encoded
