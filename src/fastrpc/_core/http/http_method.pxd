"""A method as the gateway knows it."""

cimport cython

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.payload.marshal cimport Marshal


@cython.final
cdef class HttpMethod:
    cdef:
        # The method; whether it may be called by GET; whether its payloads are protobuf, which HTTP does not carry.
        readonly MethodRoute route
        readonly bint is_safe
        readonly bint is_protobuf

        # Encoders and decoders of its calls by HTTP, by codec, made on first use. The functions that make them, and the
        # JSON of the arguments of a query.
        Marshal _json
        Marshal _msgpack
        object _marshal_of
        object _arguments_of

    cdef Marshal marshal(self, int codec)
    cdef bytes arguments(self, str query)
