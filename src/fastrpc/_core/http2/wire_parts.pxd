"""The parts of an HTTP/2 wire that a link uses: placing of long messages, and the backlog of waiting messages."""

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.link.contract cimport Backlog, Placing


# Make the parts for a connection. `pages` are its pages, whose read ends after each placed piece, or None.
cdef Placing new_placing(Http2Connection http2, Http2Pages pages)
cdef Backlog new_backlog(Http2Connection http2)
