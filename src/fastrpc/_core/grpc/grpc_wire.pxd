"""The server's side of gRPC: requests into the gate, outcomes into frames."""

cimport cython

from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.grpc.outcomes cimport GrpcOutcomes
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.link.contract cimport Wire
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport LinkedConnection


@cython.final
cdef class GrpcWire(Wire):
    cdef:
        # The gate that all connections share; this connection in the form in which the gate knows it.
        Gate gate
        LinkedConnection connection

        # The connection of HTTP/2, whose handler has the requests; pages, the requests that are no calls, or None.
        readonly Http2Connection http2
        GrpcRequests requests
        Http2Pages pages

        # Writes answers to calls; it is the `flow` of the wire.
        GrpcOutcomes outcomes

        # Bytes of header blocks and tables, counted for the connection.
        Py_ssize_t counted_bytes

    cdef int _serve(self, Pages pages) except -1
    cdef int _add_parts(self) except -1
    cdef int _count_blocks(self, Py_ssize_t size) except -1
