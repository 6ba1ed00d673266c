"""The requests of one HTTP/2 connection that are pages: requests other than calls.

::

    HEADERS of a page ──► head ──► Http2Exchange, the `user` of its stream
    DATA, trailers, RST_STREAM, room ──► the exchange of the stream
    end of a read ──► waiting bytes that have their turn, ends of exchanges
"""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.exchange_times cimport ExchangeTimes
from fastrpc._core.http2.http2_exchange cimport Http2Exchange
from fastrpc._core.http2.lingering cimport LingeringStreams
from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.server.connection_life cimport REST_NS
from fastrpc._core.server.link cimport Link

from fastrpc._core.exchange.request_head import RequestRefusedError

# The delay after which an application is notified that its exchange is over, unless a read ends first.
cdef uint64_t TELL_NS = 20_000_000


cdef inline Http2Exchange exchange_of(Http2Stream stream):
    """Return the exchange of a stream, or None."""
    return <Http2Exchange>stream.user if type(stream.user) is Http2Exchange else None


@cython.final
cdef class Http2Pages:
    """The requests of one connection that are pages."""

    def __cinit__(self, Pages pages not None, Http2Connection http2 not None, LingeringStreams lingering not None):
        self.pages = pages
        self.turns = PageTurns(pages.limits, http2, lingering)
        self.exchanges = set()
        self.ended = []

    # Hooks

    cdef int head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        """Begin a request. The stream holds its exchange, and so does this object."""
        cdef Http2Exchange exchange = Http2Exchange.__new__(Http2Exchange)
        cdef Link link = self.turns.link()
        _list_latest(self)
        if self.turns.http2().is_closed:
            # `_list_latest` has refused the previous request, which ended the connection.
            return 0
        exchange.link = <PyObject*>link
        exchange.life = link.life
        exchange.watch = None if link.gate.refusals.watch is None else link.gate.refusals.watch.connection()
        exchange.turns = self.turns
        exchange.stream = stream
        stream.user = exchange
        self.exchanges.add(exchange)
        exchange.application = self.pages.begin(exchange)
        return exchange.take_head(block, ends_stream)

    cdef int data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        cdef Http2Exchange exchange = exchange_of(stream)
        return 0 if exchange is None else exchange.take_data(data, size, ends_stream)

    cdef int reset(self, Http2Stream stream) except -1:
        cdef Http2Exchange exchange = exchange_of(stream)
        return 0 if exchange is None else exchange.dropped()

    cdef int sendable(self, Http2Stream stream) except -1:
        cdef Http2Exchange exchange = exchange_of(stream)
        if exchange is None or exchange.head is None:
            return 0
        try:
            return exchange.application.room_came(exchange)
        except Exception as error:
            return exchange.failed(error)

    cdef int over(self, Http2Stream stream) except -1:
        """Handle the end of a stream. Its application may be running, so it is notified later."""
        cdef Http2Exchange exchange = exchange_of(stream)
        cdef Link link = self.turns.link()
        if exchange is None:
            return 0
        stream.user = exchange.stream = None
        self.turns.waiting_bytes -= exchange.waiting_bytes
        self.turns.http2().streams.streaming -= exchange.is_streaming
        if self.turns.latest is exchange:
            self.turns.latest = None
        self.exchanges.discard(exchange)
        self.turns.times.remove(exchange)
        if not self.ended and not link.is_reading and link._stream is not NULL:
            # Outside a read, a timer notifies the application.
            (<ByteStream>link._stream).schedule_check(link.now + TELL_NS)
        self.ended.append(exchange)
        link.life.used_ns = max(link.life.used_ns, link.connection.now, link.connection.stepped_ns)
        return 0

    # For the wire

    cdef int end_read(self) except -1:
        """At the end of a read, process the waiting bytes of exchanges in turn, and notify of ended exchanges."""
        cdef Http2Connection http2 = self.turns.http2()
        cdef Engine engine = http2.engine()
        _list_latest(self)
        self.turns.is_asked = False
        while self.turns.ready and not engine.is_closed:
            if http2.stream_below() is not NULL and (<ByteStream>http2.stream_below()).waits_for_turn():
                # The time of this read is over. Another read follows.
                break
            (<Http2Exchange>self.turns.ready.popleft()).take_rest()
            engine.messages_left -= 1
            if engine.messages_left < 0:
                engine.has_to_wait()
        return _tell_ended(self)

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Check the exchanges that are due; return when the next one is due."""
        cdef ExchangeTimes times = self.turns.times
        cdef Http2Exchange exchange
        cdef uint64_t due
        _tell_ended(self)
        if self._ends_tunnels(now):
            self._tunnels_end = True
            for exchange in self.exchanges:
                if exchange.is_tunnel:
                    times.put(exchange, now)
        for exchange in times.take_due(now):
            due = exchange.check(now)
            if exchange.is_tunnel and self._tunnels_end:
                # Checked again soon, as its last call may end any time.
                due = earlier(due, now + REST_NS)
            if exchange.stream is not None:
                times.put(exchange, due)
        return times.first_ns()

    cdef bint _ends_tunnels(self, uint64_t now) except -1:
        """Return whether tunnels have to end: the drain has begun since the last check, or a credential has expired."""
        cdef Link link = self.turns.link()
        cdef bint drains = link.life.drains and not self._drains
        self._drains = link.life.drains
        if drains or link.connection.expires_ns and now >= link.connection.expires_ns:
            return True
        return link.connection.own_due_ns and now >= link.connection.own_due_ns

    cdef int end(self, str text) except -1:
        """Refuse the incomplete requests, as the server stops."""
        cdef Http2Exchange exchange
        for exchange in list(self.exchanges):
            if exchange.has_rest and not exchange.is_answering:
                exchange.refuse(RequestRefusedError(503, text))
        return 0

    cdef int say_goodbye(self, str text) except -1:
        """End the tunnels with the closing messages of their protocols."""
        cdef Http2Exchange exchange
        for exchange in list(self.exchanges):
            if exchange.is_tunnel and exchange.is_open():
                try:
                    exchange.application.end_tunnel(exchange, text)
                except Exception as error:
                    exchange.failed(error)
        return 0

    cdef int lost(self) except -1:
        """End all exchanges, as the connection is lost."""
        cdef Http2Exchange exchange
        for exchange in list(self.exchanges):
            exchange.dropped()
            if exchange.stream is not None:
                self.over(exchange.stream)
        self.turns.latest = None
        self.turns.ready.clear()
        return _tell_ended(self)


cdef int _list_latest(Http2Pages pages) except -1:
    """Note that no more of the request whose head came last has arrived."""
    cdef Exchange latest = pages.turns.latest
    pages.turns.latest = None
    return 0 if latest is None else (<Http2Exchange>latest).await_rest()


cdef int _tell_ended(Http2Pages pages) except -1:
    """Notify applications whose exchanges are not used any more."""
    cdef Http2Exchange exchange
    while pages.ended:
        exchange = pages.ended.pop()
        try:
            exchange.application.exchange_over(exchange)
        except Exception as error:
            exchange.log_failure(error)
    return 0
