"""The streams of a server's connection whose end we sent, and whose clients may send on for a while."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_table cimport Http2Stream


@cython.final
cdef class LingeringStreams:
    cdef:
        # The connection, borrowed: the wire holds it and this object.
        PyObject* holder

        # The instant of each stream that lingers. All have the same time (`Timeouts.linger`): the first one is due first.
        dict instants

    cdef inline Http2Connection http2(self):
        return <Http2Connection>self.holder

    # Before our end of a stream: the end resets the stream only when the client has had time for its own end.
    cdef int linger(self, Http2Stream stream) except -1

    # Called before the end of an early answer, with the same effect: the rest of the body is dropped, unless it is
    # known to be long and the request is not refused: clients such as curl 7 send on after a success, and lose a refusal
    # by a reset. Received bytes give their credit back; the side calls `took` for DATA that still comes.
    cdef int spare_rest(self, Http2Stream stream, bint is_refused) except -1

    # Forget a stream, which is over.
    cdef int remove(self, Http2Stream stream) except -1

    # Reset the streams that are due; return the next instant, 0 = none.
    cdef uint64_t check(self, uint64_t now) except? 0


cdef LingeringStreams new_lingering(Http2Connection http2)
