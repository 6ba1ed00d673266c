"""The application of HTTP/1.1 connections, which answers their requests: an interface.

::

    HttpConnection ──► head_came ──► request_came ──► answer, or begin_parts … end_parts of the connection
          │                └──► body_awaited, body_grew, part_came: the body
          ├──► refusal_of, request_dropped: a request that is not answered by the application
          └──► upgraded_came, upgraded_due: the protocol that took over

A connection holds its application, and passes itself to each method: `http1/connection` says which of its functions an
application may call. A method that a class omits raises: it is never called for an application that neither reads
bodies in parts nor hands over to another protocol.
"""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.link.contract cimport lacking


cdef class HttpApplication:
    """Answers the requests of connections."""

    cdef int64_t head_came(self, Engine connection, RequestHead head) except? -2:
        """Return the most bytes of a body that this request may have.

        Before that it may set `is_deciding`, and the body waits for `admit_body`; or `takes_parts`, and the request is
        passed on now, its body by `part_came`. The limit then applies to the waiting content.
        """
        raise lacking(self, "head_came")

    cdef int request_came(self, Engine connection, RequestHead head, bytes body) except -1:
        """Answer a request, now or later."""
        raise lacking(self, "request_came")

    cdef bytes refusal_of(self, Engine connection, object error):
        """Return the fields and the content of the answer to a refused request, in one piece."""
        raise lacking(self, "refusal_of")

    cdef int request_dropped(self, Engine connection) except -1:
        """Handle that the request is refused, or cut off, after its head was received."""
        raise lacking(self, "request_dropped")

    cdef int part_came(self, Engine connection, bytes part, bint is_last) except -1:
        """Take a part of a body, where `takes_parts` is set."""
        raise lacking(self, "part_came")

    cdef int body_awaited(self, Engine connection) except -1:
        """Note that the body of a request, or its rest, is still to come."""
        raise lacking(self, "body_awaited")

    cdef int body_grew(self, Engine connection, Py_ssize_t size) except -1:
        """Note that `size` bytes of a body are here, and more are to come."""
        raise lacking(self, "body_grew")

    cdef Py_ssize_t upgraded_came(self, Engine connection, const char* data, Py_ssize_t size) except -1:
        """Handle bytes of the protocol that took over, if `is_upgraded` is set; return how many were consumed."""
        raise lacking(self, "upgraded_came")

    cdef uint64_t upgraded_due(self, Engine connection, uint64_t now) except? 0:
        """Compare the instants of that protocol with now; return the next one, 0 = none."""
        raise lacking(self, "upgraded_due")
