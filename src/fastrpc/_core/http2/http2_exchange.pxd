"""A request of HTTP on a stream of HTTP/2, and its response."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.exchange_times cimport TimedExchange
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.page_turns cimport PageTurns
from fastrpc._core.http2.sender cimport Stall
from fastrpc._core.http2.stream_table cimport Http2Stream


@cython.final
cdef class Http2Exchange(TimedExchange):
    cdef:
        # The turns of its connection; its stream, None once that is over: orders have no effect then.
        PageTurns turns
        Http2Stream stream

        # Whether the head asks for a tunnel, so that all bytes of the stream are its protocol's.
        bint _asks_tunnel

        # Whether it counts as a stream of messages.
        bint is_streaming

        # Whether the method is HEAD, also of a head that is refused.
        bint _is_head

        # The body, or the tunnel: received bytes that wait here; how many of them, and of the head, are counted; the most
        # bytes of a whole body; the bytes that came, and how many of them still fill the window; whether the client has
        # sent all.
        bytearray _content
        Py_ssize_t _counted
        int64_t _most
        int64_t _total
        Py_ssize_t _owed
        bint _has_end

        # Whether `100 Continue` was sent.
        bint _has_continued

        # The begin of the body, or of its last part, and the instant of its last byte.
        uint64_t _began_ns
        uint64_t _heard_ns

        # Whether kept bytes have their turn at the end of this read, or in a separate read.
        bint has_turn

        # The status of the response; bytes of a whole response, which wait for a window and count for the connection.
        int _status
        Py_ssize_t waiting_bytes

        # Whether the request is refused: its response returns no idle work (PROTOCOL.md 9).
        bint _is_refused

        # The output that waits.
        Stall _stall

    # For `Http2Pages`, which holds the requests of the connection.
    cdef int take_head(self, HeaderBlock block, bint ends_stream) except -1
    cdef int take_data(self, const char* data, Py_ssize_t size, bint ends_stream) except -1
    cdef int await_rest(self) except -1
    cdef int take_rest(self) except -1
    cdef int dropped(self) except -1
    cdef int failed(self, object error) except -1
    cdef int refuse(self, object error) except -1

    cdef Http2Connection _open_http2(self)

    # The parts of a response.
    cdef int _send_head(self, Http2Connection http2, int status, bytes lines, int64_t size, bint ends_stream) except -1
    cdef int _send_whole(self, Http2Connection http2, int status, bytes lines, bytes body) except -1
    cdef int _answered(self) except -1
    cdef int _weigh(self) except -1
    cdef int _forget(self) except -1
    cdef int _drop(self) except -1
    cdef int _spare_rest(self, int status) except -1

    # The parts of a request.
    cdef int _await_body(self, RequestHead head, int64_t most) except -1
    cdef int _begin_body(self) except -1
    cdef int _take_body(self) except -1
    cdef int _give(self, bytes part) except -1
    cdef int _return_credit(self, Py_ssize_t size) except -1
    cdef int _count(self) except -1
    cdef int _take_ahead(self, const char* data, Py_ssize_t size, bint ends_stream) except -1
    cdef int _take_tunnel(self) except -1
    cdef int _await_bytes(self) except -1
    cdef uint64_t _check_body(self, uint64_t now) except? 0
    cdef uint64_t _check_output(self, uint64_t now) except? 0
