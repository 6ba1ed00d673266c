"""The server's side of an HTTP/1.1 connection: an engine."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.http1.body cimport BodyReader
from fastrpc._core.http1.head cimport RequestHead, RequestLimits
from fastrpc._core.io.python_engine cimport PythonEngine


cdef class HttpConnection(PythonEngine):
    cdef:
        readonly RequestLimits limits

        # The request that is received or answered; None between two. Its body, None while the head is received.
        readonly RequestHead head
        BodyReader body

        # Whether the request is with the application, and whether the peer takes no output: nothing more is read then.
        readonly bint is_answering
        bint is_stuck

        # Bytes at the start of what is presented in which no end of a head was found. Whether an empty line came before it.
        Py_ssize_t _seen
        bint _had_empty_line

        # The instant at which the peer has waited for too long, 0 = none; whether that is between two requests.
        uint64_t _due_ns
        bint _rests
        # When the body began; how much of the time was left when the peer began to take no output.
        uint64_t _body_began_ns
        uint64_t _left_ns

        # Bytes of output that the peer had not taken when that was asked last.
        int64_t _untaken

        # Whether the next answer closes the connection.
        readonly bint is_draining

    cdef Py_ssize_t _parse(self, const char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _take_head(self, const char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _take_body(self, BodyReader body, const char* data, Py_ssize_t size) except -1
    cdef int _hand_over(self, bytes body) except -1
    cdef int _refuse(self, object error) except -1
    cdef int _go_on(self) except -1
    cdef int _end(self) except -1
    cdef int _wait(self, double seconds) except -1
    cdef int _wait_until(self, uint64_t due_ns) except -1
    cdef bint _has_taken(self) except -1
    cdef bint _may_parse(self) noexcept
