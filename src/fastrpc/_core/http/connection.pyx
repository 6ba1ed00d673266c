"""One connection of the HTTP gateway: its life, and its interface for the paths on it.

::

    bytes ──► HttpConnection ──► GatewayRequests ──► Gate ──► handler
                    ▲                                            │
                    └── Answering ◄── HttpServedConnection ◄─────┘

The rules of its life are those for all protocols (`server/connection_life`). It closes by itself after an answer: a
drain, and the age of a connection, only make the next answer the last one.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.exchange.exchange cimport field_lines
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.gateway_requests cimport new_requests
from fastrpc._core.http.http_call cimport HttpTerms, new_call, terms_of
from fastrpc._core.http.own_answerings cimport AS_PART
from fastrpc._core.http.responses cimport NOSNIFF, call_lines
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.server.connection_life cimport REST_NS
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.websocket.frames cimport CLOSE_RESTART
from fastrpc._core.wire.frame cimport ONE_WAY, REASON_DRAIN


@cython.final
cdef class GatewayConnection(HttpConnection):
    """One connection of a server's HTTP gateway."""

    def __init__(self, HttpService service not None, parts):
        cdef HttpServedConnection connection = HttpServedConnection(service.gate, "http")
        connection.join(self)
        HttpConnection.__init__(self, service.limits)
        self.life.set_age(parts.config.timeouts, parts.config.keepalive)
        self.service = service
        self.gate = service.gate
        self.exchange.watch = None if self.gate.watch is None else self.gate.watch.connection()
        connection.has_marshals = True
        connection.reveals_services = parts.reveals_services
        connection.service = service
        connection.keepalive = parts.config.keepalive
        connection.takes_values = service.serves_rpcx or service.serves_phobos
        self.connection = connection
        self.life.connection = <PyObject*>connection
        connection.exchange = self.exchange
        self.exchange.application = self.requests = new_requests(self.exchange, connection)

    # Of a WebSocket

    def answer_message(self, bytes content not None):
        """Answer a message of a WebSocket at a fixed path, unless the connection has ended."""
        if self.connection.talk is not None and not self.is_closed:
            self.connection.talk.answer_message(self.exchange, content)

    def close(self, int reason=0, str text=""):
        """Close once all output is sent."""
        if self.connection.talk is not None and not self.is_closed:
            self.connection.talk.close(self.exchange, CLOSE_RESTART, text)
        else:
            HttpConnection.close(self, reason, text)
            if self.life.has_ended:
                self.gate.runner.tell_watcher()

    # For what is at fixed paths

    def is_asked(self, RequestHead head not None):
        """Return whether this request still waits for its answer."""
        return self.exchange.head is head and self.exchange.is_answering and not self.is_closed

    def answer_path(self, int status, fields, bytes content not None):
        """Answer a request to a fixed path."""
        cdef ServerCall call = self.connection.call
        lines = field_lines(fields) + NOSNIFF + call_lines(call, terms_of(call), self.exchange.head)
        self.exchange.answer(status, lines, content, self.connection.leaves_body)

    def may_call(self, identity, MethodRoute route):
        """Return whether a caller may call a method, or None."""
        return self.gate.may_call(identity, route)

    def begin_call(self, str method not None, bytes arguments not None, done not None, str codec not None="json",
                   bint one_way=False):
        """Call a unary method in the name of the request being answered; `done` gets its `Outcome`."""
        cdef ServerCall asked = self.connection.call
        cdef ServerCall call = new_call(self.connection, self.exchange.date() if self.is_reading else now_ns())
        cdef bytes name = method.encode("utf-8", "surrogatepass")
        cdef HttpTerms terms = terms_of(call)
        cdef MethodRoute route
        self.connection.now = self.connection.received_ns = now_ns()
        terms.done = done
        terms.answering = AS_PART
        if self.exchange.watch is not None:
            terms.part_of = self.exchange.head.target
        call.codec = CODEC_MSGPACK if codec == "msgpack" else CODEC_JSON
        call.flags = ONE_WAY if one_way else 0
        if one_way:
            self.note_unanswered()
        call.received_metadata = asked.received_metadata
        call.stated_timeout_us = asked.stated_timeout_us
        call.deadline_ns = asked.deadline_ns
        call.request_entry = asked.request_entry
        call.client = asked.client
        if terms_of(asked).origin is not None or call.client is not None:
            call.identity = None
        if not self.gate.refuses_early(call, name, PyBytes_GET_SIZE(arguments)):
            route = call.route
            if route is not None:
                terms.target = self.service.method_of(route)
                self._check_kind(terms, route)
            self.gate.pass_in_alone(call, name, arguments)
        return call

    def _check_kind(self, HttpTerms terms, MethodRoute route):
        if route.takes_stream or route.gives_stream:
            terms.set_fault(400, f"{route.method} is called as a stream, which has no place here", b"")

    # Calls of the server

    def begin_drain(self, int reason=0, str text=""):
        """Close with the next answer; once the server drains, a connection that rests has a second for its last request."""
        self.exchange.is_draining = True
        self.connection.is_draining = True
        if self.connection.drain_signal is not None:
            self.connection.drain_signal.set()
        if self.is_closed or reason and self.connection.talk is None:
            return
        if not self.life.drains:
            self.life.begin_drain(now_ns() + REST_NS)
            self.connection.look_by(self.life.left_due())
        # Where the peer takes no output its time stays as it is; all is looked at once it does.
        if self.connection.talk is not None and not self.exchange.is_stuck:
            self.exchange.wait_by(self.life.left_due())

    @property
    def has_drained(self):
        """Whether no call is under way, all output is sent, and no last request is about to come."""
        if self.connection.talk is not None and not self.is_closed:
            if self.connection.talk.has_calls() or self.unsent_output():
                return False
            return now_ns() >= self.life.kept_until_ns
        # Otherwise the connection closes by itself: after its last answer, or after its rest.
        return self.is_closed and not (self.connection.held or self.connection.queue or self.unsent_output())

    def end_calls(self, str text not None):
        """Answer every call that is still under way, and stop its handler."""
        self.gate.end_calls(self.connection, text)

    def stats(self):
        """Return the calls under way on this connection, as plain data."""
        return self.connection.stats(self.unsent_output())

    # For the verdict about a certificate

    def describe_peer(self):
        """Return the other side of the connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note who the certificate names, and until when."""
        self.connection.certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Take the requests that waited for a verdict."""
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
        self.requests.request_dropped(self.exchange)
        self.life.count_out(error)
        return HttpConnection.lost(self, error)

    cdef int read_done(self) except -1:
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        return self.gate.runner.leave_task()

    cdef int flushed(self) except -1:
        cdef ServerCall call = self.connection.call
        if self.connection.output_held or self.exchange.is_stuck or self.output.size():
            self.life.weigh(self.connection.unsent_bytes(), self.now)
        if call is not None:
            terms_of(call).answering.room(self.exchange, call)
        return self.gate.runner.tell_watcher()

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.exchange.date())

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        if self.connection.talk is not None and self.connection.talk.has_expired(now):
            self.exchange.due_ns = now
        due = self.requests.check(self.exchange, now)
        due = earlier(HttpConnection.check(self, now), due)
        return self.exchange.due_ns if self.is_closed else earlier(due, self.connection.send_sign(now))
