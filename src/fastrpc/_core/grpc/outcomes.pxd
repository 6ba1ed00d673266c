"""From the outcomes of calls by gRPC to heads, messages and trailers."""

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


# Return the fields that report a failure, in addition to fields of metadata: token, name, value.
cpdef list failure_fields(Failure failure, list sent)


@cython.final
cdef class GrpcOutcomes(Flow):
    cdef:
        # The connection of the wire, and its form for the gate: None before a link holds the wire.
        Http2Connection http2
        LinkedConnection connection

        # The calls with an incomplete request or message. The end of an answer takes its call off the list.
        IncompleteRequests incomplete

        # The streams that stay half-closed after early answers, pages included.
        LingeringStreams lingering

        # The compressors that answers may have.
        GrpcDialect dialect

        # The fields of every head, and of the trailers of every success, as the connection's table has them.
        HeaderTemplate head_fields
        HeaderTemplate success_fields

        # The fields of heads whose messages are JSON; None until such a head is needed.
        HeaderTemplate json_head_fields

        # Bytes of answers without a stream that wait for a window of the peer.
        int64_t waiting_bytes

    # Outcomes of calls, in `Wire`'s form; an HTTP status for a request that is no gRPC call.
    cdef int answer(self, Call call, bytes payload) except -1
    cdef int fail(self, Call call, Failure failure) except -1
    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1
    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1

    # Whether the stream of a call is open; the output is sent at its instant.
    cdef bint reaches(self, GrpcCall call) noexcept

    # As `reaches`, and whether the answer has not ended. An answer has one end: orders after it have no effect.
    cdef bint awaits(self, GrpcCall call) noexcept


cdef GrpcOutcomes new_outcomes(GrpcDialect dialect, Http2Connection http2, IncompleteRequests incomplete)
