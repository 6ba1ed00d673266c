"""The server's side of an HTTP/1.1 connection: an engine."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.http1.application cimport HttpApplication
from fastrpc._core.http1.body cimport BodyReader
from fastrpc._core.http1.head cimport Http1Head
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.connection_life cimport ConnectionLife

# The time for which a peer is held before it is pinged.
cdef uint64_t HELD_NS


cdef class HttpConnection(Engine):
    cdef:
        readonly RequestLimits limits

        # Answers the requests.
        HttpApplication application

        # Is told of each request (`fastrpc.server.watching`); None in most servers.
        object watch

        # The rules of its life; its last use is the end of the last answer.
        ConnectionLife life

        # The request that is received or answered; None between two. Its body, None while the head is received and once
        # all of it came.
        readonly Http1Head head
        BodyReader body

        # Whether the request is with the application, and whether its response has begun in parts.
        readonly bint is_answering
        bint has_begun

        # For a response that has begun in parts: whether its length was stated, so that the parts are no chunks.
        bint is_sized

        # Whether the peer reads no output: nothing more is read then.
        bint is_stuck

        # Whether another protocol has taken over the connection behind the head of its last request.
        readonly bint is_upgraded

        # The application has yet to admit the body.
        bint is_deciding
        # Whether the application reads the body in parts; whether it pauses them at present.
        bint takes_parts
        bint is_body_held

        # Whether a client that expects 100 Continue gets it by `ask_body`: until then the body is held.
        bint asks_later

        # Whether early bytes wait in the stream, although the stream is being read.
        bint _has_ahead

        # Bytes at the start of the input without the end of a head. Whether an empty line came before it.
        Py_ssize_t _seen
        bint _had_empty_line

        # Bytes of a body that its answer did not wait for; they precede the next head.
        int64_t _dropped

        # Whether the last head began with the method HEAD.
        bint _is_head

        # The instant at which the peer has waited for too long, 0 means none; whether the wait is between two requests.
        uint64_t _due_ns
        bint _rests
        # The instant at which the last answer was complete, or the application let a held body go on.
        uint64_t rested_ns
        # The instant at which the body began; the time left when the peer stopped reading output.
        uint64_t _body_began_ns
        uint64_t _left_ns

        # Bytes of output that the peer of a closed connection had not read at the last check.
        int64_t _untaken

        # Whether the next answer closes the connection.
        readonly bint is_draining

    # Functions for applications; `lines` are checked fields of the response, each with its CRLF.
    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1
    cdef int begin_parts(self, int status, bytes lines) except -1
    cdef int begin_sized(self, int status, bytes lines, int64_t size) except -1
    cdef int send_part(self, bytes part, Py_ssize_t at=*, Py_ssize_t size=*) except -1
    cdef int end_parts(self) except -1
    cdef int admit_body(self) except -1
    cdef int hold_body(self, bint is_held) except -1
    cdef int ask_body(self) except -1
    cdef int _look_soon(self) except -1
    cdef int write(self, bytes data) except -1
    cdef int schedule_check(self, uint64_t due_ns) except -1
    cdef uint64_t date(self) noexcept

    # The parts of it.
    cdef int _check_peer(self, uint64_t now) except -1
    cdef uint64_t _apply_rules(self, uint64_t now) except? 0
    cdef Py_ssize_t _parse(self, const char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _take_head(self, const char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _take_body(self, BodyReader body, const char* data, Py_ssize_t size) except -1
    cdef int _put_off_body(self, BodyReader body) except -1
    cdef int _hand_over(self, bytes body) except -1
    cdef int _leave_ahead(self, Py_ssize_t size) except -1
    cdef int _refuse(self, object error) except -1
    cdef int _answered(self, bint closes) except -1
    cdef int _begin_answer(self, int status) except -1
    cdef int _go_on(self) except -1
    cdef int _end(self) except -1
    cdef int _finish(self, bint lingers) except -1
    cdef int _wait(self, uint64_t span_ns) except -1
    cdef int _wait_until(self, uint64_t due_ns) except -1
    cdef int64_t _untaken_bytes(self) except -1
    cdef bint _may_parse(self) noexcept
