"""An HTTP request on an HTTP/2 stream, and its response."""

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
        # `turns`: the turns of the connection; `stream`: the HTTP/2 stream, None once it is over: then the methods have
        # no effect.
        PageTurns turns
        Http2Stream stream

        # Whether the head asks for a tunnel, so that all bytes of the stream belong to its protocol.
        bint _asks_tunnel

        # Whether the request counts as a stream of messages.
        bint is_streaming

        # Whether the method is HEAD, even if the head is refused.
        bint _is_head

        # `_content`: for the body or the tunnel: the received bytes that wait here; `_counted`: how many bytes, with
        # the head, are counted as memory; `_most`: the limit of a body that is not read in parts; `_total`: all bytes
        # received so far; `_owed`: how many of them were not returned to the window; `_has_end`: whether the client has
        # ended the stream.
        bytearray _content
        Py_ssize_t _counted
        int64_t _most
        int64_t _total
        Py_ssize_t _owed
        bint _has_end

        # Whether `100 Continue` was sent.
        bint _has_continued

        # `_began_ns`: when the client's time for the body, or for the rest of it, began; `_heard_ns`: when its last
        # bytes arrived.
        uint64_t _began_ns
        uint64_t _heard_ns

        # Whether the waiting bytes are queued to be processed: at the end of this read, or in a separate read.
        bint has_turn

        # `_status`: the status of the response; `waiting_bytes`: the bytes of a whole response that waits for a window,
        # which count for the connection.
        int _status
        Py_ssize_t waiting_bytes

        # Whether the request is refused, so that its response does not refill the budget of idle work (PROTOCOL.md 9).
        bint _is_refused

        # Since when the client has read nothing of the waiting output.
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
