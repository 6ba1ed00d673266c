"""The parts of a wire of HTTP/2 that a link asks: long messages in place, and messages that wait."""

cimport cython

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.link.contract cimport Backlog, Placing


@cython.final
cdef class Http2Placing(Placing):
    cdef:
        # The connection of the wire; its pages, whose read ends with each piece, or None.
        Http2Connection http2
        Http2Pages pages


@cython.final
cdef class Http2Backlog(Backlog):
    cdef:
        # The connection of the wire.
        Http2Connection http2


cdef Http2Placing new_placing(Http2Connection http2, Http2Pages pages)
cdef Http2Backlog new_backlog(Http2Connection http2)
