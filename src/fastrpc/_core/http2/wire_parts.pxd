"""The parts of a wire of HTTP/2 that a link asks: long messages in place, and messages that wait."""

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.link.contract cimport Backlog, Placing


# Make the parts for a connection; `pages`: its pages, whose read ends with each piece, or None.
cdef Placing new_placing(Http2Connection http2, Http2Pages pages)
cdef Backlog new_backlog(Http2Connection http2)
