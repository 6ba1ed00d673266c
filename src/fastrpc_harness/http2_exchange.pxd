"""Both sides of unary calls on an HTTP/2 connection, in a C loop: the cost of the HTTP/2 layer."""

cimport cython

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.io.engine cimport Engine


@cython.final
cdef class ExchangingClient(StreamHandler):
    cdef:
        Http2Connection http2
        Engine _owner
        HeaderTemplate _request
        bytes _payload
        list _timeouts
        # The number of answered calls.
        readonly Py_ssize_t answered


@cython.final
cdef class ExchangingServer(StreamHandler):
    cdef:
        Http2Connection http2
        Engine _owner
        HeaderTemplate _head
        HeaderTemplate _trailers
        bytes _payload
