"""The parts of an HTTP/2 wire that a link uses: placing of long messages, and the backlog of waiting messages.

Most reads need neither part. Each method then costs the read of a field.
"""

cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Http2Placing(Placing):
    """Receives long messages directly into their final memory."""

    cdef:
        Http2Connection http2
        Http2Pages pages

    cdef char* place(self, Py_ssize_t* room) except? NULL:
        return NULL if self.http2.incoming.data_stream is None else self.http2.place(room)

    cdef int placed(self, Py_ssize_t size) except -1:
        self.http2.placed(size)
        return 0 if self.pages is None else self.pages.end_read()

    cdef object owner(self):
        return self.http2.incoming.sink

    cdef bint completes(self, Py_ssize_t size) except -1:
        return self.http2.completes(size)


@cython.final
cdef class Http2Backlog(Backlog):
    """Messages that wait for the windows of the peer, or for the turn of their stream."""

    cdef:
        Http2Connection http2

    cdef bint pump(self) except -1:
        cdef Http2Connection http2 = self.http2
        if http2.sender.is_waiting():
            http2.pump()
        return http2.sender.is_waiting() or http2.sender.queued_bytes != 0

    cdef int rest(self) noexcept:
        return self.http2.rest()

    cdef int turn_over(self) except -1:
        return self.http2.turn_over()

    cdef int64_t queued(self) except? -1:
        return self.http2.sender.queued_bytes

    cdef int64_t passed(self) except? -1:
        return self.http2.sender.cut_bytes

    cdef int64_t credit(self) except? -1:
        return self.http2.incoming.flow.sending


cdef Placing new_placing(Http2Connection http2, Http2Pages pages):
    cdef Http2Placing made = Http2Placing.__new__(Http2Placing)
    made.http2, made.pages = http2, pages
    return made


cdef Backlog new_backlog(Http2Connection http2):
    cdef Http2Backlog made = Http2Backlog.__new__(Http2Backlog)
    made.http2 = http2
    return made
