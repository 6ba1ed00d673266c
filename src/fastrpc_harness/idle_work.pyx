"""The budget of idle work of a connection of HTTP/2 (PROTOCOL.md 9)."""

from fastrpc._core.grpc.grpc_wire cimport GrpcWire
from fastrpc._core.server.link cimport Link


def idle_work(Link link not None):
    cdef GrpcWire wire = <GrpcWire?>link.wire
    return wire.http2.control.idle_work.left // wire.http2.control.idle_work.period
