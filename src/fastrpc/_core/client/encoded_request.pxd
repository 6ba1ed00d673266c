cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport MethodRoute


@cython.final
cdef class EncodedRequest:
    cdef:
        # `route`: the route of the call. `names`: the hash of the names of its arguments. `payload`: the encoded
        # arguments.
        MethodRoute route
        uint64_t names
        bytes payload
        # `is_packed`: whether the compression has ended. `is_smaller`: whether it made the payload smaller.
        bint is_packed
        bint is_smaller


cdef EncodedRequest new_encoded(
    MethodRoute route, uint64_t names, bytes payload, bint is_packed=*, bint is_smaller=*
)
