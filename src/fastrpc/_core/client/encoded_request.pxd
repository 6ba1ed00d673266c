cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport MethodRoute


@cython.final
cdef class EncodedRequest:
    cdef:
        # The encoded arguments of a call by this route, and the hash of their names; whether the compression is over, and
        # whether it made them smaller.
        MethodRoute route
        uint64_t names
        bytes payload
        bint is_packed
        bint is_smaller


cdef EncodedRequest new_encoded(
    MethodRoute route, uint64_t names, bytes payload, bint is_packed=*, bint is_smaller=*
)
