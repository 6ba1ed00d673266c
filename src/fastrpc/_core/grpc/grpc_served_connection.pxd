cimport cython
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.grpc.fields cimport MessageReader
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection, SenderCheck
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport Failure

cdef enum RequestFault:
    # The faults of a request that is refused behind the guards of the gate, as a caller without the right learns nothing
    # of a method (`fault_status`, `fault_text`).
    FAULT_NONE = 0
    # The stream ended without a message, or brought a second one.
    FAULT_NO_MESSAGE
    FAULT_MESSAGES
    # The stream ended inside a message, or a prefix has flags that no prefix has.
    FAULT_CUT
    FAULT_FLAGS
    # A compressed message came, and the head names no compressor.
    FAULT_ENCODING
    FAULT_TOO_LARGE


@cython.final
cdef class GrpcCall(ServerCall):
    cdef:
        # Its stream of HTTP/2, whose `user` this is; None once that is over. `head` is the GrpcHead of its request.
        Http2Stream http2_stream

        # Cuts messages from its DATA; None as long as each came in one piece.
        MessageReader reader

        # The message of a call that takes one, until its request ends; None before it is whole.
        bytes message

        # Whether the gate has it; whether it is counted as a stream; whether its request is incomplete, and listed as such;
        # whether the head of its answer has left; the compressor that this head names; the fault of its request
        # (RequestFault).
        uint8_t has_started
        uint8_t is_streaming
        uint8_t is_incomplete
        uint8_t has_begun
        uint8_t announced
        uint8_t fault

        # Of an incomplete request, or message of a stream: its begin, its last byte, the bytes counted of it. Bytes granted
        # beyond the window for messages of a stream that were not taken yet.
        uint64_t began_ns
        uint64_t heard_ns
        Py_ssize_t counted
        Py_ssize_t granted

        # The check of its sender before the request is complete, None: it is over, or not needed.
        SenderCheck sender_check

        # Bytes of the answer that wait for a window.
        Py_ssize_t waiting_bytes


cdef int fault_status(int fault) noexcept
cdef str fault_text(GrpcCall call, uint64_t message_bytes)


@cython.final
cdef class GrpcServedConnection(EngineServedConnection):
    cdef:
        # The fields of every head, and those of the trailers of every success, as the connection's table has them.
        HeaderTemplate head_fields
        HeaderTemplate success_fields

        # The same fields of heads whose messages are JSON; None until one is.
        HeaderTemplate json_head_fields

        # The marshal that was used last, its method and codec.
        MethodRoute last_route
        int last_codec
        Marshal last_marshal

        # Whether the connection has its whole window: a request of it was authenticated, or none has to be.
        bint is_trusted

    cdef GrpcRequests owner(self, GrpcCall call)
    cdef int trust(self, GrpcCall call) except -1
    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1
    cdef int end_with(self, GrpcCall call, Failure failure, list further) except -1
    cdef HeaderTemplate _head_of(self, GrpcCall call)
    cdef int _begin(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _put_head(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1
    cdef int _ended(self, GrpcRequests engine, GrpcCall call, Py_ssize_t size) except -1
