"""A line-based protocol as a wire. It shows which methods a link needs from a protocol, and that they suffice."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.link.contract cimport Backlog, Flow, Goodbye, Wire
from fastrpc._core.server.link cimport Link, LinkedConnection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class LineFlow(Flow):
    cdef:
        # The wire, borrowed: it holds this object, which only the wire and its link use.
        PyObject* wire

        # `untaken`: by call, the bytes of messages that its handler has not taken. `senders`: calls whose handlers wait
        # to send.
        dict untaken
        list senders

    cdef int give(self, ServerCall call, bytes line) except -1


@cython.final
cdef class LineGoodbye(Goodbye):
    cdef:
        # `wire`: borrowed as in LineFlow. `is_answered`: whether the peer has answered the announcement of the drain.
        PyObject* wire
        bint is_answered


@cython.final
cdef class LineBacklog(Backlog):
    cdef:
        # `wire`: borrowed as in LineFlow. `lines`: lines that wait; `size`: their bytes; `window`: the peer's credit.
        PyObject* wire
        list lines
        int64_t size
        int64_t window


@cython.final
cdef class LineWire(Wire):
    cdef:
        LinkedConnection connection

        # `count`: the number of calls so far. `calls`: the unanswered calls, by number.
        uint64_t count
        readonly dict calls

        # An incomplete line. `part`: its bytes so far; `began_ns`: the instant at which its first bytes arrived.
        Py_ssize_t part
        uint64_t began_ns

    cdef inline Link link(self):
        return <Link>self.connection._engine

    cdef int _take_line(self, bytes line) except -1
    cdef int _take_word(self, bytes verb, bytes rest) except -1
    cdef int _begin(self, bytes line) except -1
