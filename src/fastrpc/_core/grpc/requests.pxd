"""From heads and DATA to calls: the requests of one connection."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.incomplete_requests cimport IncompleteRequests
from fastrpc._core.grpc.outcomes cimport GrpcOutcomes
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport LinkedConnection


@cython.final
cdef class GrpcRequests(StreamHandler):
    cdef:
        # The gate that all connections share; the connection. Once a link holds the wire: the link, borrowed, and the
        # connection in the form in which the gate knows it.
        Gate gate
        Http2Connection http2
        PyObject* link
        LinkedConnection connection

        # Writes the answers to refused requests.
        GrpcOutcomes outcomes

        # Finds requests by gRPC-Web and Connect (`http.stream_request.StreamRequests`); None: neither is served.
        object web

        # Finds the clients of trusted proxies (`fastrpc.server.http.forwarded`); None: none are trusted.
        object proxies

        # The requests of HTTP that are no calls, None: they are refused. Whether gRPC is served; if not, its calls are
        # among these requests.
        Http2Pages pages
        bint serves_grpc

        # Calls with an incomplete request, or an incomplete message of their stream.
        IncompleteRequests incomplete
        # The last opened call, until more of it arrives: most calls are complete with the next frame.
        GrpcCall latest
        # An ended call that can be reused.
        GrpcCall spare

    # For the wire: a link holds it; nothing more was read; the sender of an incomplete request has been judged; the
    # connection is over.
    cdef int join(self, PyObject* link) except -1
    cdef int list_latest(self) except -1
    cdef int sender_known(self, GrpcCall call, int verdict) except -1
    cdef int forget_incomplete(self) except -1
