"""The streams that a server has ended on its side, and on which clients may still send for a while."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_table cimport Http2Stream


@cython.final
cdef class LingeringStreams:
    cdef:
        # The connection, borrowed, as the wire holds it and this object.
        PyObject* holder

        # When each lingering stream is reset. The time is the same for all (`Timeouts.linger`), so the first is due first.
        dict instants

    cdef inline Http2Connection http2(self):
        return <Http2Connection>self.holder

    # Called before a stream is ended on our side: it is then reset only after the client has had time to end its side.
    cdef int linger(self, Http2Stream stream) except -1

    # Called before the end of an answer that does not wait for the body: call `linger`, and drop the rest of the body. A
    # body that is known to be long is not spared, unless the request is refused: clients such as curl 7 would send all of
    # it after a success, and would lose a refusal by a reset. The credit of received bytes is returned; for DATA that
    # still arrives the user calls `took`.
    cdef int spare_rest(self, Http2Stream stream, bint is_refused) except -1

    # Remove a stream that is over.
    cdef int remove(self, Http2Stream stream) except -1

    # Reset the streams that are due; return when the next one is due, 0 = none.
    cdef uint64_t check(self, uint64_t now) except? 0


cdef LingeringStreams new_lingering(Http2Connection http2)
