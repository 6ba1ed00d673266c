"""The encoded arguments of a call: an attempt that compresses them in slices keeps them here until it sends them."""

cimport cython


@cython.final
cdef class EncodedRequest:
    """The encoded arguments of a call; compressed, once their compression has ended."""


cdef EncodedRequest new_encoded(
    MethodRoute route, uint64_t names, bytes payload, bint is_packed=False, bint is_smaller=False
):
    """Return the arguments of a call by this route, with the hash of their names."""
    cdef EncodedRequest encoded = EncodedRequest.__new__(EncodedRequest)
    encoded.route = route
    encoded.names = names
    encoded.payload = payload
    encoded.is_packed, encoded.is_smaller = is_packed, is_smaller
    return encoded
