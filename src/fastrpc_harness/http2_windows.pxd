cimport cython

from fastrpc._core.http2.stream_table cimport FlowControl, StreamWindows


@cython.final
cdef class FlowedStream:
    cdef:
        # The connection that it belongs to, and its windows.
        readonly FlowControl connection
        StreamWindows windows
