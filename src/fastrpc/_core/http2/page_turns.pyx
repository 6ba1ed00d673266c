"""The connection of the pages of HTTP/2, the turns of their bytes that wait, and their instants."""

from collections import deque

cimport cython

from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.io.engine cimport ByteStream


@cython.final
cdef class PageTurns:
    """The turns of requests whose bytes wait on one connection."""

    cdef int give(self, Exchange exchange) except -1:
        cdef Http2Connection http2 = self.http2()
        cdef PyObject* below = http2.stream_below()
        self.ready.append(exchange)
        if below is not NULL and not (http2.engine().is_reading or self.is_asked):
            self.is_asked = True
            # As after a deferred read: the input has its slice of the loop, like the input of other connections.
            (<ByteStream>below).hold_input()
            (<ByteStream>below).release_input()
        return 0


cdef PageTurns new_turns(RequestLimits limits, Http2Connection http2, LingeringStreams lingering):
    cdef PageTurns turns = PageTurns.__new__(PageTurns)
    turns.holder = <PyObject*>http2
    turns.limits = limits
    turns.lingering = lingering
    turns.patience_ns = nanoseconds(limits.body_idle_seconds)
    turns.look_ns = turns.patience_ns // 4 + 1
    turns.ready = deque()
    turns.times = ExchangeTimes()
    return turns
