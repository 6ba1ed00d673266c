"""The server's side of an HTTP/1.1 connection: an engine.

::

    bytes ──► HttpConnection ──► Http1Exchange ──► HttpApplication
                    │                  └──► finish: the connection closes after an answer
                    └──► ConnectionLife: rest, age, drain

Requests are answered one after the other. Nothing is read while the peer does not read its answers. The exchange has the
deadlines of a request; `server/connection_life` has the rules for them.

An application (`exchange/exchange`) answers the requests. `python_connection` has the base of applications in Python.
"""

from cpython.ref cimport PyObject

from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.exchange.request_watch cimport watch_cut
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.connection_life cimport new_life
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection

# The interval of checks whether the peer has read the last answer.
cdef uint64_t UNSENT_NS = 50_000_000


cdef class HttpConnection(Engine):
    """The server's side of one HTTP/1.1 connection."""

    def __init__(self, RequestLimits limits not None):
        self.life = new_life(self, None)
        self.life.handshake_ns = nanoseconds(limits.header_seconds)
        self.life.idle_ns = nanoseconds(limits.idle_seconds)
        self.life.patience_ns = nanoseconds(limits.body_idle_seconds)
        self.life.closes_by_answers = self.life.ends_late_peers = True
        self.exchange = Http1Exchange.__new__(Http1Exchange)
        self.exchange.link = <PyObject*>self
        self.exchange.life = self.life
        self.exchange.limits = limits

    @property
    def head(self):
        return self.exchange.head

    @property
    def is_answering(self):
        return self.exchange.is_answering

    @property
    def is_draining(self):
        return self.exchange.is_draining

    def unsent_bytes(self):
        """Return the bytes of output that the peer has not read."""
        return self.unsent_output()

    @property
    def is_at_rest(self):
        """Whether the connection is idle: no request, no tunnel, nothing to write."""
        return not (_has_request(self) or self.exchange.is_tunnel or self.unsent_output())

    def begin_drain(self):
        """Close after the next answer; an idle connection stays open for one more request."""
        self.exchange.is_draining = True

    # The engine

    cdef int connected(self) except -1:
        self.life.begin(now_ns())
        # The exchange, not the life, has the deadline of the first head, so that a late one is answered.
        self.exchange.wait_until(self.life.opening_due_ns)
        self.life.opening_due_ns = 0
        return 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if self.is_closed:
            return size
        if not self.exchange.takes_more():
            self.exchange.leave_ahead(size)
            return 0
        return self.exchange.take(data, size)

    cdef int flushed(self) except -1:
        return self.exchange.application.room_came(self.exchange)

    cdef int lost(self, object error) except -1:
        try:
            self.exchange.application.request_dropped(self.exchange)
        finally:
            self.exchange.application.exchange_over(self.exchange)
            watch_cut(self.exchange.watch)
            self.exchange.is_answering = False
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = self.exchange.application.request_due(self.exchange, now)
        _check_peer(self, now)
        if not self.is_closed:
            due = earlier(due, _apply_rules(self, now))
        return self.exchange.due_ns if self.is_closed else earlier(self.exchange.due_ns, due)

    cdef uint64_t blocked(self) except? 0:
        cdef Http1Exchange exchange = self.exchange
        if exchange.is_stuck or self._stream is NULL or not (<ByteStream>self._stream).is_stuck():
            return 0
        exchange.is_stuck = True
        # Nothing is read now, so the peer's deadline is suspended; it continues in `unblocked`.
        self._left_ns = max(exchange.due_ns, self.now) - self.now if exchange.due_ns else 0
        self.life.stuck_ns = 0
        self.life.is_stuck(1, self.now)
        self.exchange.give_time(self.life.patience_ns)
        return exchange.due_ns

    cdef int unblocked(self) except -1:
        cdef Http1Exchange exchange = self.exchange
        exchange.is_stuck = False
        exchange.due_ns = 0
        if exchange.is_tunnel:
            self.exchange.give_time(0)
        elif not exchange.is_answering:
            if self._left_ns == 0 or exchange.rests:
                self.life.used_ns = now_ns()
                exchange.wait_until(self.life.rest_due(self.life.used_ns))
            else:
                self.exchange.give_time(self._left_ns)
        return exchange.go_on()

    # The end

    def close(self, reason=0, text=""):
        """Close once all output is sent, and linger if input is unread: the system would discard the last answer."""
        if self.life.has_ended:
            # Linger, as a request may be on its way.
            self.exchange.cut()
        elif not self.is_closed and self._stream is not NULL:
            self.exchange.finish(self.life.linger_ns != 0 and (<ByteStream>self._stream).has_unread())


cdef bint _has_request(HttpConnection connection) noexcept:
    """Return whether a request is received or answered, or the head of the next one has begun."""
    return connection.exchange.is_answering or connection.exchange.head is not None or connection.exchange.seen != 0


cdef int _check_peer(HttpConnection connection, uint64_t now) except -1:
    """Answer a request that is late; abort a connection whose peer takes no output, or does not see its end."""
    cdef Http1Exchange exchange = connection.exchange
    cdef ConnectionLife life = connection.life
    cdef uint64_t due
    if exchange.due_ns == 0 or now < exchange.due_ns:
        return 0
    exchange.due_ns = 0
    if connection.is_closed or exchange.is_stuck:
        if (exchange.untaken == 0 or not life.has_taken()) if connection.is_closed else life.is_stuck(1, now):
            connection.abort()
            return 0
        exchange.note_untaken()
        return 0 if exchange.below() is NULL else exchange.give_time(life.patience_ns)
    if exchange.is_tunnel:
        due = exchange.application.tunnel_due(exchange, now)
        if not connection.is_closed:
            exchange.due_ns = due
    elif exchange.head is not None or exchange.seen:
        exchange.refuse_late()
    elif not exchange.rests:
        # At rest the rules of its life end the connection.
        exchange.cut()
    return 0


cdef uint64_t _apply_rules(HttpConnection connection, uint64_t now) except? 0:
    """Give the life of the connection its facts; return the instant of the next check."""
    cdef ConnectionLife life = connection.life
    cdef EngineServedConnection served = None if life.connection is NULL else <EngineServedConnection>life.connection
    cdef bint is_between = not _has_request(connection)
    cdef bint is_aged = life.aged_at_ns and now >= life.aged_at_ns
    cdef uint64_t due = 0
    cdef Facts facts
    if is_between and served is not None and (served.held or served.queue):
        # One-way calls: their ends are polled, since none of them continues the connection.
        is_between = False
        due = now + life.look_after()
    if connection.exchange.is_stuck and is_between:
        # The last answer is still being taken: the idle time begins when it is taken.
        life.used_ns = now
        due = max(now + UNSENT_NS, life.left_due()) if life.drains else 0
    # The idle time of a connection begins with its first answer.
    facts.is_busy = not is_between or not (is_aged or connection.exchange.rests or life.drains)
    facts.is_receiving = False
    facts.unsent = facts.parked = 0 if served is None else served.unsent_bytes()
    return earlier(due, life.check(now, &facts))
