cimport cython

from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.grpc.fields cimport MessageReader
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.http2.stream_table cimport Http2Stream


@cython.final
cdef class AnswerHead:
    cdef:
        # `is_grpc`: whether the response is a gRPC response; `http_status`: its :status if it is not.
        bint is_grpc
        bytes http_status

        # `compressor`: the number of grpc-encoding (ENCODING_IDENTITY and others of `fields`); `encoding`: its name for
        # errors.
        int compressor
        bytes encoding

        # The native metadata of the answer, or None.
        bytes metadata


@cython.final
cdef class GrpcAnswer:
    cdef:
        # The call that it answers; None once the call is over or its answer is dropped.
        ClientCall call

        # `head`: the received head, or None; `text`: the body of a response that is not gRPC, as far as it is kept.
        AnswerHead head
        bytes text

        # `reader`: the reader of messages; None while each message arrives in one piece. `message`: the message of a
        # unary call, or None.
        MessageReader reader
        bytes message
        bint is_compressed


cdef class AnsweredConnection(StreamHandler):
    cdef:
        # The connection of HTTP/2, whose handler this is.
        Http2Connection http2

        # The most bytes of a message of an answer.
        Py_ssize_t message_bytes

        # The stream of the one answer that was admitted although the pool had too little left for it or other answers
        # waited before it; or None.
        Http2Stream unpooled

        # `left_out`: names of metadata omitted since the last head; `has_told_dropped`: whether an omission was logged
        # already.
        list left_out
        bint has_told_dropped

    # Hook: a call ended on this side; called before its error or its answer is reported.
    cdef int call_over(self, ClientCall call) except -1

    # Hook: the server refused the credential of a call.
    cdef int on_unauthenticated(self) except -1

    # End a call with an error.
    cdef int fail(self, ClientCall call, object error) except -1

    cdef list _left_out(self)
