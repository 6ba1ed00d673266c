cimport cython

from fastrpc._core.http2.stream_table cimport FlowControl, StreamWindows


@cython.final
cdef class FlowedStream:
    cdef:
        # `connection`: the flow control of its connection; `windows`: the windows of the stream.
        readonly FlowControl connection
        StreamWindows windows
