"""The state that the pages of one HTTP/2 connection share: the turns of waiting bytes, and their deadlines."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.exchange_times cimport ExchangeTimes
from fastrpc._core.http2.lingering cimport LingeringStreams
from fastrpc._core.server.link cimport Link


@cython.final
cdef class PageTurns:
    cdef:
        # The connection, borrowed. The wire holds the connection and this object, and the connection holds the streams
        # with exchanges; an exchange whose stream is over does not use the connection.
        PyObject* holder

        # `limits`: the limits of heads. `patience_ns`: the time limit for the next piece of a body, and for a client
        # that reads nothing.
        RequestLimits limits
        uint64_t patience_ns
        # The interval of checks for changes that no event reports, such as bytes that a client reads.
        uint64_t look_ns

        # `ready`: a deque of the exchanges whose waiting bytes are processed next; `is_asked`: whether a read for them
        # was requested.
        object ready
        bint is_asked

        # The exchange whose head arrived last in this read, or None. Its body may follow in the same read, so waiting has
        # not begun yet.
        Exchange latest

        # The deadlines of the exchanges whose streams are open.
        ExchangeTimes times

        # The streams that stay half-closed after early responses.
        LingeringStreams lingering

        # Bytes of whole responses that wait for a window.
        int64_t waiting_bytes

    cdef inline Http2Connection http2(self):
        return <Http2Connection>self.holder

    cdef inline Link link(self):
        return <Link>(<Http2Connection>self.holder)._engine

    # Queue an exchange whose waiting bytes are processed at the end of this read, or in a separate read.
    cdef int give(self, Exchange exchange) except -1
