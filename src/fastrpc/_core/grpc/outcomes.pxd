"""From the outcomes of calls by gRPC to heads, messages and trailers."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.calls.call cimport Call
from fastrpc._core.grpc.dialect cimport GrpcDialect
from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.link.contract cimport Flow
from fastrpc._core.link.failure cimport Failure


# Return the fields that report a failure, in addition to fields of metadata: token, name, value.
cpdef list failure_fields(Failure failure, list sent)


@cython.final
cdef class GrpcOutcomes(Flow):
    cdef:
        # The wire, borrowed: it holds this object, and only it and its link use it.
        PyObject* wire

        # The compressors that answers may have.
        GrpcDialect dialect

        # The fields of every head, and of the trailers of every success, as the connection's table has them.
        HeaderTemplate head_fields
        HeaderTemplate success_fields

        # The same fields for heads whose messages are JSON; None until such a head is needed.
        HeaderTemplate json_head_fields

    # Outcomes of calls, in `Wire`'s form; an HTTP status for a request that is no gRPC call.
    cdef int answer(self, Call call, bytes payload) except -1
    cdef int fail(self, Call call, Failure failure) except -1
    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1
    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1

    # The parts of an answer.
    cdef GrpcRequests reached(self, GrpcCall call)
    cdef int end_with(self, GrpcCall call, Failure failure, list further) except -1
    cdef int _compressor_of(self, GrpcCall call) except -1
    cdef HeaderTemplate _head_of(self, GrpcCall call)
    cdef int _begin(self, GrpcRequests wire, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _put_head(self, GrpcRequests wire, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _begin_web(self, GrpcRequests wire, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _end_web(self, GrpcRequests wire, GrpcCall call, bytes payload, Failure failure) except -1
    cdef int _answer_web(self, GrpcRequests wire, GrpcCall call, tuple answer) except -1
    cdef int _ended(self, GrpcRequests wire, GrpcCall call, Py_ssize_t size) except -1


cdef GrpcOutcomes new_outcomes(GrpcRequests wire, GrpcDialect dialect)
