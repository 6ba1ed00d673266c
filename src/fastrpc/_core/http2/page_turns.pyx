"""The state that the pages of one HTTP/2 connection share: the turns of waiting bytes, and their deadlines."""

from collections import deque

cimport cython

from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.io.engine cimport ByteStream


@cython.final
cdef class PageTurns:
    """The turns of the requests of one connection whose bytes wait."""

    def __cinit__(self, RequestLimits limits not None, Http2Connection http2 not None, LingeringStreams lingering not None):
        self.holder = <PyObject*>http2
        self.limits = limits
        self.lingering = lingering
        self.patience_ns = nanoseconds(limits.body_idle_seconds)
        self.look_ns = self.patience_ns // 4 + 1
        self.ready = deque()
        self.times = ExchangeTimes()

    cdef int give(self, Exchange exchange) except -1:
        cdef Http2Connection http2 = self.http2()
        cdef PyObject* below = http2.stream_below()
        self.ready.append(exchange)
        if below is not NULL and not (http2.engine().is_reading or self.is_asked):
            self.is_asked = True
            # Request a read, as after a deferred one, so that the bytes get a slice of the loop, like other connections.
            (<ByteStream>below).hold_input()
            (<ByteStream>below).release_input()
        return 0
