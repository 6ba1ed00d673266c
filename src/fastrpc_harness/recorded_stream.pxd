cimport cython

from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc_harness.recording cimport RecordingConnection


@cython.final
cdef class RecordedStream(StreamChannel):
    cdef:
        # `_connection`: the connection of the call. `has_full_output`: whether its output counts as full.
        RecordingConnection _connection
        public bint has_full_output

        # `decoder`: called by `decode` with each payload. `idle_callback`: called after each wait that took too long;
        # `idle_waits`: the number of these waits.
        public object decoder
        public object idle_callback
        readonly int idle_waits
