"""The server's side of an HTTP/1.1 connection: an engine.

::

    bytes ──► HttpConnection ──► Http1Exchange ──► HttpApplication
                    │                  └──► end: the connection closes after an answer
                    └──► ConnectionLife: rest, age, drain

Requests are answered one after the other. Nothing is read while the peer reads none of its answers. The instants of a
request are in its exchange, the rules that give them in `server/connection_life`.

An application (`exchange/exchange`) answers the requests. `python_connection` has the base of applications in Python.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.exchange.request_watch cimport watch_cut
from fastrpc._core.http1.http1_exchange cimport Http1Exchange
from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.connection_life cimport ConnectionLife, new_life
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection

# The interval of checks whether the last answer was taken.
cdef uint64_t UNSENT_NS = 50_000_000


@cython.final
cdef class ConnectionExchange(Http1Exchange):
    """The exchange of a connection that is an engine."""

    cdef int end(self) except -1:
        return (<HttpConnection>self.link).finish(self.life.linger_ns != 0)

    cdef int open_tunnel(self, str protocol, bytes lines) except -1:
        Http1Exchange.open_tunnel(self, protocol, lines)
        return (<HttpConnection>self.link).tunnel_opened()


cdef class HttpConnection(Engine):
    """The server's side of one HTTP/1.1 connection."""

    def __init__(self, RequestLimits limits not None):
        self.life = new_life(self, None)
        self.life.handshake_ns = nanoseconds(limits.header_seconds)
        self.life.idle_ns = nanoseconds(limits.idle_seconds)
        self.life.patience_ns = nanoseconds(limits.body_idle_seconds)
        self.life.closes_by_answers = self.life.ends_late_peers = True
        self.exchange = ConnectionExchange.__new__(ConnectionExchange)
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
        """Return the bytes of output that the peer has not taken."""
        return self.unsent_output()

    @property
    def is_at_rest(self):
        """Whether it carries nothing; it waits for a last request."""
        return not (self._has_request() or self.exchange.is_tunnel or self.unsent_output())

    cdef bint _has_request(self) noexcept:
        """Return whether a request is received or answered, or the head of the next one has begun."""
        return self.exchange.is_answering or self.exchange.head is not None or self.exchange.seen != 0

    def begin_drain(self):
        """Close with the next answer; a connection that rests stays open for one more request."""
        self.exchange.is_draining = True

    # The engine

    cdef int connected(self) except -1:
        self.life.begin(now_ns())
        # The opening is the first head, which has an answer if it is late.
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
        self._check_peer(now)
        if not self.is_closed:
            due = earlier(due, self._apply_rules(now))
        return self.exchange.due_ns if self.is_closed else earlier(self.exchange.due_ns, due)

    cdef int _check_peer(self, uint64_t now) except -1:
        """Answer a request that is late; abort a connection whose peer takes no output, or does not see its end."""
        cdef Http1Exchange exchange = self.exchange
        cdef uint64_t due
        if exchange.due_ns == 0 or now < exchange.due_ns:
            return 0
        exchange.due_ns = 0
        if self.is_closed and self._untaken == 0 or not self.is_closed and exchange.is_stuck and self.life.is_stuck(1, now):
            self.abort()
        elif self.is_closed and not self.life.has_taken():
            self.abort()
        elif self.is_closed or exchange.is_stuck:
            self._untaken = self._untaken_bytes()
            if self._stream is not NULL:
                self.exchange.give_time(self.life.patience_ns)
        elif exchange.is_tunnel:
            due = exchange.application.tunnel_due(exchange, now)
            if not self.is_closed:
                exchange.due_ns = due
        elif exchange.head is None and exchange.seen == 0:
            # At rest the rules of its life end the connection.
            return 0 if exchange.rests else exchange.cut()
        else:
            exchange.refuse_late()
        return 0

    cdef uint64_t _apply_rules(self, uint64_t now) except? 0:
        """Give the life of the connection its facts; return the instant of the next check."""
        cdef ConnectionLife life = self.life
        cdef EngineServedConnection served = None if life.connection is NULL else <EngineServedConnection>life.connection
        cdef bint is_between = not self._has_request()
        cdef bint is_aged = life.aged_at_ns and now >= life.aged_at_ns
        cdef uint64_t due = 0
        cdef Facts facts
        if is_between and served is not None and (served.held or served.queue):
            # One-way calls: their ends are polled, since none of them continues the connection.
            is_between = False
            due = now + life.look_after()
        if self.exchange.is_stuck and is_between:
            # The last answer is still being taken: the idle time begins when it is taken.
            life.used_ns = now
            due = max(now + UNSENT_NS, life.left_due()) if life.drains else 0
        # The idle time of a connection begins with its first answer.
        facts.is_busy = not is_between or not (is_aged or self.exchange.rests or life.drains)
        facts.is_receiving = False
        facts.unsent = facts.parked = 0 if served is None else served.unsent_bytes()
        return earlier(due, life.check(now, &facts))

    cdef uint64_t blocked(self) except? 0:
        cdef Http1Exchange exchange = self.exchange
        if exchange.is_stuck or self._stream is NULL or not (<ByteStream>self._stream).is_stuck():
            return 0
        exchange.is_stuck = True
        # The peer's time stops here and goes on later: nothing is read meanwhile.
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
        """Close once all output is sent: with an unread request the system would otherwise discard the last answer."""
        if self.life.has_ended:
            # A request may cross the end.
            self.exchange.cut()
        elif not self.is_closed and self._stream is not NULL:
            self.finish(self.life.linger_ns != 0 and (<ByteStream>self._stream).has_unread())

    cdef int tunnel_opened(self) except -1:
        """Hook: another protocol has taken over, and may always have calls under way: at its age it is closed."""
        self.life.closes_by_answers = False
        return 0

    cdef int finish(self, bint lingers) except -1:
        """Close once the output is sent; while it lingers, bytes of the peer are read and dropped."""
        cdef ByteStream stream = <ByteStream>self._stream
        self.is_closed = True
        stream.finish(lingers)
        # Bytes that came ahead are dropped now.
        stream.release_input()
        self.life.has_taken()
        self._untaken = self._untaken_bytes()
        if self._untaken or not lingers:
            return self.exchange.give_time(self.life.patience_ns)
        return self.exchange.wait_until(self.life.linger(now_ns()))

    cdef int64_t _untaken_bytes(self) except -1:
        return 0 if self._stream is NULL else (<ByteStream>self._stream).untaken_bytes()
