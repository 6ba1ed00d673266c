"""A line-based protocol as a wire: it shows what a link asks of a protocol, and that this is enough."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.link.contract cimport Backlog, Flow, Goodbye, Wire
from fastrpc._core.server.link cimport Link, LinkedConnection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class LineFlow(Flow):
    cdef:
        # The wire, borrowed: it holds this object, and only it and its link use it.
        PyObject* wire

        # The bytes of messages that the handler of a call has not taken, by call; the calls whose handlers wait to send.
        dict untaken
        list senders

    cdef int give(self, ServerCall call, bytes line) except -1


@cython.final
cdef class LineGoodbye(Goodbye):
    cdef:
        # The wire, borrowed as above; whether the peer has answered the begin of the drain.
        PyObject* wire
        bint is_answered


@cython.final
cdef class LineBacklog(Backlog):
    cdef:
        # The wire, borrowed as above; lines that wait, their bytes, and the bytes that the peer takes.
        PyObject* wire
        list lines
        int64_t size
        int64_t window


@cython.final
cdef class LineWire(Wire):
    cdef:
        LinkedConnection connection

        # The number of calls so far; the unanswered calls, by their numbers.
        uint64_t count
        readonly dict calls

        # The bytes of an incomplete line, and its begin.
        Py_ssize_t part
        uint64_t began_ns

    cdef inline Link link(self):
        return <Link>self.connection._engine

    cdef int _take_line(self, bytes line) except -1
    cdef int _take_word(self, bytes verb, bytes rest) except -1
    cdef int _begin(self, bytes line) except -1
