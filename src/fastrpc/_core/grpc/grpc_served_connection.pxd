cimport cython

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


# Return the fields that tell a failure, beside fields of metadata: token, name, value.
cpdef list failure_fields(Failure failure, list sent)


@cython.final
cdef class GrpcServedConnection(EngineServedConnection):
    cdef:
        # The fields of every head, and of the trailers of every success, as the connection's table has them.
        HeaderTemplate head_fields
        HeaderTemplate success_fields

        # The same fields of heads whose messages are JSON; None until one is.
        HeaderTemplate json_head_fields

        # The marshal that was used last, its method and codec.
        MethodRoute last_route
        int last_codec
        Marshal last_marshal

        # The peer as calls by gRPC-Web and Connect show it, by protocol.
        dict peers

    cdef GrpcRequests owner(self, GrpcCall call)
    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1
    cdef int end_with(self, GrpcCall call, Failure failure, list further) except -1
    cdef HeaderTemplate _head_of(self, GrpcCall call)
    cdef int _begin(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _put_head(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _begin_web(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _end_web(self, GrpcRequests engine, GrpcCall call, bytes payload, Failure failure) except -1
    cdef int _answer_web(self, GrpcRequests engine, GrpcCall call, tuple answer) except -1
    cdef int _ended(self, GrpcRequests engine, GrpcCall call, Py_ssize_t size) except -1
