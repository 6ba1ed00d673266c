cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastrpc._core.grpc.fields cimport MessageReader
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.server.engine_served_connection cimport SenderCheck
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GrpcHead:
    cdef:
        # The name of the method in our form, `service.method`; the raw path if it cannot name a method.
        readonly bytes name

        # Whether messages are JSON.
        readonly bint is_json

        # The HTTP status for a request that is not a gRPC call, 0 for a gRPC call. `fault` is its text.
        readonly int http_status

        # `status`: the gRPC status of a refused call, 0 if the head has no fault. `fault`: the error text for this
        # status or for the HTTP status.
        readonly int status
        readonly str fault

        # Whether the request is a HEAD, whose answer has no content.
        bint is_head

        # `timeout_us`: the caller's timeout in the native form (`Call.stated_timeout_us`); `is_late`: whether it is 0,
        # so that the deadline has passed already.
        readonly uint64_t timeout_us
        readonly bint is_late

        # `compressor`: the compressor of the messages; `accepted`: a bit for each compressor that answers may use;
        # `encoding`: the name of the messages' compressor if it is unknown.
        readonly uint8_t compressor
        readonly uint8_t accepted
        readonly str encoding

        # The number of attempts before this one.
        readonly uint8_t attempt

        # `metadata`: the metadata in native form, or None; `dropped`: the names of omitted entries, or None.
        readonly bytes metadata
        list dropped


# Interpret a header block. Equal blocks give the same object.
cdef GrpcHead head_of(HeaderBlock block, uint32_t metadata_bytes)

# Make the head of a call by gRPC-Web or Connect. `refused_head` makes the head of a request that is refused with an
# HTTP status.
cdef GrpcHead new_head(bytes name, bint is_json, int compressor)
cdef GrpcHead refused_head(int http_status)

cdef enum RequestFault:
    # The faults of a request (`fault_of`). It is refused only after the guards of the gate, so that a caller who may not
    # call a method learns nothing about it.
    FAULT_NONE = 0
    # FAULT_NO_MESSAGE: the stream ended without a message. FAULT_MESSAGES: it had a second message.
    FAULT_NO_MESSAGE
    FAULT_MESSAGES
    # FAULT_CUT: the stream ended inside a message; FAULT_FLAGS: a prefix has unknown flags.
    FAULT_CUT
    FAULT_FLAGS
    # FAULT_ENCODING: a message is compressed although the head names no compressor; FAULT_TOO_LARGE: a message is
    # over the limit.
    FAULT_ENCODING
    FAULT_TOO_LARGE
    # FAULT_TEXT: the body of a gRPC-Web request in text form is not base64. FAULT_FORM: the form of the request does
    # not fit its method.
    FAULT_TEXT
    FAULT_FORM


@cython.final
cdef class GrpcCall(ServerCall):
    cdef:
        # The HTTP/2 stream of the call, whose `user` is this object; None once the stream has ended. `Call.head` is the
        # GrpcHead of the request.
        Http2Stream http2_stream

        # The StreamRequest (`http.stream_request`) of a call by gRPC-Web or Connect; None for a call by gRPC.
        object web

        # The reader that cuts DATA into messages; None while each message arrives in one piece.
        MessageReader reader

        # The message of a call without a stream of requests, kept until the request ends; None before it is complete.
        bytes message

        # Whether the call was passed to the gate.
        uint8_t has_started
        # Whether the call counts as a stream.
        uint8_t is_streaming
        # Whether the request of the call is incomplete, and the call is listed as such.
        uint8_t is_incomplete
        # Whether the head of the answer was sent.
        uint8_t has_begun
        # The compressor that the head of the answer names.
        uint8_t announced
        # The fault of the request (RequestFault).
        uint8_t fault

        # For an incomplete request or stream message. `began_ns`: the instant at which it began. `heard_ns`: the
        # instant at which its last bytes arrived. `counted`: its counted bytes.
        uint64_t began_ns
        uint64_t heard_ns
        Py_ssize_t counted

        # The check of the sender while the request is incomplete; None if it is over or was not needed.
        SenderCheck sender_check

        # Bytes of the answer that wait for a window.
        Py_ssize_t waiting_bytes


# Return the status and the text for the fault of a call. `message_fault` returns them for the number of a fault and the
# size of a too large message.
cdef tuple fault_of(GrpcCall call, uint64_t message_bytes)
cpdef tuple message_fault(int fault, str method, Py_ssize_t size, uint64_t limit)

# A call was let in: until one was authenticated, this may be the first.
cdef inline int let_in(Http2Connection http2, ServerCall call) except -1:
    return 0 if http2.has_known_peer else admit(http2, call)


# A call was admitted before the peer was known.
cdef int admit(Http2Connection http2, ServerCall call) except -1
