"""The server's end of a WebSocket: its frames, memory and time limits.

::

    frames ──► WebSocketReader ──► message_came     ping: pong     close: peer_closes

`HTTPLimits` has the time limits: like a body, a message must continue within `body_idle_seconds`. During a call, a peer
that was silent for `idle_seconds` is sent a ping; if no byte arrives within `body_idle_seconds` after it, the peer
counts as lost. For mounted applications, `Keepalive` has both times. While nothing is read from a peer, because its
messages wait for a handler, it is sent a ping each second.
"""


from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.exchange cimport HELD_NS
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_connection cimport ServedConnection
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
    # The size from which on the memory budgets are checked for an incomplete message.
    SMALL_MESSAGE = 65_536

# The interval of pings to a peer whose input is held back.
cdef uint64_t PROBE_NS = 1_000_000_000


cdef class SocketEnd:

    cdef int begin(self, Exchange exchange, str protocol, bytes lines) except -1:
        """Answer the handshake, with further fields."""
        cdef uint64_t first
        self.exchange = exchange
        self.life = exchange.life
        self.patience_ns = nanoseconds(self.service.limits.body_idle_seconds)
        self.idle_ns = nanoseconds(self.service.limits.idle_seconds)
        self.began_ns = self.used_ns = self.heard_ns = now_ns()
        self.has_expired(self.began_ns)
        if self.gone_after_ns == 0:
            self.ping_after_ns, self.gone_after_ns = self.idle_ns, self.patience_ns
        self.before = self.terms.answering
        self.terms.answering = self
        exchange.open_tunnel(protocol, lines)
        if exchange.is_alone:
            _take_over(self.terms, exchange.engine())
        first = earlier(earlier(self.patience_ns, self.idle_ns), self.ping_after_ns)
        exchange.wait_by(earlier(self.began_ns + first, self.expires_ns))
        self.terms.is_open = True
        return 0

    cdef bint has_expired(self, uint64_t now) noexcept:
        """Return whether the credential of the handshake has expired; for applications, also whether it was revoked."""
        if self.call is not None and (self.terms.mount is None or self.terms.needs_identity):
            self.expires_ns = earlier(self.call.own_expires_ns, self.call.connection.expires_ns)
        return self.expires_ns != 0 and now >= self.expires_ns

    # Hooks

    cdef int message_came(self, Exchange exchange, int kind, bytes message) except -1:
        """Handle a whole message."""
        return 0

    cdef int peer_closes(self, Exchange exchange) except -1:
        """Answer the close frame of the peer."""
        return self.close(exchange, self.reader.close_code, "")

    cdef bint has_calls(self) except -1:
        """Return whether a call is in progress."""
        return False

    cdef int check_end(self, Exchange exchange, uint64_t now) except -1:
        """Close the WebSocket if its credential has expired or the server drains."""
        return 0

    cdef uint64_t check_rest(self, Exchange exchange, uint64_t now) except? 0:
        """Close an unused WebSocket; return the instant of the next check."""
        return 0

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        """Answer the call, and close."""
        return 0

    cdef Marshal marshal(self, ServerCall call):
        return None if self.terms.target is None else self.terms.target.marshal(call.codec)

    cdef int answer_message(self, Exchange exchange, bytes content) except -1:
        """Answer a message at a fixed path."""
        return 0

    # Bytes in

    cdef Py_ssize_t take_bytes(self, Exchange exchange, const char* data, Py_ssize_t size) except -1:
        """Process these bytes up to the last complete part; return the number of processed bytes."""
        cdef Engine engine = exchange.engine()
        cdef Py_ssize_t at = 0, part
        cdef int taken = TAKEN_NOTHING
        self.heard_ns = engine.now
        if self.pinged_ns:
            # The bytes prove that the peer is alive.
            self.pinged_ns = 0
            # The check finds the next deadline: of a message, of the credential, or of the connection.
            exchange.wait_by(engine.now)
        try:
            while at < size and exchange.takes_more():
                part = self.reader.take(data + at, size - at, &taken)
                if part == 0:
                    break
                at += part
                engine.messages_left -= 1
                if taken == TAKEN_NOTHING:
                    self.message_bytes += part
                else:
                    _take(self, exchange, taken)
                if taken != TAKEN_MESSAGE:
                    # Control frames and pieces of messages, of which any number may come, count as work without an answer.
                    engine.note_unanswered()
                if at < size and engine.messages_left < 0 and engine.has_to_wait():
                    break
        except SocketViolationError as error:
            self.close(exchange, error.code, error.text)
        if not exchange.is_open():
            return size
        _count(self, exchange)
        _watch_message(self, exchange)
        return at

    # Bytes out, and the end

    cdef int send_frame(self, Exchange exchange, int opcode, bytes content) except -1:
        return exchange.send(frame_of(opcode, content))

    cdef int close(self, Exchange exchange, int code, str reason) except -1:
        """Close the WebSocket, and cancel the call if it is not answered yet."""
        cdef ServerCall call = self.call
        if self.has_closed or not exchange.is_open():
            return 0
        self.finish(exchange, code, reason)
        return 0 if call is None else self.terms.request.leave_calls()

    cdef int finish(self, Exchange exchange, int code, str reason) except -1:
        self.call = None
        if self.has_closed:
            return 0
        self.has_closed = True
        self.send_frame(exchange, OPCODE_CLOSE, b"" if code == CLOSE_NO_CODE else close_content(code, reason))
        return exchange.cut()

    cdef int drop(self) except -1:
        """Drop all state, as the connection is lost or about to end."""
        self.call = None
        if self.before is not None:
            self.terms.answering, self.before = self.before, None
        if self.counted:
            self.exchange.engine().tail_changed(-self.counted)
            self.counted = 0
        return 0

    # Time

    cdef uint64_t check(self, Exchange exchange, uint64_t now) except? 0:
        """Close a WebSocket that is silent, late, expired or drained; return the instant of the next check."""
        cdef ConnectionLife life = self.life
        cdef uint64_t due
        if self.has_closed or self.call is None:
            return 0
        self.check_end(exchange, now)
        if not exchange.is_open():
            return 0
        if self.message_due_ns and now >= self.message_due_ns and not exchange.is_body_held:
            self.close(exchange, CLOSE_POLICY, "the message did not come in time")
            return 0
        if self.has_calls() or self.reader.opcode:
            due = _check_peer(self, exchange, now)
        else:
            due = self.check_rest(exchange, now)
        if not exchange.is_open():
            return 0
        leaves = (life.left_due(), life.next_ns) if life.drains else ()
        for other in (self.message_due_ns, self.expires_ns, *leaves):
            if other > now:
                due = earlier(due, other)
        return due


cdef int _take_over(HttpTerms terms, Engine engine) except -1:
    """Note that the connection has another protocol from now on."""
    cdef ServedConnection connection = terms.request.connection
    # Further calls are counted as calls of this protocol, and the peer is shown with it.
    connection.protocol = terms.protocol
    connection.counters = (<Gate>connection.gate).counters.by_method(connection.protocol)
    if connection.peer_info is not None:
        connection.peer_info.protocol = connection.protocol
    if connection.is_draining:
        # HTTP was notified of the drain; the WebSocket has to be notified, too.
        (<object>engine).begin_drain()
    return 0


cdef int _take(SocketEnd socket, Exchange exchange, int taken) except -1:
    """Handle a complete message or control frame."""
    cdef bytes payload = socket.reader.payload
    socket.reader.payload = b""
    if taken == TAKEN_PING:
        return socket.send_frame(exchange, OPCODE_PONG, payload)
    if taken == TAKEN_CLOSE:
        return socket.peer_closes(exchange)
    if taken != TAKEN_MESSAGE:
        return 0
    socket.used_ns = exchange.engine().now
    socket.message_bytes = 0
    socket.message_due_ns = 0
    socket.weighed = 0
    return socket.message_came(exchange, socket.reader.kind, payload)


cdef int _count(SocketEnd socket, Exchange exchange) except -1:
    """Count the kept bytes of an incomplete message as unprocessed input; close the WebSocket if they exceed a budget.
    """
    cdef Py_ssize_t held = socket.reader.held_bytes(), whole
    cdef Gate gate = socket.service.gate
    if held != socket.counted:
        exchange.engine().tail_changed(held - socket.counted)
        socket.counted = held
    # The size with the rest of the present frame; the number of further frames is unknown.
    whole = held + <Py_ssize_t>socket.reader.left
    if held > SMALL_MESSAGE and socket.call is not None:
        refusal = gate.admission.over_budget(socket.call, whole if whole > socket.weighed else 0, socket.weighed == 0)
        socket.weighed = max(socket.weighed, whole)
        if refusal is not None:
            count_refusal("memory")
            socket.close(exchange, CLOSE_TRY_LATER, refusal)
    return 0


cdef int _watch_message(SocketEnd socket, Exchange exchange) except -1:
    """Set the deadline of an incomplete message, which must continue in time and at a minimum rate."""
    cdef Engine engine = exchange.engine()
    if socket.reader.opcode == 0 or not exchange.is_open():
        return 0
    if socket.message_due_ns == 0:
        socket.message_began_ns = engine.now
    socket.message_due_ns = socket.life.message_due(
        socket.message_began_ns, engine.now, socket.message_bytes, socket.patience_ns
    )
    return exchange.wait_by(socket.message_due_ns)


cdef uint64_t _probe(SocketEnd socket, Exchange exchange, uint64_t now) except? 0:
    """Send a ping to a peer from which nothing is read; return when to send the next one.

    Its silence proves nothing. If it has closed, its FIN may wait behind bytes that are not read here; but its system
    answers our output with a reset, which `HeldSockets` notices.
    """
    socket.pinged_ns = 0
    if now < exchange.rested_ns + HELD_NS:
        return exchange.rested_ns + HELD_NS
    if now < socket.probed_ns + PROBE_NS:
        return socket.probed_ns + PROBE_NS
    if not exchange.is_stuck:
        socket.send_frame(exchange, OPCODE_PING, b"")
    socket.probed_ns = now
    return now + PROBE_NS


cdef uint64_t _check_peer(SocketEnd socket, Exchange exchange, uint64_t now) except? 0:
    """Ping a peer that is silent during a call; abort the connection if it stays silent."""
    cdef uint64_t heard_ns = max(socket.heard_ns, socket.life.resumed_ns)
    if exchange.is_body_held:
        return _probe(socket, exchange, now)
    if socket.ping_after_ns == 0:
        return 0
    if socket.pinged_ns == 0 and now >= heard_ns + socket.ping_after_ns:
        socket.pinged_ns = now
        socket.send_frame(exchange, OPCODE_PING, b"")
    if socket.pinged_ns == 0:
        return heard_ns + socket.ping_after_ns
    if now >= socket.pinged_ns + socket.gone_after_ns:
        exchange.abort()
        return 0
    return socket.pinged_ns + socket.gone_after_ns
