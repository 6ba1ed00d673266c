"""A line-based protocol as a wire: it shows what a link asks of a protocol, and that this is enough."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.link.contract cimport Wire
from fastrpc._core.server.link cimport Link, LinkedConnection


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
