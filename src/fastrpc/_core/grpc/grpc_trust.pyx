"""The credit of strangers on a connection of HTTP/2: the first authenticated call gives it the whole window."""

cimport cython

from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.http2.stream_table cimport Http2Stream


@cython.final
cdef class GrpcTrust:
    """Tells whether the client of a connection is known."""

    cdef int admit(self, ServerCall call) except -1:
        cdef Http2Stream stream = (<GrpcCall>call).http2_stream if type(call) is GrpcCall else None
        if call.identity is not None:
            self.is_given = True
            (<Http2Connection>self.http2).widen()
        return 0 if stream is None else (<Http2Connection>self.http2).release(stream)


cdef GrpcTrust new_trust(Http2Connection http2, bint is_given):
    cdef GrpcTrust made = GrpcTrust.__new__(GrpcTrust)
    made.http2 = <PyObject*>http2
    made.is_given = is_given
    return made
