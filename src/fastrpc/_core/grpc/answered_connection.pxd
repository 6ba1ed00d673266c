cimport cython
from libc.stdint cimport uint32_t

from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.grpc.fields cimport MessageReader
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.wire.frame cimport Frame


@cython.final
cdef class AnswerHead:
    cdef:
        # Whether the response is a gRPC response, and its :status if it is not.
        readonly bint is_grpc
        readonly bytes http_status

        # The number of grpc-encoding (ENCODING_IDENTITY and others of `fields`); its name for errors.
        readonly int compressor
        readonly bytes encoding

        # The native metadata of the answer, or None.
        readonly bytes metadata


@cython.final
cdef class AnswerEnd:
    cdef:
        # As in a RESPONSE: the status, its text in UTF-8, whether the handler ran (Outcome), the pause before a retry.
        readonly int status
        readonly bytes text
        readonly int outcome
        readonly uint32_t pushback_ms

        # grpc-status-details-bin, b"" if missing; the native metadata of the trailers, or None.
        readonly bytes details
        readonly bytes metadata

    # Fill the frame of an answer without messages; its pointers are valid while this object lives.
    cdef int fill(self, Frame* frame) noexcept


@cython.final
cdef class GrpcAnswer:
    cdef:
        # The call that it answers; None: it is over, or its answer is dropped.
        ClientCall call

        # The head once it was received, and the text of a head that is not a gRPC head.
        AnswerHead head
        bytes text

        # The reader of messages, None until one is cut; the message of a unary call, None before it.
        MessageReader reader
        bytes message
        bint is_compressed


# Return the meaning of a head or trailers; names of omitted metadata are added to `dropped`.
cdef AnswerHead head_of(HeaderBlock block, list dropped)
cdef AnswerEnd end_of(HeaderBlock block, list dropped)

# Make the end of an answer without a status: of any kind; of plain HTTP, with the received text.
cdef AnswerEnd new_end(int status, int outcome, str text)
cdef AnswerEnd refused_by_http(bytes status, bytes body)


cdef class AnsweredConnection(StreamHandler):
    cdef:
        # The connection of HTTP/2, whose handler this is.
        Http2Connection http2

        # The most bytes of a message of an answer.
        Py_ssize_t message_bytes

        # The stream of the answer that came although the pool had too little left for it, or other answers wait before
        # it: one at a time, or None.
        Http2Stream unpooled

        # Names of metadata that was left out lately, and whether one has been logged.
        list left_out
        bint has_told_dropped

    # Hook: Called when a call is over here, before its error or its answer is reported.
    cdef int call_over(self, ClientCall call) except -1

    # Hook: the server refused a call for its credential.
    cdef int on_unauthenticated(self) except -1

    # End a call with an error.
    cdef int fail(self, ClientCall call, object error) except -1

    cdef list _left_out(self)
