"""The server's end of a WebSocket: frames in and out, its memory and its time.

::

    frames ──► WebSocketReader ──► message_came     ping: pong     close: peer_closes

The times are as for requests (HTTPLimits): each message has `body_idle_seconds`, as a body has. While a call is under
way, a peer that was silent for `idle_seconds` is sent a ping, and counts as lost if it does not react. At a mounted
application `Keepalive` has both times. A peer whose messages wait here is sent a ping each second.
"""

from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.http.request_fields cimport switching_lines
from fastrpc._core.http1.connection cimport HELD_NS
from fastrpc._core.http1.request_watch cimport watch_end, watch_status
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.websocket.frames cimport (
    CLOSE_NO_CODE,
    CLOSE_POLICY,
    CLOSE_TRY_LATER,
    OPCODE_CLOSE,
    OPCODE_PING,
    OPCODE_PONG,
    TAKEN_CLOSE,
    TAKEN_MESSAGE,
    TAKEN_NOTHING,
    TAKEN_PING,
    close_content,
    frame_of,
)

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.websocket.frames import SocketViolationError

cdef enum:
    # Bytes kept of a message before it is compared with the budgets.
    SMALL_MESSAGE = 65_536

# The interval of pings to a peer that is held.
cdef uint64_t PROBE_NS = 1_000_000_000


cdef class SocketEnd:

    cdef int begin(self, HttpConnection engine, str protocol, bytes lines) except -1:
        """End the handshake, with further fields in its answer."""
        cdef uint64_t first
        self.began_ns = self.used_ns = now_ns()
        self.has_expired(self.began_ns)
        if self.gone_after_ns == 0:
            self.ping_after_ns, self.gone_after_ns = engine.life.idle_ns, engine.life.patience_ns
        engine.has_begun = engine.is_upgraded = True
        self.before = self.terms.answering
        self.dialect = self.before.dialect
        self.terms.answering = self
        # A WebSocket may always have calls under way, so it is closed when it reaches its age.
        engine.life.closes_by_answers = False
        engine.write(switching_lines(engine.head, protocol, lines))
        watch_status(engine.watch, 101)
        watch_end(engine.watch)
        first = min(engine.life.patience_ns, engine.life.idle_ns, self.ping_after_ns or engine.life.idle_ns)
        return engine._wait_until(earlier(self.began_ns + first, self.expires_ns))

    cdef bint has_expired(self, uint64_t now) noexcept:
        """Return whether the credential of the handshake has expired; at a mount also whether it was removed since."""
        if self.call is not None and (self.terms.mount is None or self.terms.needs_identity):
            self.expires_ns = earlier(self.call.own_expires_ns, self.call.connection.expires_ns)
        return self.expires_ns != 0 and now >= self.expires_ns

    # Hooks

    cdef int message_came(self, HttpConnection engine, int kind, bytes message) except -1:
        """Take a whole message."""
        return 0

    cdef int peer_closes(self, HttpConnection engine) except -1:
        """Answer the close frame of the peer."""
        return self.close(engine, self.reader.close_code, "")

    cdef bint has_calls(self) except -1:
        """Return whether a call is under way."""
        return False

    cdef int check_end(self, HttpConnection engine, uint64_t now) except -1:
        """Close the connection where its credential or its server ends."""
        return 0

    cdef uint64_t check_rest(self, HttpConnection engine, uint64_t now) except? 0:
        """Close a connection that is not used; return when to check again."""
        return 0

    cdef int answer(self, HttpConnection engine, ServerCall call, bytes payload) except -1:
        """Answer the call, and close."""
        return 0

    cdef Marshal marshal(self, ServerCall call):
        return None if self.terms.target is None else self.terms.target.marshal(call.codec)

    cdef int answer_message(self, HttpConnection engine, bytes content) except -1:
        """Answer a message at a fixed path."""
        return 0

    # Bytes in

    cdef Py_ssize_t take_bytes(self, HttpConnection engine, const char* data, Py_ssize_t size) except -1:
        """Handle the complete frames in these bytes; return their size."""
        cdef Py_ssize_t at = 0, part
        cdef int taken = TAKEN_NOTHING
        if self.pinged_ns:
            # The peer lives.
            self.pinged_ns = 0
            # The check finds the next end: it may be of a message, a credential or the drain.
            engine._wait_until(engine.now)
        try:
            while at < size and engine._may_parse():
                part = self.reader.take(data + at, size - at, &taken)
                if part == 0:
                    break
                at += part
                engine.messages_left -= 1
                if taken == TAKEN_NOTHING:
                    self.message_bytes += part
                else:
                    self._take(engine, taken)
                if taken != TAKEN_MESSAGE:
                    # Any number of control frames and of pieces may come.
                    engine.note_unanswered()
                if at < size and engine.messages_left < 0 and engine.has_to_wait():
                    break
        except SocketViolationError as error:
            self.close(engine, error.code, error.text)
        if engine.is_closed:
            return size
        self._count(engine)
        self._watch_message(engine)
        return at

    cdef int _take(self, HttpConnection engine, int taken) except -1:
        """Take a message, or a control frame."""
        cdef bytes payload = self.reader.payload
        self.reader.payload = b""
        if taken == TAKEN_PING:
            return self.send_frame(engine, OPCODE_PONG, payload)
        if taken == TAKEN_CLOSE:
            return self.peer_closes(engine)
        if taken != TAKEN_MESSAGE:
            return 0
        self.used_ns = engine.now
        self.message_bytes = 0
        self.message_due_ns = 0
        self.weighed = 0
        return self.message_came(engine, self.reader.kind, payload)

    cdef int _count(self, HttpConnection engine) except -1:
        """Count the kept bytes of a message, like deferred bytes; a message over a budget ends the connection."""
        cdef Py_ssize_t held = self.reader.held_bytes(), whole
        cdef Gate gate = self.service.gate
        if held != self.counted:
            engine.tail_changed(held - self.counted)
            self.counted = held
        # A frame states its length, not the number of further frames. Its held bytes are counted already.
        whole = held + <Py_ssize_t>self.reader.left
        if held > SMALL_MESSAGE and self.call is not None:
            refusal = gate.over_budget(self.call, whole if whole > self.weighed else 0, self.weighed == 0)
            self.weighed = max(self.weighed, whole)
            if refusal is not None:
                count_refusal("memory")
                self.close(engine, CLOSE_TRY_LATER, refusal)
        return 0

    cdef int _watch_message(self, HttpConnection engine) except -1:
        """Require an incomplete message to continue in time and at a lowest rate."""
        if self.reader.opcode == 0 or engine.is_closed:
            return 0
        if self.message_due_ns == 0:
            self.message_began_ns = engine.now
        self.message_due_ns = engine.life.message_due(self.message_began_ns, engine.now, self.message_bytes)
        if engine._due_ns == 0 or engine._due_ns > self.message_due_ns:
            engine._wait_until(self.message_due_ns)
        return 0

    # Bytes out, and the end

    cdef int send_frame(self, HttpConnection engine, int opcode, bytes content) except -1:
        engine.write(frame_of(opcode, content))
        return 0

    cdef int close(self, HttpConnection engine, int code, str reason) except -1:
        """Close, also before the answer: the call under way is cancelled."""
        cdef ServerCall call = self.call
        if self.has_closed or engine.is_closed:
            return 0
        self.finish(engine, code, reason)
        return 0 if call is None else self.service.gate.leave(call.connection)

    cdef int finish(self, HttpConnection engine, int code, str reason) except -1:
        self.call = None
        if self.has_closed:
            return 0
        self.has_closed = True
        self.send_frame(engine, OPCODE_CLOSE, b"" if code == CLOSE_NO_CODE else close_content(code, reason))
        return engine._end()

    cdef int drop(self, HttpConnection engine) except -1:
        """Drop all kept data: the connection is gone, or about to be."""
        self.call = None
        if self.before is not None:
            self.terms.answering, self.before = self.before, None
        if self.counted:
            engine.tail_changed(-self.counted)
            self.counted = 0
        return 0

    # Time

    cdef uint64_t check(self, HttpConnection engine, uint64_t now) except? 0:
        """Close the connection if it is silent, late, expired or drained; return when to check again."""
        cdef uint64_t due
        if self.has_closed or self.call is None:
            return 0
        self.check_end(engine, now)
        if engine.is_closed:
            return engine._due_ns
        if self.message_due_ns and now >= self.message_due_ns and not engine.is_body_held:
            self.close(engine, CLOSE_POLICY, "the message did not come in time")
            return engine._due_ns
        if self.has_calls() or self.reader.opcode:
            due = self._check_peer(engine, now)
        else:
            due = self.check_rest(engine, now)
        if engine.is_closed:
            return engine._due_ns
        leaves = (engine.life.left_due(), engine.life.next_ns) if engine.life.drains else ()
        for other in (self.message_due_ns, self.expires_ns, *leaves):
            if other > now:
                due = earlier(due, other)
        return due

    cdef uint64_t _probe(self, HttpConnection engine, uint64_t now) except? 0:
        """Send a ping to a peer whose input is not read; return when to send the next one.

        Silence then proves nothing. The end of a lost peer may be behind bytes for which there is no room here: its
        system holds it back, and answers our output with a reset, which `HeldSockets` notices.
        """
        self.pinged_ns = 0
        if now < engine.rested_ns + HELD_NS:
            return engine.rested_ns + HELD_NS
        if now < self.probed_ns + PROBE_NS:
            return self.probed_ns + PROBE_NS
        if not engine.is_stuck:
            self.send_frame(engine, OPCODE_PING, b"")
        self.probed_ns = now
        return now + PROBE_NS

    cdef uint64_t _check_peer(self, HttpConnection engine, uint64_t now) except? 0:
        """Ask a peer that is silent during a call whether it still lives."""
        if engine.is_body_held:
            return self._probe(engine, now)
        if self.ping_after_ns == 0:
            return 0
        if self.pinged_ns == 0 and now >= engine.received_ns + self.ping_after_ns:
            self.pinged_ns = now
            self.send_frame(engine, OPCODE_PING, b"")
        if self.pinged_ns == 0:
            return engine.received_ns + self.ping_after_ns
        if now >= self.pinged_ns + self.gone_after_ns:
            engine.abort()
            return 0
        return self.pinged_ns + self.gone_after_ns
