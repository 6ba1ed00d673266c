"""The requests of an HTTP/1.1 connection, one after the other, and their responses, as bytes."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.received_exchange cimport ReceivedExchange
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.http1.body cimport BodyReader
from fastrpc._core.http1.head cimport Http1Head


cdef class Http1Exchange(ReceivedExchange):
    cdef:
        RequestLimits limits

        # Whether the next answer closes the connection.
        bint is_draining

        # `due_ns`: the deadline of the peer's next step, 0 = none; `rests`: whether the connection waits for the next
        # request.
        uint64_t due_ns
        bint rests

        # Bytes of output that the peer of a closed connection had not read at the last check.
        int64_t untaken

        # `seen`: the number of input bytes in which no end of a head was found; `_had_empty_line`: whether an empty
        # line preceded the head.
        Py_ssize_t seen
        bint _had_empty_line

        # Whether the last head began with the method HEAD.
        bint _is_head

        # `_body`: the reader of the body, None before the body and once all of it has arrived; `_body_began_ns`: when
        # the body began.
        BodyReader _body
        uint64_t _body_began_ns

        # The bytes of an unread body that are still to be dropped before the next head.
        int64_t _dropped

        # Whether bytes that the peer sent ahead wait in the stream while the stream reads on.
        bint _has_ahead

        # For a response in parts: whether its length was stated, so that the parts are not sent as chunks.
        bint _is_sized

    # Methods that the connection calls.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1
    cdef int leave_ahead(self, Py_ssize_t size) except -1
    cdef int wait_until(self, uint64_t due_ns) except -1
    cdef int give_time(self, uint64_t span_ns) except -1
    cdef int refuse_late(self) except -1
    cdef int refuse_rest(self, str text) except -1
    cdef int note_untaken(self) except -1
    cdef int finish(self, bint lingers) except -1

    cdef Py_ssize_t _take_head(self, const char* data, Py_ssize_t size) except -1
    cdef int _await_body(self, Http1Head head, int64_t most) except -1
    cdef int _begin_body(self) except -1
    cdef Py_ssize_t _take_body(self, BodyReader body, const char* data, Py_ssize_t size) except -1
    cdef int _put_off_body(self, BodyReader body) except -1
    cdef int _refuse(self, object error) except -1
    cdef int _body_came(self) except -1
    cdef int _forget_head(self) except -1
    cdef int _answered(self, bint closes) except -1
