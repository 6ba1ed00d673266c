"""A method as the gateway knows it."""

cimport cython

from fastrpc._core.calls.call cimport Route
from fastrpc._core.payload.marshal cimport Marshal


@cython.final
cdef class HttpMethod:
    cdef:
        # The method; whether it may be called by GET; whether its payloads are protobuf, which HTTP does not carry.
        readonly Route route
        readonly bint is_safe
        readonly bint is_protobuf

        # What encodes and decodes its calls by HTTP, by codec; made on first use. What makes both of them, and arguments
        # in JSON of a query.
        Marshal _json
        Marshal _msgpack
        object _marshal_of
        object _arguments_of

    cdef Marshal marshal(self, int codec)
    cdef bytes arguments(self, str query)
