"""The parts of a wire of HTTP/2 that a link asks: long messages in place, and messages that wait."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.link.contract cimport Backlog, Placing


@cython.final
cdef class Http2Placing(Placing):
    cdef:
        # The wire, borrowed: it holds this object, and only it and its link use it.
        PyObject* wire


@cython.final
cdef class Http2Backlog(Backlog):
    cdef:
        # The wire, borrowed in the same way.
        PyObject* wire


# Give a wire these parts, once, before a link holds it.
cdef int add_parts(Http2Connection wire) except -1
