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
        # The method by its name here, `service.method`; the raw path if it cannot be a method's.
        readonly bytes name

        # Whether messages are JSON.
        readonly bint is_json

        # The HTTP status that refuses a request which is no gRPC call, and its text; 0: it is a gRPC call.
        readonly int http_status

        # The gRPC status that refuses the call, and its text; 0: accepted. Both statuses use the text.
        readonly int status
        readonly str fault

        # Whether it is a HEAD, whose answer has no content.
        bint is_head

        # The caller's timeout in the native form (`Call.stated_timeout_us`); whether it is 0, so that the call is late
        # at once.
        readonly uint64_t timeout_us
        readonly bint is_late

        # The compressor of the messages, and the name of an unknown one; a bit for each compressor that answers may
        # use.
        readonly uint8_t compressor
        readonly uint8_t accepted
        readonly str encoding

        # The number of attempts before this one.
        readonly uint8_t attempt

        # The metadata in native form, None without any; names of entries that were left out.
        readonly bytes metadata
        list dropped


# Return the head that a block represents; equal blocks give one object.
cdef GrpcHead head_of(HeaderBlock block, uint32_t metadata_bytes)

# Make the head of a call by gRPC-Web or Connect; make the head of a request that HTTP refuses by a status.
cdef GrpcHead new_head(bytes name, bint is_json, int compressor)
cdef GrpcHead refused_head(int http_status)

cdef enum RequestFault:
    # The faults of a request that is refused after the guards of the gate, as a caller without the right learns nothing
    # of a method (`fault_of`).
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
    # The body is not base64, which gRPC-Web allows; the form of the request differs from its method's form.
    FAULT_TEXT
    FAULT_FORM


@cython.final
cdef class GrpcCall(ServerCall):
    cdef:
        # The stream of HTTP/2 of this call, whose `user` is this object; None once the stream has ended. `head` is the
        # GrpcHead of its request.
        Http2Stream http2_stream

        # The StreamRequest (`http.stream_request`) of a call by gRPC-Web or Connect; None by gRPC.
        object web

        # Cuts messages from its DATA; None while each arrives in one piece.
        MessageReader reader

        # The message of a call that takes one, until its request ends; None before it is complete.
        bytes message

        # Whether the gate has the call.
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

        # For an incomplete request or stream message: its begin, its last byte, its counted bytes.
        uint64_t began_ns
        uint64_t heard_ns
        Py_ssize_t counted

        # The check of its sender before the request is complete, None: it is over, or not needed.
        SenderCheck sender_check

        # Bytes of the answer that wait for a window.
        Py_ssize_t waiting_bytes


# Return status and text of a fault: of a call; by its number, with the size of a message over the limit.
cdef tuple fault_of(GrpcCall call, uint64_t message_bytes)
cpdef tuple message_fault(int fault, str method, Py_ssize_t size, uint64_t limit)

# A call was let in: until one was authenticated, this may be the first.
cdef inline int let_in(Http2Connection http2, ServerCall call) except -1:
    return 0 if http2.has_known_peer else admit(http2, call)


# A call was admitted before the peer was known.
cdef int admit(Http2Connection http2, ServerCall call) except -1
