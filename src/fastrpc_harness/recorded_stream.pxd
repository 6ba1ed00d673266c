cimport cython

from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc_harness.recording cimport RecordingConnection


@cython.final
cdef class RecordedStream(StreamChannel):
    cdef:
        # The connection of the call, and whether its output counts as full.
        RecordingConnection _connection
        public bint has_full_output

        # Called by `decode` with each payload; called when a wait took too long, and how often it was.
        public object decoder
        public object idle_callback
        readonly int idle_waits
