"""The base of applications in Python that answer requests by HTTP/1.1.

::

    HttpConnection ──► PythonApplication ──► on_head, on_request        respond ──► Exchange.answer

A refusal is answered with a plain text. A body is passed to the application as a whole.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication, field_lines
from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits
from fastrpc._core.http1.connection cimport HttpConnection


@cython.final
cdef class PythonApplication(HttpApplication):
    """The application that passes requests to the methods of their connection, in Python."""

    cdef int64_t head_came(self, Exchange exchange) except? -2:
        return (<object>exchange.engine()).on_head(exchange.head)

    cdef int request_came(self, Exchange exchange, bytes body) except -1:
        (<object>exchange.engine()).on_request(exchange.head, body)
        return 0

    cdef int request_dropped(self, Exchange exchange) except -1:
        return 0

    cdef int exchange_over(self, Exchange exchange) except -1:
        return 0

    cdef int room_came(self, Exchange exchange) except -1:
        return 0

    cdef uint64_t request_due(self, Exchange exchange, uint64_t now) except? 0:
        return 0

    cdef tuple refusal_of(self, Exchange exchange, object error):
        return b"Content-Type: text/plain; charset=utf-8\r\n", f"{error.text}\n".encode()

    cdef int body_awaited(self, Exchange exchange) except -1:
        return 0

    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1:
        return 0


# An object without state, which all connections share.
cdef PythonApplication APPLICATION = PythonApplication.__new__(PythonApplication)


cdef class PythonHttpConnection(HttpConnection):
    """The server's side of one HTTP/1.1 connection; a subclass in Python answers its requests."""

    def __init__(self, RequestLimits limits not None):
        HttpConnection.__init__(self, limits)
        self.exchange.application = APPLICATION

    def on_connected(self):
        """Handle the begin of the connection."""

    def on_head(self, RequestHead head not None):
        """Return the limit for the body of this request, in bytes."""
        return 0

    def on_request(self, RequestHead head not None, bytes body not None):
        """Answer a request, now or later, by `respond`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement on_request()")

    def on_lost(self):
        """Handle the end of the connection. No further answer is needed."""

    def respond(self, int status, fields, bytes body not None, *, bint closes=False):
        """Answer the request that was passed to `on_request` last."""
        self.exchange.answer(status, field_lines(fields), body, closes)

    cdef int connected(self) except -1:
        HttpConnection.connected(self)
        self.on_connected()
        return 0

    cdef int lost(self, object error) except -1:
        HttpConnection.lost(self, error)
        self.on_lost()
        return 0
