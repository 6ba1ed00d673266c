"""gRPC's error texts and statuses for a call, and the forms of calls by gRPC, gRPC-Web and Connect."""

cimport cython

from fastrpc._core.http2.frames cimport Http2Settings
from fastrpc._core.link.contract cimport Dialect, Forms
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class GrpcDialect(Dialect):
    cdef:
        # The gate. It has the compressors that requests may use.
        Gate gate

    cdef bytes encodings(self)


# Make the forms of a connection from the settings of its peer.
cdef Forms new_forms(Http2Settings settings, Gate gate)
