"""The budget of idle work of a connection of HTTP/2 (PROTOCOL.md 9)."""

from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.server.link cimport Link


def idle_work(Link link not None):
    cdef GrpcRequests wire = <GrpcRequests?>link.wire
    return wire.control.idle_work.left // wire.control.idle_work.period
