"""The server's side of an HTTP/1.1 connection: an engine.

::

    receive ──► head ──► head_came: access and body's length ──► body ──► request_came ──┐
                  ▲                                     └─► in parts: part_came          ▼
                  └── the next request, if any was sent behind this one ◄──── answer, or begin_parts … end_parts

Requests are answered one after the other: bytes sent before the answer wait in the stream, unparsed. The stream reads
up to `AHEAD_BYTES` ahead, so that the end of a client is seen while its request runs. Nothing is read while the peer
reads none of its answers. However many requests arrive together, each turn of the loop has time for other connections:
the clock is read after every request.

A refused request is answered, and the connection closes: the meaning of its next bytes is unknown. Every state that
waits for the peer has an instant at which it ends; a body defers it only by bytes of its content, and only if they
arrive at a lowest rate. The instants are here, their rules in `server/connection_life`.

The connection holds what answers its requests, an `HttpApplication`. `python_connection` has the base of applications in
Python.
"""

import logging

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp

from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.request_head cimport VERB_HEAD
from fastrpc._core.http1.body cimport AHEAD_BYTES, leaves_body
from fastrpc._core.http1.head cimport Http1Head, head_size, parse_head
from fastrpc._core.http1.request_watch cimport watch_begin, watch_cut, watch_end, watch_refusal, watch_status
from fastrpc._core.http1.response_head cimport first_lines_of, write_head
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.connection_life cimport ConnectionLife, new_life
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # The largest part of a body that is passed on in parts: after each part the application may pause the next one.
    PART_BYTES = 65_536

HELD_NS = 250_000_000
# When to look again whether the last answer was taken.
cdef uint64_t UNSENT_NS = 50_000_000

cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef bytes CLOSES = b"Connection: close\r\n"
cdef bytes STAYS = b"Connection: keep-alive\r\n"
cdef bytes CHUNKED = b"Transfer-Encoding: chunked\r\n"
cdef bytes LINE_END = b"\r\n"
cdef bytes LAST_CHUNK = b"0\r\n\r\n"

logger = logging.getLogger("fastrpc.server")


cdef class HttpConnection(Engine):
    """The server's side of one HTTP/1.1 connection."""

    def __init__(self, RequestLimits limits not None):
        self.limits = limits
        self.life = new_life(self, None)
        self.life.handshake_ns = nanoseconds(limits.header_seconds)
        self.life.idle_ns = nanoseconds(limits.idle_seconds)
        self.life.patience_ns = nanoseconds(limits.body_idle_seconds)
        self.life.closes_by_answers = self.life.ends_late_peers = True

    # Functions for applications

    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1:
        cdef Http1Head head = self.head
        cdef bytes connection = b"", first
        cdef Py_ssize_t size
        self._begin_answer(status)
        first = first_lines_of(status)
        closes = closes or self.is_draining or not head.keeps_alive or leaves_body(head, self.body, self.asks_later)
        if closes:
            connection = CLOSES
        elif head.minor_version == 0:
            connection = STAYS
        if not self.is_closed:
            size = -1 if status in (204, 304) else PyBytes_GET_SIZE(body)
            write_head(self.output.out, first, lines, connection, size)
            if size > 0 and head.verb != VERB_HEAD:
                self.output.put(body, 0, size)
            self.written()
        return self._answered(closes)

    cdef int _begin_answer(self, int status) except -1:
        if not self.is_answering or self.has_begun:
            raise RuntimeError("there is no request to answer")
        return watch_status(self.watch, status)

    cdef int begin_parts(self, int status, bytes lines) except -1:
        """Begin a response of unknown length; `send_part` and `end_parts` follow."""
        cdef Http1Head head = self.head
        self._begin_answer(status)
        self.has_begun = True
        if head.minor_version == 0:
            # The end of the connection ends it.
            lines += CLOSES
        elif self.is_draining or not head.keeps_alive:
            lines += CHUNKED + CLOSES
        else:
            lines += CHUNKED
        return self.write(first_lines_of(status) + lines + LINE_END)

    cdef int begin_sized(self, int status, bytes lines, int64_t size) except -1:
        """Begin a response of this length, -1: one without a body; `send_part` and `end_parts` follow."""
        cdef Http1Head head = self.head
        self._begin_answer(status)
        self.has_begun = self.is_sized = True
        if size >= 0:
            lines += b"Content-Length: %d\r\n" % size
        if self.is_draining or not head.keeps_alive:
            lines += CLOSES
        elif head.minor_version == 0:
            lines += STAYS
        return self.write(first_lines_of(status) + lines + LINE_END)

    cdef int send_part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1) except -1:
        """Send a part, or `size` bytes of it from `at` on; a long part is kept whole until it is sent."""
        cdef bint is_chunk = not self.is_sized and self.head.minor_version > 0
        size = PyBytes_GET_SIZE(part) if size < 0 else size
        if self.head.verb == VERB_HEAD or size == 0 or self.is_closed:
            return 0
        if is_chunk:
            self.write(b"%x\r\n" % size)
        self.output.put(part, at, size)
        return self.write(LINE_END if is_chunk else b"")

    cdef int end_parts(self) except -1:
        cdef Http1Head head = self.head
        cdef bint closes = self.is_draining or not head.keeps_alive or head.minor_version == 0 and not self.is_sized
        if head.minor_version and head.verb != VERB_HEAD and not self.is_sized:
            self.write(LAST_CHUNK)
        return self._answered(closes or leaves_body(head, self.body, self.asks_later))

    cdef int _answered(self, bint closes) except -1:
        """The response is written: close, or wait for the next request."""
        self._dropped = 0 if self.body is None or closes else self.body.left
        watch_end(self.watch)
        self.is_answering = self.has_begun = self.is_sized = False
        self.takes_parts = self.is_deciding = self.is_body_held = self.asks_later = False
        self.head = None
        self.body = None
        if closes:
            return self._end()
        self._rests = True
        self.rested_ns = self.life.used_ns = now_ns()
        self._wait_until(self.life.rest_due(self.life.used_ns))
        return self._go_on()

    cdef int write(self, bytes data) except -1:
        """Send bytes: at the end of the read that is handled now, else in the next turn of the loop."""
        if self.is_closed:
            return 0
        self.output.put(data, 0, PyBytes_GET_SIZE(data))
        return self.written()

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        """Schedule a check of all instants for this instant, or earlier; 0: for none."""
        return 0 if self._stream is NULL or due_ns == 0 else (<ByteStream>self._stream).schedule_check(due_ns)

    def unsent_bytes(self):
        """Return the bytes of output that the peer has not taken."""
        return self.unsent_output()

    cdef uint64_t date(self) noexcept:
        """Return the arrival of the request that is read now; a request that waited for an answer has that answer's date."""
        return max(self.came_ns or self.now, self.rested_ns)

    cdef int admit_body(self) except -1:
        """Allow the body, and read the part that was already received."""
        if not self.is_deciding or self.is_closed:
            return 0
        self.is_deciding = False
        if self.body is None:
            # The decision was made within `head_came`: the request continues there.
            return 0
        self._begin_body()
        self._go_on()
        return 0

    cdef int ask_body(self) except -1:
        """Ask the client for the body, if it waits to be asked."""
        if not self.asks_later:
            return 0
        self.asks_later = False
        if not self.has_begun:
            # After the head of the response it would be read as a part of the response.
            self.write(CONTINUE)
        return self.hold_body(False)

    cdef int hold_body(self, bint is_held) except -1:
        """Pause or resume the further parts of the body."""
        if self.is_body_held == is_held or self.body is None and not self.is_upgraded:
            return 0
        self.is_body_held = is_held
        if self.is_upgraded:
            self.rested_ns = now_ns()
            return self._look_soon() if is_held else self._go_on()
        if is_held:
            # The application has any time to take it.
            self._due_ns = 0
            return 0
        self._body_began_ns = now_ns()
        self._wait(self.life.patience_ns)
        return self._go_on()

    cdef int _look_soon(self) except -1:
        """Schedule a check of the peer by the protocol that took over: it may leave while nothing of it is read."""
        cdef uint64_t due = self.rested_ns + HELD_NS
        return 0 if self._due_ns and self._due_ns < due else self._wait_until(due)

    @property
    def is_at_rest(self):
        """Whether it carries nothing, and a last request may still come."""
        return not (self.is_answering or self.is_upgraded or self.head is not None or self._seen or self.unsent_output())

    def begin_drain(self):
        """Close after the next answer; an idle connection stays open for one more request."""
        self.is_draining = True

    # The engine

    cdef int connected(self) except -1:
        self.life.begin(now_ns())
        # The opening is the first head, which is answered if it is late.
        self._wait_until(self.life.opening_due_ns)
        self.life.opened()
        return 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if self.is_closed:
            return size
        if not self._may_parse():
            self._leave_ahead(size)
            return 0
        return self._parse(data, size)

    cdef int lost(self, object error) except -1:
        watch_cut(self.watch)
        self.is_answering = False
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        self._check_peer(now)
        due = 0 if self.is_closed else self._apply_rules(now)
        return self._due_ns if self.is_closed else earlier(self._due_ns, due)

    cdef int _check_peer(self, uint64_t now) except -1:
        """Answer a late request; abort a connection whose peer does not read its output, or does not notice its end."""
        if self._due_ns == 0 or now < self._due_ns:
            return 0
        self._due_ns = 0
        if self.is_closed and self._untaken == 0 or not self.is_closed and self.is_stuck and self.life.is_stuck(1, now):
            self.abort()
        elif self.is_closed and not self.life.has_taken():
            self.abort()
        elif self.is_closed or self.is_stuck:
            self._untaken = self._untaken_bytes()
            if self._stream is not NULL:
                self._wait(self.life.patience_ns)
        elif self.is_upgraded:
            self._due_ns = self.application.upgraded_due(self, now)
        elif self.head is None and self._seen == 0:
            # At rest its life ends it.
            return 0 if self._rests else self._end()
        else:
            self._refuse(RequestRefusedError(408, "the request did not come in time"))
        return 0

    cdef uint64_t _apply_rules(self, uint64_t now) except? 0:
        """Give the life of the connection its facts; return the instant of the next check."""
        cdef ConnectionLife life = self.life
        cdef EngineServedConnection served = None if life.connection is NULL else <EngineServedConnection>life.connection
        cdef bint is_between = not (self.is_answering or self.head is not None or self._seen)
        cdef bint is_aged = life.aged_at_ns and now >= life.aged_at_ns
        cdef uint64_t due = 0
        cdef Facts facts
        if is_between and served is not None and (served.held or served.queue):
            # One-way calls: their ends are polled, since none of them continues the connection.
            is_between = False
            due = now + life.look_after()
        if self.is_stuck and is_between:
            # The last answer is still being taken: the rest period, and any further input, begin then.
            life.used_ns = now
            due = max(now + UNSENT_NS, life.left_due()) if life.drains else 0
        # The rest period of the connection begins with the first answer.
        facts.is_busy = not is_between or not (is_aged or self._rests or life.drains)
        facts.is_receiving = False
        facts.unsent = facts.parked = 0 if served is None else served.unsent_bytes()
        return earlier(due, life.check(now, &facts))

    cdef uint64_t blocked(self) except? 0:
        if self.is_stuck or self._stream is NULL or not (<ByteStream>self._stream).is_stuck():
            return 0
        self.is_stuck = True
        # The peer's time stops here and continues later: nothing is read meanwhile.
        self._left_ns = max(self._due_ns, self.now) - self.now if self._due_ns else 0
        self.life.stuck_ns = 0
        self.life.is_stuck(1, self.now)
        self._wait(self.life.patience_ns)
        return self._due_ns

    cdef int unblocked(self) except -1:
        self.is_stuck = False
        self._due_ns = 0
        if self.is_upgraded:
            self._wait(0)
        elif not self.is_answering:
            if self._left_ns == 0 or self._rests:
                self.life.used_ns = now_ns()
                self._wait_until(self.life.rest_due(self.life.used_ns))
            else:
                self._wait_until(now_ns() + self._left_ns)
        return self._go_on()

    # Requests

    cdef bint _may_parse(self) noexcept:
        """Return whether further bytes may be parsed now."""
        if self.is_stuck or self.is_closed or self.is_deciding:
            return False
        if self.is_upgraded:
            return not self.is_body_held
        return not self.is_answering or self.takes_parts and self.body is not None and not self.is_body_held

    cdef int _leave_ahead(self, Py_ssize_t size) except -1:
        """Leave bytes in the stream until it is their turn."""
        if self.is_stuck or size > AHEAD_BYTES:
            (<ByteStream>self._stream).hold_input()
        else:
            self._has_ahead = True
        return 0

    cdef int _go_on(self) except -1:
        """Take the requests that arrived early, in their own turn."""
        cdef ByteStream stream
        if self._stream is NULL or not self._may_parse():
            return 0
        stream = <ByteStream>self._stream
        if self._has_ahead:
            self._has_ahead = False
            # During a read, the read takes them.
            if not self.is_reading:
                stream.hold_input()
        return stream.release_input()

    cdef Py_ssize_t _parse(self, const char* data, Py_ssize_t size) except -1:
        """Take requests from these bytes; return the number taken. The rest is an incomplete part, or waits."""
        cdef Py_ssize_t at = 0, taken = 1
        try:
            while at < size and taken and self._may_parse():
                if self.is_upgraded:
                    at += self.application.upgraded_came(self, data + at, size - at)
                    break
                if self._dropped:
                    taken = <Py_ssize_t>min(<int64_t>(size - at), self._dropped)
                    self._dropped -= taken
                elif self.body is None:
                    taken = self._take_head(data + at, size - at)
                else:
                    taken = self._take_body(self.body, data + at, size - at)
                at += taken
                # A request may cost far more than a message of another protocol.
                if self.head is None and taken and at < size and self.has_to_wait():
                    return at
        except RequestRefusedError as error:
            self._refuse(error)
        if self.is_closed:
            return size
        if at < size and not self._may_parse():
            self._leave_ahead(size - at)
        return at

    cdef Py_ssize_t _take_head(self, const char* data, Py_ssize_t size) except -1:
        """Take a head, and ask whether the request may come; return 0 if the head is incomplete."""
        cdef Http1Head head
        cdef Py_ssize_t whole
        cdef int64_t most
        # A head that is refused, or late, is not parsed to its end.
        self._is_head = size >= 5 and memcmp(data, b"HEAD ", 5) == 0
        if data[0] == b"\r" and not self._had_empty_line:
            # One empty line before a request is ignored (RFC 9112, section 2.2): old clients end a body with it.
            if size > 1 and data[1] != b"\n":
                raise RequestRefusedError(400, "the request does not begin with a method")
            self._had_empty_line = size > 1
            self._begin_head()
            return 2 if size > 1 else 0
        whole = head_size(data, size, &self._seen, self.limits)
        if whole == 0:
            self._begin_head()
            return 0
        self._seen = 0
        self._had_empty_line = self._rests = False
        head = self.head = parse_head(data, whole, self.limits)
        watch_begin(self.watch, head)
        most = self.application.head_came(self, head)
        if self.is_closed or self.is_answering or self.head is not head:
            # The request was answered at once.
            return whole
        if 0 <= head.content_length <= size - whole and head.content_length <= most and not (
            self.is_deciding or self.takes_parts
        ):
            # The body is complete.
            self._hand_over(data[whole:whole + <Py_ssize_t>head.content_length])
            return whole + <Py_ssize_t>head.content_length
        self._await_body(head, most)
        return whole

    def _begin_head(self):
        """Start the time for the head of a request, at its first byte."""
        if self._rests or self._due_ns == 0:
            self._rests = False
            self._wait(self.life.handshake_ns)

    def _await_body(self, Http1Head head, int64_t most):
        """Wait for the body of a request; a request whose body is taken in parts is handed over now."""
        self.body = BodyReader(head.content_length, most, self.limits)
        self.application.body_awaited(self)
        if self.is_deciding:
            self._due_ns = 0
            return
        self._begin_body()

    def _begin_body(self):
        """Let the body come; a request whose body is taken in parts, or is empty, is handed over now."""
        cdef Http1Head head = self.head
        if self.asks_later:
            # Held like a part that waits for the application; the client may still send the body.
            self.is_body_held = True
            self._due_ns = 0
        else:
            if head.expects_continue and head.has_body:
                self.write(CONTINUE)
            self._body_began_ns = now_ns()
            self._wait(self.life.patience_ns)
        if self.takes_parts:
            self._hand_over(b"")
        if self.body is not None and self.body.is_whole:
            self._take_body(self.body, NULL, 0)

    cdef Py_ssize_t _take_body(self, BodyReader body, const char* data, Py_ssize_t size) except -1:
        """Take a part of the body; hand the request over once it is whole."""
        cdef Py_ssize_t before = len(body.content)
        cdef Py_ssize_t taken = body.take(data, min(size, PART_BYTES) if self.takes_parts else size)
        if self.takes_parts:
            if body.is_whole:
                self.body = None
                self._due_ns = 0
                self.application.part_came(self, body.taken_content(), True)
            elif len(body.content):
                self._put_off_body(body)
                self.application.part_came(self, body.taken_content(), False)
        elif body.is_whole:
            self.body = None
            self._hand_over(body.value())
        elif len(body.content) > before:
            # Lines before chunks and trailers do not defer the deadline: a peer could send them byte by byte for hours.
            self._put_off_body(body)
            self.application.body_grew(self, len(body.content))
        return taken

    cdef int _put_off_body(self, BodyReader body) except -1:
        return self._wait_until(self.life.message_due(self._body_began_ns, now_ns(), body.total))

    cdef int _hand_over(self, bytes body) except -1:
        # While it is answered, the application's time runs.
        if not self.takes_parts:
            self._due_ns = 0
        self.is_answering = True
        try:
            self.application.request_came(self, self.head, body)
        except RequestRefusedError:
            raise
        except Exception as error:
            logger.error("a request of %s failed", self.peer_name, exc_info=error)
            if self.is_answering and not self.has_begun:
                self.answer(500, b"", b"", True)
            else:
                self.abort()
        return 0

    cdef int _refuse(self, object error) except -1:
        """Answer a request that is refused, and close; the answer to a HEAD has no body (RFC 9110, section 9.3.2)."""
        cdef bytes refusal
        cdef bint is_head = self._is_head if self.head is None else self.head.verb == VERB_HEAD
        watch_refusal(self.watch, error.status)
        if not self.has_begun:
            refusal = first_lines_of(error.status) + CLOSES + self.application.refusal_of(self, error)
            self.write(refusal[:refusal.index(b"\r\n\r\n") + 4] if is_head else refusal)
        self.application.request_dropped(self)
        self.body = None
        self.head = None
        return self._end()

    cdef int _end(self) except -1:
        """Close once the output is sent; further bytes of the peer are read and dropped, so that it gets the answer."""
        if self.is_closed or self._stream is NULL:
            return 0
        watch_cut(self.watch)
        self.is_answering = False
        return self._finish(self.life.linger_ns != 0)

    def close(self, reason=0, text=""):
        """Close once all output is sent: with an unread request the system would otherwise discard the last answer."""
        if self.life.has_ended:
            # A request may cross the end.
            self._end()
        elif not self.is_closed and self._stream is not NULL:
            self._finish(self.life.linger_ns != 0 and (<ByteStream>self._stream).has_unread())

    cdef int _finish(self, bint lingers) except -1:
        cdef ByteStream stream = <ByteStream>self._stream
        self.is_closed = True
        stream.finish(lingers)
        # Bytes that came ahead are dropped now.
        stream.release_input()
        self.life.has_taken()
        self._untaken = self._untaken_bytes()
        if self._untaken or not lingers:
            return self._wait(self.life.patience_ns)
        return self._wait_until(self.life.linger(now_ns()))

    cdef int64_t _untaken_bytes(self) except -1:
        return 0 if self._stream is NULL else (<ByteStream>self._stream).untaken_bytes()

    # Time

    cdef int _wait(self, uint64_t span_ns) except -1:
        """Start the peer's time for its next step."""
        return self._wait_until(now_ns() + span_ns)

    cdef int _wait_until(self, uint64_t due_ns) except -1:
        self._due_ns = due_ns
        return self.schedule_check(due_ns)
