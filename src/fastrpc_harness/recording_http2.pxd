"""A connection of HTTP/2 whose hooks append events to a list, for Python code."""

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport Engine


cdef class RecordingHttp2(StreamHandler):
    cdef:
        Http2Connection http2
        readonly bint is_client

        # `events`: the events so far. `reaction`: called with each event before it is added, or None. It may call
        # methods of the connection.
        public list events
        public object reaction

        # The engine that holds the connection; it has no stream.
        Engine owner

        # Bytes that were received and not consumed.
        bytes _rest

        # Whether long frames are received in place, into the `Assembly` that is the `user` of a stream.
        public bint takes_directly

    cdef int _note(self, object event) except -1
    cdef int _finish(self, Http2Stream stream) except -1
    cdef Http2Stream _stream_of(self, int id)
