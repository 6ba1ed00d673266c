"""One connection of the HTTP gateway: its life.

::

    bytes ──► HttpConnection ──► GatewayRequests ──► Gate ──► handler
                    ▲                                            │
                    └── Answering ◄── HttpOutcomes ◄─────────────┘

`server/connection_life` has the rules of its life, as for all protocols. The connection closes by itself after an
answer; a drain, and the maximum age, only make the next answer the last one.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.http.gateway_requests cimport new_requests
from fastrpc._core.http.http_pages cimport OUTCOMES, PAGE_GROUPS
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.server.connection_life cimport REST_NS
from fastrpc._core.wire.frame cimport REASON_DRAIN


@cython.final
cdef class GatewayConnection(HttpConnection):
    """One connection of a server's HTTP gateway."""

    def __init__(self, HttpService service not None, parts):
        cdef EngineServedConnection connection = EngineServedConnection(service.gate, "http")
        connection.outcomes = OUTCOMES
        connection.groups = PAGE_GROUPS
        connection.join(self)
        HttpConnection.__init__(self, service.limits)
        self.life.set_age(parts.config.timeouts, parts.config.keepalive)
        self.service = service
        self.gate = service.gate
        self.exchange.watch = None if self.gate.refusals.watch is None else self.gate.refusals.watch.connection()
        connection.reveals_services = parts.reveals_services
        connection.takes_values = service.takes_values()
        self.connection = connection
        self.life.connection = <PyObject*>connection
        self.requests = new_requests(self.exchange, connection, PAGE_GROUPS, service, parts.config.keepalive)
        self.exchange.application = self.requests

    # Calls of the server

    def close(self, int reason=0, str text=""):
        """Close once all output is sent."""
        if self.requests.talk is not None and not self.is_closed:
            self.requests.end_tunnel(self.exchange, text)
        else:
            HttpConnection.close(self, reason, text)
            if self.life.has_ended:
                self.gate.runner.tell_watcher()

    def begin_drain(self, int reason=0, str text=""):
        """Close after the next answer. When the server drains, an idle connection has one second for a last request."""
        self.exchange.is_draining = True
        self.connection.is_draining = True
        if self.connection.drain_signal is not None:
            self.connection.drain_signal.set()
        if self.is_closed or reason and self.requests.talk is None:
            return
        if not self.life.drains:
            self.life.begin_drain(now_ns() + REST_NS)
            self.connection.look_by(self.life.left_due())
        # While the peer reads no output, keep its time limit; once it reads, everything is checked.
        if self.requests.talk is not None and not self.exchange.is_stuck:
            self.exchange.wait_by(self.life.left_due())

    @property
    def has_drained(self):
        """Whether no call is in progress, all output is sent, and the time for a last request is over."""
        cdef SocketEnd socket = <SocketEnd>self.requests.talk
        if socket is not None and not self.is_closed:
            if socket.has_calls() or self.connection.held or self.connection.queue or self.unsent_output():
                return False
            return now_ns() >= self.life.kept_until_ns
        # A connection without a WebSocket closes by itself: after its last answer, or when it was idle long enough.
        return self.is_closed and not (self.connection.held or self.connection.queue or self.unsent_output())

    def end_calls(self, str text not None):
        """Answer every call in progress with an error and stop its handler; refuse an incomplete request."""
        self.gate.end_calls(self.connection, text)
        self.exchange.refuse_rest(text)

    def stats(self):
        """Return the calls in progress on this connection, as plain data."""
        return self.connection.stats(self.unsent_output())

    # For the check of a client's certificate

    def describe_peer(self):
        """Return the other side of the connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Set the identity in the certificate, and when it expires."""
        self.connection.certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Process the requests that waited for the check of the certificate."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).release_input()

    # The engine

    cdef int connected(self) except -1:
        if self.life.count_in():
            self.close(REASON_DRAIN, self.life.surplus_text())
            return 0
        HttpConnection.connected(self)
        return self.connection.look_by(self.life.aged_at_ns) if self.life.aged_at_ns else 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if not (self.life.has_heard or self.is_closed) and not self.life.hear_first(data, size):
            return 0
        return HttpConnection.receive(self, data, size)

    cdef int lost(self, object error) except -1:
        try:
            HttpConnection.lost(self, error)
        finally:
            # Also for a connection that failed: a drain would wait for it otherwise.
            self.life.count_out(error)
        return 0

    cdef int read_done(self) except -1:
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        return self.gate.runner.leave_task()

    cdef int flushed(self) except -1:
        if self.connection.output_held or self.exchange.is_stuck or self.output.size():
            self.life.weigh(self.connection.unsent_bytes(), self.now)
        HttpConnection.flushed(self)
        return self.gate.runner.tell_watcher()

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.exchange.date())

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)
