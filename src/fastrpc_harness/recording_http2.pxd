"""A connection of HTTP/2 whose hooks are events in a list, in Python's reach."""

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport Engine


cdef class RecordingHttp2(StreamHandler):
    cdef:
        Http2Connection http2
        readonly bint is_client

        # The events so far; called with each one before it counts, or None: it may give orders.
        public list events
        public object reaction

        # The engine that holds it, without a stream.
        Engine owner

        # Bytes that were received and not consumed.
        bytes _rest

        # Whether long frames are received in place: into the assembly that the user of a stream is.
        public bint takes_directly

    cdef int _note(self, object event) except -1
    cdef int _finish(self, Http2Stream stream) except -1
    cdef Http2Stream _stream_of(self, int id)
