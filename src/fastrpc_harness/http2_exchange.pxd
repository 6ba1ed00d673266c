"""Both sides of unary exchanges on a connection of HTTP/2, in a loop of C: what the layer itself costs."""

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
        # Calls that were answered.
        readonly Py_ssize_t answered


@cython.final
cdef class ExchangingServer(StreamHandler):
    cdef:
        Http2Connection http2
        Engine _owner
        HeaderTemplate _head
        HeaderTemplate _trailers
        bytes _payload
