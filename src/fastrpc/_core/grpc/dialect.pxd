"""The words of gRPC for a call, and the forms of calls by gRPC, gRPC-Web and Connect."""

cimport cython

from fastrpc._core.http2.frames cimport Http2Settings
from fastrpc._core.link.contract cimport Dialect, Forms
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class GrpcDialect(Dialect):
    cdef:
        # The gate, whose compressors requests may have.
        Gate gate

    cdef bytes encodings(self)


# Make the forms of a connection, with the settings of its peer.
cdef Forms new_forms(Http2Settings settings, Gate gate)
