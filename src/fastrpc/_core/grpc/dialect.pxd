"""The words of gRPC for a call, and the forms of calls by gRPC, gRPC-Web and Connect."""

cimport cython

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.http2.frames cimport Http2Settings
from fastrpc._core.link.contract cimport Dialect, Forms
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class GrpcDialect(Dialect):
    cdef:
        # The gate, whose compressors requests may have.
        Gate gate

    cdef bytes encodings(self)


@cython.final
cdef class GrpcForms(Forms):
    cdef:
        Gate gate

        # The settings of the peer.
        Http2Settings settings

        # The marshal that was used last, its method and codec.
        MethodRoute last_route
        int last_codec
        Marshal last_marshal


# Make the forms of a connection, with the settings of its peer.
cdef GrpcForms new_forms(Http2Settings settings, Gate gate)
