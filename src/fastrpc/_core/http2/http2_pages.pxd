"""The requests of one HTTP/2 connection that are pages: requests other than calls."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.page_turns cimport PageTurns
from fastrpc._core.http2.stream_table cimport Http2Stream


@cython.final
cdef class Http2Pages:
    cdef:
        # `pages`: the pages, which answer requests; `turns`: the turns of requests whose bytes wait.
        readonly Pages pages
        PageTurns turns

        # `exchanges`: the exchanges whose streams are open; `ended`: the exchanges whose streams are over, and whose
        # applications are still to be notified.
        set exchanges
        list ended

        # `_drains`: whether the connection drained at the last check; `_tunnels_end`: whether tunnels end with their
        # last calls, since the connection drains or a credential has expired.
        bint _drains
        bint _tunnels_end

    # Called by the wire for the frames of streams that are not calls.
    cdef int head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1
    cdef int data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1
    cdef int reset(self, Http2Stream stream) except -1
    cdef int sendable(self, Http2Stream stream) except -1
    cdef int over(self, Http2Stream stream) except -1

    # Called by the wire at the end of a read, for deadlines, and at the end of the connection.
    cdef int end_read(self) except -1
    cdef uint64_t check(self, uint64_t now) except? 0
    cdef int end(self, str text) except -1
    cdef int say_goodbye(self, str text) except -1
    cdef int lost(self) except -1
    cdef bint _ends_tunnels(self, uint64_t now) except -1
