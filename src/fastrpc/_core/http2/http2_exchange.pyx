"""An HTTP request on an HTTP/2 stream, and its response.

::

    HEADERS ────► Http2Pages ──► Http2Exchange ──► head_came ──► body ──► request_came ──┐
    DATA ───────► kept while its sender is checked, or held ─► in parts: part_came       ▼      HttpApplication
    RST_STREAM ─► request_dropped                                                        │
    HEADERS, DATA ◄── answer, or begin_parts … end_parts ────────────────────────────────┤
    RST_STREAM ◄── cut; after an answer that did not wait for a long body                │
    WINDOW_UPDATE ◄── the application has read bytes ◄── part_came, body_grew ───────────┘

Each stream has an exchange and an application. A client that sends too fast only fills the window of its stream. A client
that reads too slowly only blocks its stream, which is reset if the client reads nothing for the time that is allowed
between two pieces of a body (`HTTPLimits.body_idle_seconds`).

Bytes that waited are processed in a separate read, never within a call by the application. The application is notified of
the end of its exchange in the same way.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport PyObject

from fastrpc._core.base.instants cimport earlier, pace_due
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.exchange cimport HELD_NS
from fastrpc._core.exchange.request_head cimport VERB_HEAD, long_body_error
from fastrpc._core.exchange.request_watch cimport watch_begin, watch_cut, watch_end, watch_refusal, watch_status
from fastrpc._core.http2.frames cimport CODE_CANCEL, CODE_INTERNAL
from fastrpc._core.http2.header_block cimport TOKEN_STATUS
from fastrpc._core.http2.http_fields cimport asks_head, line_fields, put_response, shared_head, too_large_error
from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.link cimport Link

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # The largest part of a body that is read in parts. After each part the application may pause the reading.
    PART_BYTES = 65_536
    # A body of at most this size keeps its part of the connection's window until its stream is over, if its sender was
    # not checked.
    SHORT_BYTES = 16_384

cdef list CONTINUE = [(TOKEN_STATUS, b":status", b"100")]


@cython.final
cdef class Http2Exchange(TimedExchange):
    """One HTTP request on an HTTP/2 stream, and its response."""

    def __cinit__(self):
        self._content = bytearray()

    cdef bint is_open(self) except -1:
        return self._open_http2() is not None

    cdef Http2Connection _open_http2(self):
        """Return the connection if output may still be sent, else None; advance its clock to the present instant."""
        cdef Http2Connection http2
        if self.stream is None:
            return None
        http2 = self.turns.http2()
        if not http2.is_open(self.stream):
            return None
        http2.not_before(self.turns.link().connection.now)
        return http2

    # The response

    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if http2 is None:
            return 0
        self.begin_answer(status)
        self._send_whole(http2, status, lines, body)
        return self._answered()

    cdef int begin_answer(self, int status) except -1:
        self._status = status
        return TimedExchange.begin_answer(self, status)

    cdef int _send_head(self, Http2Connection http2, int status, bytes lines, int64_t size, bint ends_stream) except -1:
        cdef object fields = line_fields(lines)
        if not http2.begin_head(self.stream):
            return 0
        put_response(http2.sender, status, fields, size)
        return http2.end_head(self.stream, ends_stream)

    cdef int _send_whole(self, Http2Connection http2, int status, bytes lines, bytes body) except -1:
        cdef bint is_bare = status == 204 or status == 304
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
        cdef bint has_body = size > 0 and not (is_bare or self._is_head)
        self._spare_rest(status)
        self._send_head(http2, status, lines, -1 if is_bare else size, not has_body)
        if has_body:
            http2.send_data(self.stream, body, True)
            if self.stream is not None and self.stream.unsent is not None:
                self.waiting_bytes = size
                self.turns.waiting_bytes += size
        return self._weigh()

    cdef int begin_parts(self, int status, bytes lines, int64_t size) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if http2 is None:
            return 0
        self.begin_answer(status)
        self.has_begun = True
        return self._send_head(http2, status, lines, size, False)

    cdef int send_part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1) except -1:
        cdef Http2Connection http2 = self._open_http2()
        size = PyBytes_GET_SIZE(part) if size < 0 else size
        if http2 is None or self._is_head or size == 0:
            return 0
        http2.send_data(self.stream, part if size == PyBytes_GET_SIZE(part) else part[at:at + size], False)
        return self._weigh()

    cdef int end_parts(self) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if http2 is None:
            return 0
        self._spare_rest(self._status)
        http2.end_stream(self.stream)
        return self._answered()

    cdef int _spare_rest(self, int status) except -1:
        """Drop the rest of a body whose response is sent, as at the end of an HTTP/1.1 connection."""
        if self.is_tunnel or self.stream.is_ended_by_peer:
            return 0
        if self.head is not None and self.head.expects_continue and not self._has_continued and self._total == 0:
            # Nothing has to be dropped: the client sends no body before `100 Continue`.
            return 0
        self._owed = 0
        return self.turns.lingering.spare_rest(self.stream, status >= 400)

    cdef int _weigh(self) except -1:
        """Check the memory of output that waits, as it may not cause a flush."""
        cdef Link link = self.turns.link()
        cdef Http2Connection http2 = self.turns.http2()
        if self.stream is not None and self.stream.unsent is not None:
            if self._stall.since_ns == 0:
                self.wait_by(self._check_output(now_ns()))
        elif <int64_t>http2.sender.size() + http2.sender.queued_bytes <= link.gate.send_soft:
            return 0
        return link.connection.weigh_answer()

    cdef int _answered(self) except -1:
        """Note that the whole response was passed to the connection."""
        watch_end(self.watch)
        self.rested_ns = self.life.used_ns = now_ns()
        if not self._is_refused:
            self.turns.http2().note_answered()
        return self._forget()

    cdef int _forget(self) except -1:
        """Forget the request, as it is answered, refused or cancelled. Further bytes of its body are dropped."""
        self.head = None
        self.is_answering = self.has_begun = self.has_rest = False
        self.takes_parts = self.is_deciding = self.is_body_held = self.asks_later = False
        if self._content:
            self._content = bytearray()
        return self._count()

    cdef int cut(self) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if http2 is None:
            return 0
        watch_cut(self.watch)
        self._forget()
        if not self.is_tunnel:
            return http2.reset(self.stream, CODE_INTERNAL)
        # The client gets time for its last output, as after the end of a connection.
        self.turns.lingering.linger(self.stream)
        return http2.end_stream(self.stream)

    cdef int abort(self) except -1:
        cdef Http2Connection http2 = self._open_http2()
        cdef Http2Stream stream = self.stream
        if http2 is None:
            return 0
        self.dropped()
        return http2.reset(stream, CODE_CANCEL)

    cdef int refuse(self, object error) except -1:
        """Answer a refused request; if its answer has begun, reset the stream."""
        cdef Http2Connection http2 = self._open_http2()
        cdef bytes lines, content
        watch_refusal(self.watch, error.status)
        if http2 is not None and self.has_begun:
            http2.reset(self.stream, CODE_CANCEL)
        elif http2 is not None:
            lines, content = self.application.refusal_of(self, error)
            self._send_whole(http2, error.status, lines, content)
        self._drop()
        # Faults of the client only: a late request (408) may come from a well-behaved client.
        return self.note_refused(error.status != 408 and error.status < 500)

    cdef str count_messages(self):
        cdef str text = self.turns.http2().streams.count_messages()
        self.is_streaming = text is None
        return text

    cdef int note_refused(self, bint is_faulty) except -1:
        self._is_refused = True
        return self.turns.http2().note_idle_work() if is_faulty else self.engine().note_unanswered()

    cdef int dropped(self) except -1:
        """Handle a stream that the client has reset, or whose connection is lost."""
        if self.head is None:
            return 0
        watch_cut(self.watch)
        return self._drop()

    cdef int _drop(self) except -1:
        """Notify the application that the request is not answered any more."""
        # Set first, so that a call that ends now does not answer.
        self.is_answering = False
        try:
            self.application.request_dropped(self)
        except Exception as error:
            self.log_failure(error)
        return self._forget()

    cdef int failed(self, object error) except -1:
        """Handle an exception of the application: answer the request, or reset its stream. Other streams continue."""
        if isinstance(error, RequestRefusedError):
            return self.refuse(error)
        return self._drop() if self.answer_failure(error) else 0

    # Output that waits

    cdef bint is_full(self) except -1:
        return self.stream is not None and self.turns.http2().is_full(self.stream)

    cdef bint has_output(self) except -1:
        return self.stream is not None and self.stream.unsent is not None

    cdef int64_t unsent(self) except? -1:
        return self.turns.http2().unsent_bytes()

    cdef int await_room(self) except -1:
        cdef Http2Connection http2 = self._open_http2()
        return 0 if http2 is None else http2.await_turn(self.stream)

    # The head, and the body

    cdef int take_head(self, HeaderBlock block, bint ends_stream) except -1:
        cdef RequestHead head
        cdef int64_t most
        self._has_end = ends_stream
        try:
            if block.is_too_large:
                raise too_large_error()
            head = self.head = shared_head(self.turns.http2().incoming.decoder, block, self.turns.limits, ends_stream)
            if head is None:
                # The request is a CONNECT to another server.
                raise RequestRefusedError(400, "the target is not a path")
            self._is_head = head.verb == VERB_HEAD
            self._asks_tunnel = head.protocol is not None
            watch_begin(self.watch, head)
            most = self.application.head_came(self)
            if self.head is head and not self.is_answering:
                self._await_body(head, most)
            # `head_came` may have answered the request already.
            return self._count() if self.head is head and self.turns.latest is not self else 0
        except Exception as error:
            if self.head is None:
                self._is_head = asks_head(block)
            return self.failed(error)

    cdef int _await_body(self, RequestHead head, int64_t most) except -1:
        """Prepare for the body of a request, or pass a request without a body to the application."""
        if (self._has_end or self._asks_tunnel) and not (self.is_deciding or self.takes_parts):
            return self.hand_over(b"")
        self._most = most
        if head.content_length > most:
            raise long_body_error(self._most)
        self.has_rest = True
        # Most bodies arrive in the same read as their heads, so waiting begins after it.
        self.turns.latest = self
        return 0

    cdef int await_rest(self) except -1:
        """Wait for the body, as no more of it has arrived; if it is read in parts, pass on the request now."""
        cdef RequestHead head = self.head
        if not self.has_rest or self.turns.http2().is_closed:
            return 0
        try:
            # The next check schedules the deadlines of the request and of the check of its sender.
            self.turns.times.put(self, self.engine().now)
            self.application.body_awaited(self)
            if not self.is_deciding and self.head is head:
                self._begin_body()
            return 0 if self.head is None else self._count()
        except Exception as error:
            return self.failed(error)

    cdef int _begin_body(self) except -1:
        """Start reading the body; if it is read in parts, pass the request to the application now."""
        if self.asks_later:
            # The reading is paused until the application asks for the body; the client may send it anyway.
            self.is_body_held = True
        else:
            if self.head.expects_continue:
                self.send_continue()
            self._await_bytes()
        if self._asks_tunnel:
            self.has_rest = self.takes_parts = False
            return self.hand_over(b"")
        if self.takes_parts:
            self.hand_over(b"")
        return self._take_body()

    cdef int _await_bytes(self) except -1:
        """Set the deadline for the body, or for the rest of it."""
        self._began_ns = self._heard_ns = now_ns()
        return self.wait_by(self._began_ns + self.turns.patience_ns)

    cdef int send_continue(self) except -1:
        cdef Http2Connection http2 = self._open_http2()
        self._has_continued = True
        return 0 if http2 is None or self._has_end else http2.send_head(self.stream, None, CONTINUE, False)

    cdef int take_data(self, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        """Process a part of the body; drop it if the request is answered."""
        cdef bint is_whole = ends_stream and size <= self._most and self.has_rest and not (
            self._content or self.is_answering or self.is_deciding or self.takes_parts or self._asks_tunnel
        )
        try:
            if self.turns.latest is self:
                self.turns.latest = None
                if not is_whole:
                    self.await_rest()
            if self.stream is None:
                # `await_rest` has refused the request.
                return 0
            if is_whole:
                self._has_end, self.has_rest = True, False
                self.hand_over(data[:size])
                return 0 if self.head is None else self._count()
            if self._asks_tunnel and self.head is not None:
                return self._take_ahead(data, size, ends_stream)
            if not self.has_rest or self.is_answering and not self.takes_parts:
                self._owed += size
                return self.turns.http2().took(self.stream, size) if self.stream.lingers else 0
            self._has_end = ends_stream
            self._heard_ns = self.engine().now
            self._total += size
            self._owed += size
            if self.takes_parts and size <= PART_BYTES and not self._content and self.takes_more():
                return self._give(data[:size])
            self._content += data[:size]
            return self._take_body()
        except Exception as error:
            return self.failed(error)

    cdef int take_rest(self) except -1:
        """Process the waiting bytes, as it is their turn."""
        self.has_turn = False
        try:
            return self._take_tunnel() if self.is_tunnel else self._take_body()
        except Exception as error:
            return self.failed(error)

    cdef int _take_body(self) except -1:
        """Process the waiting bytes of the body as far as possible now."""
        cdef Py_ssize_t size = PyByteArray_GET_SIZE(self._content)
        cdef bytes part
        if self.is_deciding or not self.has_rest:
            return self._count()
        if self.takes_parts:
            while self.takes_more() and (self._content or self._has_end):
                part = bytes(self._content[:PART_BYTES])
                del self._content[:PART_BYTES]
                self._give(part)
            return self._count()
        if size > self._most:
            raise long_body_error(self._most)
        if self._has_end:
            part = bytes(self._content)
            self._content = bytearray()
            self.has_rest = False
            return self.hand_over(part)
        if size == 0:
            return 0
        self._count()
        self.application.body_grew(self, size)
        return self._return_credit(self._owed)

    cdef int _give(self, bytes part) except -1:
        """Pass a part of the body to the application."""
        cdef bint is_last = self._has_end and not self._content
        self.has_rest = not is_last
        self._return_credit(PyBytes_GET_SIZE(part))
        return self.application.part_came(self, part, is_last)

    cdef int _return_credit(self, Py_ssize_t size) except -1:
        """Return bytes that the application has read to the window of the stream."""
        cdef Http2Connection http2 = self._open_http2()
        self._owed -= size
        if http2 is None:
            return 0
        if self.stream.keeps_credit and (self.takes_parts or self.is_tunnel or self._total > SHORT_BYTES):
            # In these cases the sender was checked, so the connection's credit is returned, too.
            http2.release(self.stream)
        http2.took(self.stream, size)
        return http2.let_grow(self.stream) if self._owed == 0 else 0

    cdef int _count(self) except -1:
        """Count the head and the waiting bytes as unprocessed input, except a body that is counted for its call."""
        cdef bint waits = self.is_deciding or self.takes_parts or self._asks_tunnel
        cdef Py_ssize_t kept = PyByteArray_GET_SIZE(self._content) if waits else 0
        cdef Py_ssize_t change
        if self.head is not None:
            kept += self.head.kept_bytes
        change = kept - self._counted
        self._counted = kept
        return self.turns.link().tail_changed(change) if change else 0

    cdef int hand_over(self, bytes body) except -1:
        cdef Engine engine = self.engine()
        TimedExchange.hand_over(self, body)
        # The clock is read after each request, which may cost far more than a message of gRPC.
        engine.messages_left = min(engine.messages_left, 0)
        return 0

    cdef int admit_body(self) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if not self.is_deciding or http2 is None:
            return 0
        self.is_deciding = False
        if not self.has_rest:
            # This is called within `head_came`, whose caller continues the request.
            return 0
        if self.stream.keeps_credit:
            http2.release(self.stream)
        if self.turns.latest is self:
            # This is called within the read of the head, at whose end the reading of the body starts.
            return 0
        try:
            return self._begin_body()
        except Exception as error:
            return self.failed(error)

    cdef int hold_body(self, bint is_held) except -1:
        if self.is_body_held == is_held or not (self.has_rest or self.is_tunnel):
            return 0
        self.is_body_held = is_held
        self.rested_ns = now_ns()
        if is_held:
            # The client has no deadline while the application pauses the reading. For a tunnel, a check detects a client
            # that disconnects meanwhile.
            return self.wait_by(self.rested_ns + HELD_NS) if self.is_tunnel else 0
        if self.has_rest:
            self._await_bytes()
        return self.go_on()

    cdef bint takes_more(self) except -1:
        if self.is_body_held or self.is_deciding:
            return False
        return self.is_tunnel and self._open_http2() is not None or self.takes_parts and self.has_rest

    cdef int go_on(self) except -1:
        if self.has_turn or self._open_http2() is None or not self.takes_more() or not (self._content or self._has_end):
            return 0
        self.has_turn = True
        return self.turns.give(self)

    # A tunnel, by an extended CONNECT

    cdef int open_tunnel(self, str protocol, bytes lines) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if http2 is None:
            return 0
        if protocol:
            lines = b"Sec-WebSocket-Protocol: %b\r\n%b" % (protocol.encode("ascii"), lines)
        self.has_begun = self.is_tunnel = True
        self._send_head(http2, 200, lines, -1, False)
        watch_status(self.watch, 200)
        watch_end(self.watch)
        return self.go_on()

    cdef int send(self, bytes data) except -1:
        cdef Http2Connection http2 = self._open_http2()
        if http2 is None:
            return 0
        http2.send_data(self.stream, data, False)
        return self._weigh()

    cdef int _take_ahead(self, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        """Process bytes of a tunnel; they wait until the tunnel is open, and while its reading is paused."""
        if ends_stream and not self.is_tunnel:
            # The client ends the stream before the tunnel is open.
            return self.abort()
        self._has_end = ends_stream
        self._owed += size
        self._content += data[:size]
        return self._take_tunnel() if self.is_tunnel and not self.has_turn else self._count()

    cdef int _take_tunnel(self) except -1:
        """Pass the waiting bytes to the protocol of the tunnel; the end of the stream ends the tunnel."""
        # A reference, as the protocol may end the tunnel, which replaces `_content`.
        cdef bytearray content = self._content
        cdef Py_ssize_t size = PyByteArray_GET_SIZE(content), taken = 0
        if size and self.takes_more():
            taken = self.application.tunnel_came(self, PyByteArray_AS_STRING(content), size)
            del content[:taken]
            self._return_credit(taken)
        if self.head is None:
            return 0
        if taken and self._content and self.takes_more():
            # The rest is processed in a separate read, as the time of this one may be over.
            return self.go_on()
        if self._has_end and self.takes_more():
            # At most an incomplete frame of the protocol is left.
            self.dropped()
            return self.turns.http2().end_stream(self.stream) if self.is_open() else 0
        return self._count()

    # Time

    cdef int look_by(self, uint64_t due_ns) except -1:
        cdef PyObject* below
        if due_ns == 0 or self.stream is None:
            return 0
        self.turns.times.put(self, due_ns)
        below = self.turns.http2().stream_below()
        return 0 if below is NULL else (<ByteStream>below).schedule_check(due_ns)

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = 0
        try:
            if self.is_tunnel and self.head is not None:
                due = self.application.tunnel_due(self, now)
            if self.head is not None:
                due = earlier(due, self.application.request_due(self, now))
        except Exception as error:
            self.failed(error)
        if self.has_rest:
            due = earlier(due, self._check_body(now))
        if self.stream is None:
            return due
        return earlier(due, self._check_output(now))

    cdef uint64_t _check_body(self, uint64_t now) except? 0:
        """Refuse a request whose body is late, unless the server delays it; return the instant of the next check."""
        cdef ConnectionLife life = self.life
        cdef Http2Connection http2 = self._open_http2()
        cdef uint64_t late_ns
        if http2 is None or self.is_deciding or self.is_body_held or self._has_end:
            return 0
        if self.is_answering and not self.takes_parts:
            return 0
        if life.is_held_back or http2.stream_below() is NULL or (<ByteStream>http2.stream_below()).waits_for_turn() or (
            http2.incoming.flow.receivable(&self.stream.windows) <= 0 or http2.incoming.flow.receiving.left <= 0
        ):
            self._heard_ns = now
        late_ns = self.turns.patience_ns + pace_due(
            max(self._began_ns, life.resumed_ns), max(self._heard_ns, life.resumed_ns), self._total
        )
        if now < late_ns:
            return min(late_ns, now + self.turns.look_ns)
        self.refuse(RequestRefusedError(408, "the request did not come in time"))
        return 0

    cdef uint64_t _check_output(self, uint64_t now) except? 0:
        """Reset a stream whose client reads none of its output; return the instant of the next check."""
        cdef Http2Stream stream = self.stream
        cdef uint64_t since_ns = self.turns.http2().sender.stalled_since(stream, &self._stall, now)
        if since_ns and now >= since_ns + self.turns.patience_ns:
            self.dropped()
            self.turns.http2().reset(stream, CODE_CANCEL)
            return 0
        return min(since_ns + self.turns.patience_ns, now + self.turns.look_ns) if since_ns else 0
