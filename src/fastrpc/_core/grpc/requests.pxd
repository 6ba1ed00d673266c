"""From heads and DATA to calls: the requests of one connection."""

from libc.stdint cimport int64_t

from fastrpc._core.grpc.grpc_call cimport GrpcCall, GrpcHead
from fastrpc._core.grpc.long_messages cimport LongMessages
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport LinkedConnection
from fastrpc._core.server.served_call cimport ServerCall


cdef class GrpcRequests(Http2Connection):
    cdef:
        # The gate that all connections share; this connection in the form in which the gate knows it.
        readonly Gate gate
        readonly LinkedConnection connection

        # Finds requests by gRPC-Web and Connect (`http.stream_request.StreamRequests`); None: neither is served.
        object web

        # Finds the clients of trusted proxies (`fastrpc.server.http.forwarded`); None: none are trusted.
        object proxies

        # The requests of HTTP that are no calls, None: they are refused. Whether gRPC is served; if not, its calls are
        # such requests as well.
        Http2Pages pages
        bint serves_grpc

        # Decides when the rest of a message may come that is longer than its window.
        LongMessages long_messages

        # Calls of which the request, or a message of the stream, is incomplete.
        set incomplete
        # The last opened call, until more of it arrives: most calls are complete with the next frame.
        GrpcCall latest
        # An ended call that can be reused.
        GrpcCall spare

        # Whether a request of the connection was authenticated, or none has to be. Until then each stream keeps the
        # credit of its bytes until its call is admitted: strangers never have more under way than the first window.
        bint is_trusted

        # Bytes of answers without a stream that wait for a window of the peer.
        int64_t waiting_bytes

    # GrpcWire implements these: for a request that is no gRPC call, where none or where pages are served; for a head from
    # behind a trusted proxy.
    cdef int refuse_http(self, GrpcCall call, int status, str text) except -1
    cdef bint takes_page(self, GrpcCall call, HeaderBlock block, bint ends_stream) except -1
    cdef bint takes_client(self, GrpcCall call, HeaderBlock block) except -1

    cdef int trust(self, ServerCall call) except -1

    # For the other parts of the wire.
    cdef int _drop_check(self, GrpcCall call) noexcept
    # The sender of an incomplete request has been judged.
    cdef int sender_known(self, GrpcCall call, int verdict) except -1
    # A handler took a message.
    cdef int message_taken(self, GrpcCall call, Py_ssize_t cost) except -1
    # A handler took all messages and waits for the next; a handler stopped waiting.
    cdef int reader_waits(self, GrpcCall call) except -1
    cdef int reader_left(self, GrpcCall call) except -1

    # For the wire.
    cdef int list_latest(self) except -1
    cdef int end_incomplete(self, str text) except -1
    cdef int forget_incomplete(self) except -1

    # From a head to its call.
    cdef GrpcCall _new_call(self, Http2Stream stream, GrpcHead head)
    cdef int _begin(self, GrpcCall call, GrpcHead head, bint ends_stream) except -1
    cdef bint is_page(self, GrpcCall call, HeaderBlock block) except -1
    cdef bint _has_place(self, GrpcCall call, bint is_page) except -1
    cdef int _count_refused(self, GrpcCall call, bint is_page, str text) except -1
    cdef int _refuse_stream(self, GrpcCall call, bint is_page, str text) except -1
    cdef int _pass_in(self, GrpcCall call, bytes payload) except -1

    # From DATA to messages.
    cdef int _cut_messages(self, GrpcCall call, const char* data, Py_ssize_t size, bint ends_stream) except -1
    cdef int _translate(self, GrpcCall call, const char* data, Py_ssize_t size, bint ends_stream) except -1
    cdef int _take_rest(self, GrpcCall call) except -1
    cdef bint _take_message(self, GrpcCall call, bytes message, bint is_compressed) except -1
    cdef int _put(self, GrpcCall call, bytes message, int compressor) except -1
    cdef int _end_input(self, GrpcCall call) except -1
    cdef int _refuse_faulty(self, GrpcCall call, int fault) except -1
    cdef int _end_locally(self, GrpcCall call, int status, str text) except -1

    # Check an incomplete request or message: its sender, its memory, its window.
    cdef int _note_part(self, GrpcCall call) except -1
    cdef int _sender_of(self, GrpcCall call) except -1
    cdef bint _has_room(self, GrpcCall call) except -1
    cdef int64_t window_of(self, Http2Stream stream) noexcept
    cdef int _forget_part(self, GrpcCall call) except -1


# A call was let in: until one was authenticated, this may be the first.
cdef inline int let_in(GrpcRequests engine, ServerCall call) except -1:
    return 0 if engine.is_trusted else engine.trust(call)
