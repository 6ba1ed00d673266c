cimport cython

from fastrpc._core.calls.call cimport Call
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.grpc.asking_connection cimport AskingConnection
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport Engine


@cython.final
cdef class GrpcCalls(CallingPart):
    cdef GrpcClient engine(self)
    cdef Http2Connection http2(self)
    cdef Http2Stream stream_of(self, Call call)
    cdef int _check_metadata(self, Call call) except -1


@cython.final
cdef class GrpcClient(Engine):
    cdef:
        # The connection of HTTP/2; its handler, with our calls.
        readonly Http2Connection http2
        AskingConnection asking
