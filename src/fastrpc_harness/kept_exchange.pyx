"""An exchange that keeps its answer for a test. A connection may have many at the same time, as with HTTP/2.

::

    ask ──► head_of_fields ──► head_came ──► request_came ──► answer: `status`, `lines`, `parts`
    feed ──► tunnel_came      reset ──► request_dropped, exchange_over      look ──► request_due
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.exchange.request_head cimport head_of_fields
from fastrpc._core.http.gateway_requests cimport new_requests


@cython.final
cdef class KeptExchange(Exchange):
    """A request on a connection of the gateway, in addition to the requests in the bytes of the connection."""

    def __init__(self, GatewayConnection engine not None):
        self._engine = engine
        self.link = <PyObject*>engine
        self.life = engine.life
        self.parts = []
        self._application = new_requests(
            self, engine.connection, engine.requests.groups, engine.service, engine.requests.keepalive
        )

    # For a test

    def ask(self, bytes method not None, bytes target not None, list fields not None, bytes body=None, bytes protocol=None):
        """Send a request; without `body` its body never arrives."""
        self._engine.now = now_ns()
        size = -1 if body is None else PyBytes_GET_SIZE(body)
        self.head = head_of_fields(method, target, fields, self._engine.service.limits, size, body is None, protocol)
        self._body = body or b""
        self._is_judged = True
        self._application.head_came(self)
        self._is_judged = False
        if not (self.is_deciding or self.is_answering or self.is_complete):
            self._hand_over(self._body)
        self._engine.gate.runner.leave_task()

    def feed(self, bytes data not None):
        """Send bytes in a tunnel; return how many were consumed."""
        self._engine.now = now_ns()
        return self._application.tunnel_came(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def reset(self):
        """Reset the request, as a client of HTTP/2 may."""
        try:
            self._application.request_dropped(self)
        finally:
            self._end()

    @property
    def is_known(self):
        return self.known_at is not NULL

    def look(self, uint64_t later_ns=0):
        """Run the checks of the request or its tunnel that are due in `later_ns`; return the next instant."""
        cdef uint64_t now = now_ns() + later_ns, due = 0
        if self.is_tunnel and self.is_open():
            due = self._application.tunnel_due(self, now)
        return earlier(due, self._application.request_due(self, now))

    def make_room(self):
        """Take output again."""
        self.takes_none = self.has_sender = False
        self._application.room_came(self)

    def end_tunnel(self, str text not None):
        """End the tunnel as if the connection closed."""
        self._application.end_tunnel(self, text)

    # Exchange

    cdef int _hand_over(self, bytes body) except -1:
        self.is_answering = True
        self._application.request_came(self, b"" if self.takes_parts else body)
        if self.takes_parts and not self.is_complete:
            self._application.part_came(self, body, True)
        return 0

    cdef bint is_open(self) except -1:
        return not (self._engine.is_closed or self.is_complete or self.was_cut)

    cdef int _begin(self, int status, bytes lines) except -1:
        if not self.is_answering or self.has_begun:
            raise RuntimeError("there is no request to answer")
        self.status = status
        self.lines = lines
        self.has_begun = True
        return 0

    cdef int _end(self) except -1:
        self.is_complete = not self.was_cut
        self.is_answering = False
        self.head = None
        return self._application.exchange_over(self)

    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1:
        self._begin(status, lines)
        self.parts.append(body)
        return self._end()

    cdef int begin_parts(self, int status, bytes lines, int64_t size) except -1:
        return self._begin(status, lines)

    cdef int send_part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1) except -1:
        self.parts.append(part[at:] if size < 0 else part[at:at + size])
        return 0

    cdef int end_parts(self) except -1:
        return self._end()

    cdef int cut(self) except -1:
        self.was_cut = True
        return self._end()

    cdef int abort(self) except -1:
        return self.cut()

    cdef bint is_full(self) except -1:
        return self.takes_none

    cdef bint has_output(self) except -1:
        return self.takes_none

    cdef int64_t unsent(self) except? -1:
        return 1 << 40 if self.takes_none else 0

    cdef int await_room(self) except -1:
        self.has_sender = True
        return 0

    cdef int admit_body(self) except -1:
        self.is_deciding = False
        return 0 if self._is_judged else self._hand_over(self._body)

    cdef int skip_body(self) except -1:
        self.takes_parts = False
        return self._hand_over(b"")

    cdef int hold_body(self, bint is_held) except -1:
        self.is_body_held = is_held
        return 0

    cdef int ask_body(self) except -1:
        return 0

    cdef int open_tunnel(self, str protocol, bytes lines) except -1:
        self._begin(200, lines)
        self.is_tunnel = True
        return 0

    cdef int send(self, bytes data) except -1:
        self.parts.append(data)
        return 0

    cdef bint takes_more(self) except -1:
        return self.is_tunnel and not self.is_body_held and self.is_open()

    cdef int go_on(self) except -1:
        return 0

    cdef int wait_by(self, uint64_t due_ns) except -1:
        self.due_ns = due_ns
        return 0

    cdef int look_by(self, uint64_t due_ns) except -1:
        return 0

    cdef str count_messages(self):
        return None

    cdef int note_refused(self, bint is_faulty) except -1:
        self.refused += 1
        return 0


# Methods that a class does not implement

def attempt_exchange(Exchange exchange not None, str method not None):
    """Call a method of an exchange."""
    if method == "is_open":
        exchange.is_open()
    elif method == "answer":
        exchange.answer(200, b"", b"", False)
    elif method == "begin_parts":
        exchange.begin_parts(200, b"", 0)
    elif method == "send_part":
        exchange.send_part(b"")
    elif method == "end_parts":
        exchange.end_parts()
    elif method == "cut":
        exchange.cut()
    elif method == "abort":
        exchange.abort()
    elif method == "is_full":
        exchange.is_full()
    elif method == "has_output":
        exchange.has_output()
    elif method == "unsent":
        exchange.unsent()
    elif method == "await_room":
        exchange.await_room()
    else:
        attempt_body(exchange, method)


cdef int attempt_body(Exchange exchange, str method) except -1:
    if method == "admit_body":
        return exchange.admit_body()
    if method == "skip_body":
        return exchange.skip_body()
    if method == "hold_body":
        return exchange.hold_body(True)
    if method == "ask_body":
        return exchange.ask_body()
    if method == "open_tunnel":
        return exchange.open_tunnel("", b"")
    if method == "send":
        return exchange.send(b"")
    if method == "takes_more":
        exchange.takes_more()
    if method == "go_on":
        return exchange.go_on()
    if method == "wait_by":
        return exchange.wait_by(0)
    if method == "look_by":
        return exchange.look_by(0)
    if method == "count_messages":
        exchange.count_messages()
    return exchange.note_refused(True)


def attempt_application(HttpApplication application not None, str method not None):
    """Call a method of an application."""
    if method == "head_came":
        application.head_came(None)
    elif method == "request_came":
        application.request_came(None, b"")
    elif method == "refusal_of":
        application.refusal_of(None, None)
    elif method == "request_dropped":
        application.request_dropped(None)
    elif method == "request_due":
        application.request_due(None, 0)
    elif method == "room_came":
        application.room_came(None)
    elif method == "exchange_over":
        application.exchange_over(None)
    elif method == "part_came":
        application.part_came(None, b"", True)
    elif method == "body_awaited":
        application.body_awaited(None)
    elif method == "body_grew":
        application.body_grew(None, 0)
    elif method == "tunnel_came":
        application.tunnel_came(None, b"", 0)
    elif method == "tunnel_due":
        application.tunnel_due(None, 0)
    else:
        application.end_tunnel(None, "")


def attempt_pages(Pages pages not None, str method not None):
    """Call a method of pages."""
    if method == "join":
        pages.join(None)
    else:
        pages.begin(None)
