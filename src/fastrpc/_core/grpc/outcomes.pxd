"""The outcomes of calls by gRPC, written as heads, messages and trailers."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.grpc.dialect cimport GrpcDialect
from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.incomplete_requests cimport IncompleteRequests
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.http2.lingering cimport LingeringStreams
from fastrpc._core.link.contract cimport Flow
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.link cimport LinkedConnection


# Return the fields (token, name, value) that report a failure; `sent` are the fields of the metadata.
cpdef list failure_fields(Failure failure, list sent)


@cython.final
cdef class GrpcOutcomes(Flow):
    cdef:
        # `http2`: the HTTP/2 connection of the wire. `connection`: the object that represents it for the gate; None
        # before a link holds the wire.
        Http2Connection http2
        LinkedConnection connection

        # The calls with an incomplete request or message. A call is removed when its answer has ended.
        IncompleteRequests incomplete

        # The streams that stay half-closed after early answers, pages included.
        LingeringStreams lingering

        # gRPC's error texts and compressors.
        GrpcDialect dialect

        # HPACK templates. `head_fields`: the fields of every head. `success_fields`: the trailers of every success.
        HeaderTemplate head_fields
        HeaderTemplate success_fields

        # The fields of heads of calls with JSON messages; None until such a head is needed.
        HeaderTemplate json_head_fields

        # Bytes of answers without a stream that wait for a window of the peer.
        int64_t waiting_bytes

    # The outcomes of a call, as `Wire` declares them. `answer_by_http` sends an HTTP status for a request that is not a
    # gRPC call.
    cdef int answer(self, Call call, bytes payload) except -1
    cdef int fail(self, Call call, Failure failure) except -1
    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1
    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1

    # Return whether the stream of a call is open; advance the HTTP/2 clock to the instant of the connection.
    cdef bint reaches(self, GrpcCall call) noexcept

    # Call `reaches`, and return whether the stream is open and the answer has not ended. After its end, further output
    # of a call is ignored.
    cdef bint awaits(self, GrpcCall call) noexcept


cdef GrpcOutcomes new_outcomes(GrpcDialect dialect, Http2Connection http2, IncompleteRequests incomplete)
