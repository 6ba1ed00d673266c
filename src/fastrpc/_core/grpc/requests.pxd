"""The requests of one connection: heads and DATA become calls."""

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
        # `gate`: the gate that all connections share; `http2`: the HTTP/2 connection. Once a link holds the wire:
        # `link`, borrowed, and `connection`, the object that represents the connection for the gate.
        Gate gate
        Http2Connection http2
        PyObject* link
        LinkedConnection connection

        # The writer of answers.
        GrpcOutcomes outcomes

        # Finds requests by gRPC-Web and Connect (`http.stream_request.StreamRequests`); None if neither is served.
        object web

        # Finds the clients behind trusted proxies (`fastrpc.server.http.forwarded`); None if no proxy is trusted.
        object proxies

        # `pages`: the HTTP requests that are not calls, None if they are refused. `serves_grpc`: whether gRPC is
        # served; if not, calls by gRPC count as requests that are not calls.
        Http2Pages pages
        bint serves_grpc

        # Calls with an incomplete request, or an incomplete message of their stream.
        IncompleteRequests incomplete
        # The call opened last, until more of it arrives. Most calls are complete with the next frame.
        GrpcCall latest
        # An ended call that can be reused.
        GrpcCall spare

    # The wire calls these when a link holds it; when a read is over; when the check of an incomplete request's sender
    # has a verdict; when the connection is over.
    cdef int join(self, PyObject* link) except -1
    cdef int list_latest(self) except -1
    cdef int sender_known(self, GrpcCall call, int verdict) except -1
    cdef int forget_incomplete(self) except -1
