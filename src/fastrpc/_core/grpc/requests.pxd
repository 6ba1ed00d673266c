"""From heads and DATA to calls: the requests of one connection."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.grpc.grpc_call cimport GrpcCall, GrpcHead
from fastrpc._core.grpc.grpc_trust cimport GrpcTrust
from fastrpc._core.grpc.incomplete_requests cimport IncompleteRequests
from fastrpc._core.grpc.outcomes cimport GrpcOutcomes
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport LinkedConnection


@cython.final
cdef class GrpcRequests(StreamHandler):
    cdef:
        # The gate that all connections share; the connection. Once a link holds the wire: the link, borrowed, and the
        # connection in the form in which the gate knows it.
        Gate gate
        Http2Connection http2
        PyObject* _link
        LinkedConnection connection

        # Writes the answers to refused requests.
        GrpcOutcomes outcomes

        # Finds requests by gRPC-Web and Connect (`http.stream_request.StreamRequests`); None: neither is served.
        object web

        # Finds the clients of trusted proxies (`fastrpc.server.http.forwarded`); None: none are trusted.
        object proxies

        # The requests of HTTP that are no calls, None: they are refused. Whether gRPC is served; if not, its calls are
        # among these requests.
        Http2Pages pages
        bint serves_grpc

        # Whether the client is known: a stranger's stream keeps the credit of its bytes.
        GrpcTrust trust

        # Calls with an incomplete request, or an incomplete message of their stream.
        IncompleteRequests incomplete
        # The last opened call, until more of it arrives: most calls are complete with the next frame.
        GrpcCall latest
        # An ended call that can be reused.
        GrpcCall spare

    # For the wire: a link holds it; nothing more was read; the sender of an incomplete request has been judged; the
    # connection is over.
    cdef int join(self, PyObject* link) except -1
    cdef int list_latest(self) except -1
    cdef int sender_known(self, GrpcCall call, int verdict) except -1
    cdef int forget_incomplete(self) except -1

    # From a head to its call.
    cdef GrpcCall _new_call(self, Http2Stream stream, GrpcHead head)
    cdef int _begin(self, GrpcCall call, GrpcHead head, bint ends_stream) except -1
    cdef bint _is_page(self, GrpcHead head, HeaderBlock block) except -1
    cdef bint _takes_page(self, GrpcCall call, HeaderBlock block, bint ends_stream) except -1
    cdef bint _takes_client(self, GrpcCall call, HeaderBlock block) except -1
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
