from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.grpc.answers cimport AnswerEnd, GrpcAnswer
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.stream_table cimport Http2Stream


cdef class AnsweredConnection(Http2Connection):
    cdef:
        # The most bytes of a message of an answer.
        Py_ssize_t message_bytes

        # Names of metadata that was left out lately, and whether one has been logged.
        list left_out
        bint has_told_dropped

    # Hook: a call is over here, before its error or its answer is told.
    cdef int call_over(self, ClientCall call) except -1

    # Hook: the server refused a call for its credential.
    cdef int on_unauthenticated(self) except -1

    cdef int _take_parts(self, Http2Stream stream, GrpcAnswer answer, const char* data, Py_ssize_t size) except -1
    cdef bint _take_message(self, Http2Stream stream, GrpcAnswer answer, bytes message, bint is_compressed) except -1
    cdef int _open_window(self, Http2Stream stream, GrpcAnswer answer) except -1
    cdef int _take_text(self, Http2Stream stream, GrpcAnswer answer, const char* data, Py_ssize_t size) except -1
    cdef int _finish(self, Http2Stream stream, AnswerEnd end) except -1
    cdef bint _is_whole(self, Http2Stream stream, GrpcAnswer answer) except -1
    cdef int _end_locally(self, Http2Stream stream, int status, str text) except -1
    cdef list _left_out(self)
    cdef str _metadata_text(self)
