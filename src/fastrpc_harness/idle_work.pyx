"""The budget of idle work of a connection of HTTP/2 (PROTOCOL.md 9)."""

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.server.link cimport Link


def idle_work(Link link not None):
    cdef Http2Connection http2 = (<object>link.wire).http2
    return http2.control.idle_work.left // http2.control.idle_work.period
