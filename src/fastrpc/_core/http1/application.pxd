"""The application of HTTP/1.1 connections, which answers their requests: an interface."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.io.engine cimport Engine


cdef class HttpApplication:
    # The request.
    cdef int64_t head_came(self, Engine connection, RequestHead head) except? -2
    cdef int request_came(self, Engine connection, RequestHead head, bytes body) except -1
    cdef bytes refusal_of(self, Engine connection, object error)
    cdef int request_dropped(self, Engine connection) except -1

    # Its body.
    cdef int part_came(self, Engine connection, bytes part, bint is_last) except -1
    cdef int body_awaited(self, Engine connection) except -1
    cdef int body_grew(self, Engine connection, Py_ssize_t size) except -1

    # The protocol that took over.
    cdef Py_ssize_t upgraded_came(self, Engine connection, const char* data, Py_ssize_t size) except -1
    cdef uint64_t upgraded_due(self, Engine connection, uint64_t now) except? 0
