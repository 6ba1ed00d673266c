"""The requests of an HTTP/1.1 connection, one after the other, and their responses, as bytes.

::

    take ──► head ──► head_came: access and body's length ──► body ──► request_came ──┐
               ▲                                     └─► in parts: part_came          ▼
               └── the next request, if any was sent after this one ◄──── answer, or begin_parts … end_parts

Bytes sent before the answer wait in the stream, unparsed. The stream reads on up to `AHEAD_BYTES` of them, so that the
end of a client is seen while its request runs. However many requests come together, each turn of the loop has time for
other connections: the clock is read after every request.

A refused request is answered, and the connection closes: the meaning of its next bytes is unknown. Every state that
waits for the peer ends at some instant. In a body only bytes of its content defer this instant, and only if they arrive
at a minimum rate.

A connection holds one exchange. It sets `is_stuck` and `is_draining`, and looks at `due_ns`.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.string cimport memcmp

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.exchange cimport HELD_NS, UNKNOWN_SIZE
from fastrpc._core.exchange.request_head cimport VERB_HEAD
from fastrpc._core.exchange.request_watch cimport watch_begin, watch_cut, watch_end, watch_refusal, watch_status
from fastrpc._core.http1.body cimport AHEAD_BYTES, leaves_body
from fastrpc._core.http1.head cimport head_size, parse_head
from fastrpc._core.http1.response_head cimport first_lines_of, switching_head, write_head
from fastrpc._core.io.engine cimport ByteStream, Engine

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # The largest part of a body that is read in parts. After each part the application may pause the reading.
    PART_BYTES = 65_536
    # The unsent output above which the senders of streams wait.
    STREAM_ROOM = 65_536

cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef bytes CLOSES = b"Connection: close\r\n"
cdef bytes STAYS = b"Connection: keep-alive\r\n"
cdef bytes CHUNKED = b"Transfer-Encoding: chunked\r\n"
cdef bytes LINE_END = b"\r\n"
cdef bytes LAST_CHUNK = b"0\r\n\r\n"


cdef class Http1Exchange(ReceivedExchange):
    """The requests of one connection, one after the other, and their responses."""

    def __cinit__(self):
        self.is_alone = True

    cdef bint is_open(self) except -1:
        return not (<Engine>self.link).is_closed

    # The response

    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1:
        cdef Engine engine = <Engine>self.link
        cdef Http1Head head = <Http1Head>self.head
        cdef bytes stays = b"", first
        cdef Py_ssize_t size
        self.begin_answer(status)
        first = first_lines_of(status)
        closes = (
            closes or self.is_draining or not head.keeps_alive or leaves_body(head, self._body, self.asks_later)
        )
        if closes:
            stays = CLOSES
        elif head.minor_version == 0:
            stays = STAYS
        if not engine.is_closed:
            size = -1 if status in (204, 304) else PyBytes_GET_SIZE(body)
            write_head(engine.output.out, first, lines, stays, size)
            if size > 0 and head.verb != VERB_HEAD:
                engine.output.put(body, 0, size)
            engine.written()
        return self._answered(closes)

    cdef int begin_parts(self, int status, bytes lines, int64_t size) except -1:
        cdef Http1Head head = <Http1Head>self.head
        self.begin_answer(status)
        self.has_begun = True
        self._is_sized = size != UNKNOWN_SIZE
        if size >= 0:
            lines += b"Content-Length: %d\r\n" % size
        elif not self._is_sized and head.minor_version:
            lines += CHUNKED
        if self.is_draining or not head.keeps_alive or not self._is_sized and head.minor_version == 0:
            # In HTTP/1.0 the end of the connection ends a response of unknown size.
            lines += CLOSES
        elif head.minor_version == 0:
            lines += STAYS
        return self.send(first_lines_of(status) + lines + LINE_END)

    cdef int send_part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1) except -1:
        cdef Engine engine = <Engine>self.link
        cdef bint is_chunk = not self._is_sized and (<Http1Head>self.head).minor_version > 0
        size = PyBytes_GET_SIZE(part) if size < 0 else size
        if self.head.verb == VERB_HEAD or size == 0 or engine.is_closed:
            return 0
        if is_chunk:
            self.send(b"%x\r\n" % size)
        engine.output.put(part, at, size)
        return self.send(LINE_END if is_chunk else b"")

    cdef int end_parts(self) except -1:
        cdef Http1Head head = <Http1Head>self.head
        cdef bint closes = self.is_draining or not head.keeps_alive
        closes = closes or head.minor_version == 0 and not self._is_sized
        if head.minor_version and head.verb != VERB_HEAD and not self._is_sized:
            self.send(LAST_CHUNK)
        return self._answered(closes or leaves_body(head, self._body, self.asks_later))

    cdef int _answered(self, bint closes) except -1:
        """Close, or wait for the next request, as the whole response is written."""
        self._dropped = 0 if self._body is None or closes else self._body.left
        watch_end(self.watch)
        self.is_answering = self.has_begun = self._is_sized = False
        self.takes_parts = self.is_deciding = self.is_body_held = self.asks_later = False
        self._forget_head()
        if closes:
            return self.cut()
        self.rests = True
        self.rested_ns = self.life.used_ns = now_ns()
        self.wait_until(self.life.rest_due(self.life.used_ns))
        return self.go_on()

    cdef int cut(self) except -1:
        if self.engine().is_closed or self.below() is NULL:
            return 0
        watch_cut(self.watch)
        self.is_answering = False
        return self.finish(self.life.linger_ns != 0)

    cdef int finish(self, bint lingers) except -1:
        """Close once all output is sent; while the connection lingers, bytes of the peer are read and dropped."""
        cdef ByteStream stream = <ByteStream>self.below()
        self.engine().is_closed = True
        stream.finish(lingers)
        # Bytes that came ahead are dropped now.
        stream.release_input()
        self.life.has_taken()
        self.note_untaken()
        if self.untaken or not lingers:
            return self.give_time(self.life.patience_ns)
        return self.wait_until(self.life.linger(now_ns()))

    cdef int note_untaken(self) except -1:
        """Note how much of the output the peer has not read."""
        self.untaken = 0 if self.below() is NULL else (<ByteStream>self.below()).untaken_bytes()
        return 0

    cdef int abort(self) except -1:
        (<Engine>self.link).abort()
        return 0

    # Room for output

    cdef bint is_full(self) except -1:
        return self.is_stuck or (<Engine>self.link).output.size() > STREAM_ROOM

    cdef bint has_output(self) except -1:
        return self.is_stuck or (<Engine>self.link).output.size() != 0

    cdef int64_t unsent(self) except? -1:
        return (<Engine>self.link).unsent_output()

    cdef int await_room(self) except -1:
        # Nothing to do: the flush that makes room notifies the application.
        return 0

    # The body

    cdef int admit_body(self) except -1:
        cdef Engine engine = <Engine>self.link
        if not self.is_deciding or engine.is_closed:
            return 0
        self.is_deciding = False
        if self._body is None:
            # This is called within `head_came`, whose caller continues the request.
            return 0
        self._begin_body()
        self.go_on()
        return 0

    cdef int send_continue(self) except -1:
        return self.send(CONTINUE)

    cdef int hold_body(self, bint is_held) except -1:
        if self.is_body_held == is_held or self._body is None and not self.is_tunnel:
            return 0
        self.is_body_held = is_held
        if self.is_tunnel:
            self.rested_ns = now_ns()
            # The check detects a peer that disconnects while none of its bytes are read.
            return self.wait_by(self.rested_ns + HELD_NS) if is_held else self.go_on()
        if is_held:
            # The peer has no deadline while the application pauses the reading.
            self.due_ns = 0
            return 0
        self._body_began_ns = now_ns()
        self.give_time(self.life.patience_ns)
        return self.go_on()

    # A tunnel

    cdef int open_tunnel(self, str protocol, bytes lines) except -1:
        self.has_begun = self.is_tunnel = True
        # The other protocol may always have calls under way: at its age the connection is closed.
        self.life.closes_by_answers = False
        self.send(switching_head(self.head, protocol, lines))
        watch_status(self.watch, 101)
        return watch_end(self.watch)

    cdef int send(self, bytes data) except -1:
        """Queue bytes for the output, which is sent at the end of the present read, or in the next turn of the loop."""
        cdef Engine engine = <Engine>self.link
        if engine.is_closed:
            return 0
        engine.output.put(data, 0, PyBytes_GET_SIZE(data))
        return engine.written()

    cdef bint takes_more(self) except -1:
        """Return whether more input may be processed now, of requests or of a tunnel."""
        if self.is_stuck or (<Engine>self.link).is_closed or self.is_deciding:
            return False
        if self.is_tunnel:
            return not self.is_body_held
        return not self.is_answering or self.takes_parts and self.has_rest and not self.is_body_held

    # Bytes in

    cdef int leave_ahead(self, Py_ssize_t size) except -1:
        """Leave bytes in the stream until they may be processed; stop reading if they are many."""
        if self.is_stuck or size > AHEAD_BYTES:
            (<ByteStream>self.below()).hold_input()
        else:
            self._has_ahead = True
        return 0

    cdef int go_on(self) except -1:
        cdef ByteStream stream
        if self.below() is NULL or not self.takes_more():
            return 0
        stream = <ByteStream>self.below()
        if self._has_ahead:
            self._has_ahead = False
            # A read that is in progress processes them itself.
            if not self.engine().is_reading:
                stream.hold_input()
        return stream.release_input()

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        """Parse requests from these bytes; return the number of consumed bytes. The caller presents the rest again."""
        cdef Engine engine = <Engine>self.link
        cdef Py_ssize_t at = 0, taken = 1
        try:
            while at < size and taken and self.takes_more():
                if self.is_tunnel:
                    at += self.application.tunnel_came(self, data + at, size - at)
                    break
                if self._dropped:
                    taken = <Py_ssize_t>min(<int64_t>(size - at), self._dropped)
                    self._dropped -= taken
                elif self._body is None:
                    taken = self._take_head(data + at, size - at)
                else:
                    taken = self._take_body(self._body, data + at, size - at)
                at += taken
                # The clock is read after each request, which may cost far more than a message of another protocol.
                if self.head is None and taken and at < size and engine.has_to_wait():
                    return at
        except RequestRefusedError as error:
            self._refuse(error)
        if engine.is_closed:
            return size
        if at < size and not self.takes_more():
            self.leave_ahead(size - at)
        return at

    cdef Py_ssize_t _take_head(self, const char* data, Py_ssize_t size) except -1:
        """Parse a head and pass it to the application; return the consumed bytes, 0 if the head is incomplete."""
        cdef Http1Head head
        cdef Py_ssize_t whole
        cdef int64_t most
        # Kept for the answer to a head that is malformed or late, which is not parsed to its end.
        self._is_head = size >= 5 and memcmp(data, b"HEAD ", 5) == 0
        if data[0] == b"\r" and not self._had_empty_line:
            # One empty line before a request is ignored (RFC 9112, section 2.2), as old clients send it after a body.
            if size > 1 and data[1] != b"\n":
                raise RequestRefusedError(400, "the request does not begin with a method")
            self._had_empty_line = size > 1
            _begin_head(self)
            return 2 if size > 1 else 0
        whole = head_size(data, size, &self.seen, self.limits)
        if whole == 0:
            _begin_head(self)
            return 0
        self.seen = 0
        self._had_empty_line = self.rests = False
        self.head = head = parse_head(data, whole, self.limits)
        watch_begin(self.watch, head)
        most = self.application.head_came(self)
        if (<Engine>self.link).is_closed or self.is_answering or self.head is not head:
            # The application has answered the request already.
            return whole
        if 0 <= head.content_length <= size - whole and head.content_length <= most and not (
            self.is_deciding or self.takes_parts
        ):
            # The whole body has arrived.
            self.hand_over(data[whole:whole + <Py_ssize_t>head.content_length])
            return whole + <Py_ssize_t>head.content_length
        self._await_body(head, most)
        return whole

    cdef int _await_body(self, Http1Head head, int64_t most) except -1:
        """Prepare for the body of a request; if the body is read in parts, pass the request to the application now."""
        self._body = BodyReader(head.content_length, most, self.limits)
        self.has_rest = True
        self.application.body_awaited(self)
        if self.is_deciding:
            self.due_ns = 0
            return 0
        return self._begin_body()

    cdef int _begin_body(self) except -1:
        """Start reading the body; if it is read in parts or empty, pass the request to the application now."""
        cdef Http1Head head = <Http1Head>self.head
        if self.asks_later:
            # The reading is paused until the application asks for the body; the client may send it anyway.
            self.is_body_held = True
            self.due_ns = 0
        else:
            if head.expects_continue and head.has_body:
                self.send_continue()
            self._body_began_ns = now_ns()
            self.give_time(self.life.patience_ns)
        if self.takes_parts:
            self.hand_over(b"")
        if self._body is not None and self._body.is_whole:
            self._take_body(self._body, NULL, 0)
        return 0

    cdef Py_ssize_t _take_body(self, BodyReader body, const char* data, Py_ssize_t size) except -1:
        """Read a part of the body; pass the request to the application once the body is complete."""
        cdef Py_ssize_t before = len(body.content)
        cdef Py_ssize_t taken = body.take(data, min(size, PART_BYTES) if self.takes_parts else size)
        if self.takes_parts:
            if body.is_whole:
                self._body_came()
                self.due_ns = 0
                self.application.part_came(self, body.taken_content(), True)
            elif len(body.content):
                self._put_off_body(body)
                self.application.part_came(self, body.taken_content(), False)
        elif body.is_whole:
            self._body_came()
            self.hand_over(body.value())
        elif len(body.content) > before:
            # Only content defers the deadline. With chunk lines and trailers a peer could do it for hours, byte by byte.
            self._put_off_body(body)
            self.application.body_grew(self, len(body.content))
        return taken

    cdef int _put_off_body(self, BodyReader body) except -1:
        return self.wait_until(self.life.message_due(self._body_began_ns, now_ns(), body.total, self.life.patience_ns))

    cdef int hand_over(self, bytes body) except -1:
        # The peer has no deadline while the application answers.
        if not self.takes_parts:
            self.due_ns = 0
        return ReceivedExchange.hand_over(self, body)

    cdef int _refuse(self, object error) except -1:
        """Answer a refused request, and close. The answer to HEAD has no body (RFC 9110, section 9.3.2)."""
        cdef Engine engine = <Engine>self.link
        cdef bytes lines, content
        cdef bint is_head = self._is_head if self.head is None else self.head.verb == VERB_HEAD
        watch_refusal(self.watch, error.status)
        if not self.has_begun:
            lines, content = self.application.refusal_of(self, error)
            if not engine.is_closed:
                write_head(
                    engine.output.out, first_lines_of(error.status) + CLOSES, lines, b"", PyBytes_GET_SIZE(content)
                )
                self.send(b"" if is_head else content)
        self.application.request_dropped(self)
        self._forget_head()
        return self.cut()

    cdef int _body_came(self) except -1:
        """Stop reading the body: it is complete, or the rest is not wanted."""
        self._body = None
        self.has_rest = False
        return 0

    cdef int _forget_head(self) except -1:
        """Forget the request, as it is answered or refused."""
        self.head = None
        return self._body_came()

    # Time

    cdef int give_time(self, uint64_t span_ns) except -1:
        """Set the deadline of the peer's next step to `span_ns` from now."""
        return self.wait_until(now_ns() + span_ns)

    cdef int wait_until(self, uint64_t due_ns) except -1:
        """Set the deadline of the peer's next step; 0: none."""
        self.due_ns = due_ns
        return self.look_by(due_ns)

    cdef int look_by(self, uint64_t due_ns) except -1:
        return 0 if self.below() is NULL or due_ns == 0 else (<ByteStream>self.below()).schedule_check(due_ns)

    cdef int wait_by(self, uint64_t due_ns) except -1:
        return 0 if due_ns == 0 or self.due_ns and self.due_ns <= due_ns else self.wait_until(due_ns)

    cdef str count_messages(self):
        # There is no limit to check, as HTTP/1.1 has one request at a time.
        return None

    cdef int note_refused(self, bint is_faulty) except -1:
        # Refusals of faulty requests need no budget: a client can send the next request only after the answer.
        return 0 if is_faulty else self.engine().note_unanswered()

    cdef int refuse_late(self) except -1:
        """Refuse a request that did not arrive in time."""
        return self._refuse(RequestRefusedError(408, "the request did not come in time"))

    cdef int refuse_rest(self, str text) except -1:
        """Refuse a request whose body is incomplete, as the server stops."""
        if self.head is None or not self.has_rest or self.is_answering:
            return 0
        return self._refuse(RequestRefusedError(503, text))


cdef int _begin_head(Http1Exchange exchange) except -1:
    """Start the time for the head of a request, at its first byte."""
    if exchange.rests or exchange.due_ns == 0:
        exchange.rests = False
        exchange.give_time(exchange.life.handshake_ns)
    return 0
