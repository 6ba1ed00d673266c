"""The rules by which a served connection is checked and ended, in every protocol.

::

    begin ──► opening ──► age, idle ──► drain ──► leaving ──► linger
                 │            │           │          │
                 └────────────┴───────────┴──────────┴──► engine: begin_drain, end_calls, close, abort

    check(now, facts) ──► calls the engine if a rule applies now; returns the instant of the next check; 0 = never

Sans-IO: the caller passes the time. An engine passes facts: whether it is busy, whether it is receiving, its unsent
bytes. WebSocket (`http/socket_talk`) applies single rules, because it closes differently. `native/liveness` has the
rules for silence and output of the native protocol, for both sides.
"""

from random import uniform

cimport cython
from libc.string cimport memcmp, memset

from fastrpc._core.base.instants cimport earlier, nanoseconds, pace_due
from fastrpc._core.base.status cimport UNAUTHENTICATED
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall, has_lapsed, keep_identities
from fastrpc._core.wire.frame cimport REASON_DRAIN, REASON_HANDSHAKE, REASON_MAX_AGE

cdef enum:
    # How many of the first bytes of a client are shown in a warning about its protocol.
    FIRST_SHOWN = 16

cdef uint64_t SECOND = 1_000_000_000
# The linger of connections without settings; the default of `Timeouts.linger`.
cdef uint64_t LINGER_NS = SECOND
# The delay of a close while input that may contain a call is unread.
cdef uint64_t UNREAD_NS = SECOND // 20
# The longest interval of checks for conditions that cannot be predicted.
cdef uint64_t LOOK_NS = 10 * SECOND
cdef uint64_t SHORTEST_LOOK_NS = 1_000_000
# The time for the drain of an idle connection.
cdef uint64_t LEAVING_NS = 2 * SECOND
# The interval at which a transport's unsent output is counted: short at first, longer while nothing is sent.
cdef uint64_t FIRST_OUTPUT_LOOK_NS = 20_000_000
cdef uint64_t LAST_OUTPUT_LOOK_NS = SECOND
# The longest interval while a message in pieces is being sent, which is counted until its last byte was sent.
cdef uint64_t LAST_LONG_LOOK_NS = 160_000_000


@cython.final
cdef class ConnectionLife:
    """The time limits of one connection, and the instants that are compared with now."""

    cdef int set_rules(self, object timeouts, object keepalive) except -1:
        """Set all time limits, for an engine that checks none itself."""
        self.handshake_ns = nanoseconds(timeouts.handshake)
        self.idle_ns = nanoseconds(timeouts.idle)
        self.patience_ns = nanoseconds((keepalive.interval or 0.0) + keepalive.timeout)
        return self.set_age(timeouts, keepalive)

    cdef int set_age(self, object timeouts, object keepalive) except -1:
        """Set the maximum age of the connection, the time for calls after that, and the linger."""
        if keepalive.max_age is not None:
            # Connections made at the same time, for example after a restart, must not all end at the same time.
            self.aged_at_ns = nanoseconds(keepalive.max_age * uniform(0.9, 1.1))
        self.leave_after_ns = nanoseconds(timeouts.drain)
        self.linger_ns = nanoseconds(timeouts.linger)
        return 0

    # Counting the connection

    cdef bint count_in(self) except -1:
        """Count the connection; return whether it exceeds the limit and has to close."""
        return (<Gate>(<ServedConnection>self.connection).gate).add_engine(<object>self.engine)

    cdef str surplus_text(self):
        """Return the text of the close of a connection over the limit."""
        cdef Gate gate = <Gate>(<ServedConnection>self.connection).gate
        return f"the server has {gate.connections} connections already (Limits.connections)"

    cdef int count_out(self, object error) except -1:
        """Stop the calls of a lost connection and uncount it. `error` is the error that ended the connection, or None."""
        cdef Gate gate = <Gate>(<ServedConnection>self.connection).gate
        gate.engine_lost(<object>self.engine, error)
        return 0

    # The opening

    cdef uint64_t begin(self, uint64_t now) except? 0:
        """Start the time limits of a connected stream; return the instant of the first check, 0 = never."""
        self.used_ns = now
        self.opening_due_ns = now + self.handshake_ns if self.handshake_ns else 0
        self.aged_at_ns = now + self.aged_at_ns if self.aged_at_ns else 0
        cdef uint64_t due = earlier(earlier(self.opening_due_ns, self.aged_at_ns), self.rest_due(now))
        return earlier(due, now + self.look_after() if self.patience_ns else 0)

    cdef uint64_t look_after(self) noexcept:
        """Return the interval of checks for conditions that cannot be predicted."""
        return max(min(LOOK_NS, self.patience_ns // 4), SHORTEST_LOOK_NS)

    cdef bint hear_first(self, const char* data, Py_ssize_t size) except -1:
        """Describe the peer when its first bytes arrive, after any TLS handshake; then return `meet_peer`."""
        cdef ServedConnection connection = <ServedConnection>self.connection
        # `greet` may warn about a client of another protocol. Protocols whose requests may look like HTTP pass no bytes.
        cdef bint is_http2 = size >= 4 and memcmp(data, b"PRI ", 4) == 0
        cdef bint is_http1 = size > 0 and b"A" <= data[0] <= b"Z" and not is_http2
        self.has_heard = True
        connection.peer_info = (<Gate>connection.gate).dispatcher.describe_peer(<object>self.engine)
        if is_http2 and connection.protocol != "grpc" or is_http1 and connection.protocol != "http":
            (<Gate>connection.gate).dispatcher.greet(connection.peer_info, data[:min(size, <Py_ssize_t>FIRST_SHOWN)])
        return self.meet_peer()

    cdef bint meet_peer(self) except -1:
        """Identify the peer by its certificate; return False if input waits for the verdict."""
        cdef Engine engine = <Engine>self.engine
        cdef Gate gate = <Gate>(<ServedConnection>self.connection).gate
        if gate.guards.knows_peer(engine):
            return True
        (<ByteStream>engine._stream).hold_input()
        return False

    cdef int enter_opening(self, object openings) except -1:
        """Count the connection as opening."""
        self.openings = openings
        openings.add_undecided(<object>self.engine)
        return 0

    cdef int go_on_opening(self) except -1:
        """Note that bytes arrived which do not complete the opening, so the connection is not silent."""
        if self.openings is not None and not (<Engine>self.engine).is_closed:
            self.openings.add_undecided(<object>self.engine)
        return 0

    cdef int leave_opening(self) except -1:
        """Note that the opening is over, or that the connection was lost."""
        openings, self.openings = self.openings, None
        if openings is not None:
            self.opening_due_ns = 0
            openings.leave_undecided(<object>self.engine)
        return 0

    # Age, drain, idleness

    cdef int begin_drain(self, uint64_t kept_until_ns) noexcept:
        """Note the drain. An idle connection stays open until `kept_until_ns`, as a last call may be in flight."""
        self.drains = True
        self.kept_until_ns = kept_until_ns
        return 0

    cdef uint64_t left_due(self) noexcept:
        """Return the instant at which a draining connection closes if no call arrives."""
        return max(self.used_ns + REST_NS, self.kept_until_ns)

    cdef bint has_left(self, uint64_t now, bint is_between) except -1:
        """Return whether a draining connection was idle for long enough to be closed."""
        cdef uint64_t due = self.left_due()
        self.next_ns = now + REST_NS
        if not is_between:
            return False
        if now < due:
            self.next_ns = min(self.next_ns, due)
            return False
        return self.may_rest(now)

    cdef uint64_t rest_due(self, uint64_t used_ns) noexcept:
        """Return the instant from which a connection unused since `used_ns` is idle for too long, 0 = never."""
        return used_ns + self.idle_ns if self.idle_ns else 0

    cdef bint has_rested(self, uint64_t now, bint is_between) except -1:
        """Return whether a connection had no calls for too long."""
        cdef uint64_t due = self.rest_due(self.used_ns)
        self.next_ns = 0
        if due == 0:
            return False
        if not is_between:
            # The idle time starts later.
            self.next_ns = self.rest_due(now)
            return False
        if now < due:
            self.next_ns = due
            return False
        return self.may_rest(now)

    cdef bint may_rest(self, uint64_t now) except -1:
        """Return whether all input was read. Otherwise set `next_ns` to an early check, as unread input may be a call."""
        cdef PyObject* stream = (<Engine>self.engine)._stream
        self.next_ns = 0
        if stream is NULL or not (<ByteStream>stream).has_unread():
            return True
        self.next_ns = now + UNREAD_NS
        return False

    cdef uint64_t linger(self, uint64_t now) noexcept:
        """Start the linger: reading continues after the close, so that the peer gets the last output.

        Return the end of the linger, 0 = none.
        """
        self.linger_until_ns = now + self.linger_ns if self.linger_ns else 0
        return self.linger_until_ns

    # The peer: its messages, and whether it reads our output

    cdef bint heed_output(self, int64_t unsent, uint64_t now) except -1:
        """Pause or resume reading: it continues only if the protocol wants it and the peer reads our output.

        Otherwise refusals and the protocol's own answers would fill memory. Return whether the peer reads our output.
        """
        cdef Engine engine = <Engine>self.engine
        cdef bint is_over = unsent > (<Gate>(<ServedConnection>self.connection).gate).send_soft
        cdef bint is_paused = is_over or self.wants_pause
        if is_paused != self.is_held_back and not engine.is_closed and engine._stream is not NULL:
            (<ByteStream>engine._stream).hold_back(is_paused)
            # While reading is paused the peer is not late with a message, which may wait unread.
            self.is_held_back = is_paused
            self.resumed_ns = now
        return not is_over

    cdef uint64_t message_due(
        self, uint64_t began_ns, uint64_t heard_ns, int64_t received, uint64_t patience_ns
    ) noexcept:
        """Return the instant from which an incomplete message is late: silent for too long, or too slow."""
        return pace_due(began_ns, heard_ns, received) + patience_ns

    cdef bint has_taken(self) except -1:
        """Return whether the peer has accepted output since the last check."""
        cdef PyObject* stream = (<Engine>self.engine)._stream
        cdef int64_t before = self.taken
        self.taken = 0 if stream is NULL else (<ByteStream>stream).taken_bytes()
        return self.taken > before

    cdef bint is_stuck(self, int64_t unsent, uint64_t now) except -1:
        """Return whether the peer has accepted no output for too long. A slow reader is not stuck."""
        if unsent == 0:
            self.stuck_ns = 0
            return False
        if self.has_taken() or self.stuck_ns == 0:
            self.stuck_ns = now
        return now >= self.stuck_ns + self.patience_ns

    # Credentials

    cdef uint64_t check_credentials(self, uint64_t now) except? 0:
        """End streams and refuse waiting calls whose credentials have expired; return the next expiry, 0 = never."""
        cdef ServedConnection connection = <ServedConnection>self.connection
        cdef bint is_expired = connection.expires_ns and now >= connection.expires_ns
        if not (is_expired or connection.own_due_ns and now >= connection.own_due_ns):
            return earlier(connection.expires_ns, connection.own_due_ns)
        _refuse_waiting(self, now)
        connection.own_due_ns = _end_streams(self, now)
        if is_expired:
            keep_identities(connection)
            connection.expire()
        connection.end_turn()
        return earlier(connection.expires_ns, connection.own_due_ns)

    # Output, and stalls of the loop

    cdef int weigh(self, int64_t unsent, uint64_t now) except -1:
        """Count the unsent output. Schedule the next count, as the transport sends output without notifying this object."""
        cdef ServedConnection connection = <ServedConnection>self.connection
        (<Gate>connection.gate).turns.weigh(connection, unsent)
        self.output_look_ns = FIRST_OUTPUT_LOOK_NS
        return _look_by(self, now + FIRST_OUTPUT_LOOK_NS) if connection.output_held else 0

    cdef uint64_t weigh_again(self, int64_t unsent, uint64_t now) except? 0:
        """Count the unsent output again; return the instant of the next count, or 0 if no output is left."""
        cdef ServedConnection connection = <ServedConnection>self.connection
        cdef bint is_same = unsent == connection.output_held
        if connection.output_held == 0:
            return 0
        (<Gate>connection.gate).turns.weigh(connection, unsent)
        if unsent == 0:
            return 0
        cdef uint64_t longest = LAST_LONG_LOOK_NS if connection.cut_bytes() else LAST_OUTPUT_LOOK_NS
        self.output_look_ns = min(2 * self.output_look_ns, longest) if is_same else FIRST_OUTPUT_LOOK_NS
        return now + self.output_look_ns

    cdef int note_stall(self, uint64_t now, uint64_t came_ns) except -1:
        """Note that the current input arrived at `came_ns`, because the loop was blocked or stalls are not watched."""
        cdef ServedConnection connection = <ServedConnection>self.connection
        return (<Gate>connection.gate).turns.note_stall(connection, now, came_ns)

    # All rules

    cdef uint64_t _check_calls(self, uint64_t now, int64_t unsent) except? 0:
        """Check waiting calls, credentials and output; return the instant of the next check, 0 = never."""
        cdef ServedConnection connection
        cdef uint64_t due
        if self.connection is NULL:
            return 0
        connection = <ServedConnection>self.connection
        due = earlier((<Gate>connection.gate).admission.check_waiting(connection, now), self.check_credentials(now))
        return earlier(due, self.weigh_again(unsent, now))

    cdef uint64_t check(self, uint64_t now, Facts* facts) except? 0:
        """Apply all rules to the engine; return the instant of the next check, 0 = never.

        Several rules may apply in one check, in this order. None applies after a rule called `close` or `abort`:

        1. The connection is closed: `_check_closed`, and no other rule.
        2. Calls: refuse waits that are too long, end expired credentials, count unsent output.
        3. The opening takes too long, or one of its messages is late: close.
        4. A message is late, or the peer does not read: abort, as such a peer reads no goodbye. With `ends_late_peers`
           the protocol handles this itself.
        5. The maximum age is reached: drain. The time for calls after that is over: end the calls, close.
        6. The connection drains and has no calls, or is idle for too long: close. An idle connection that reaches its
           age drains and closes in one check. With `drains_at_rest` an idle connection drains before it closes.
        """
        cdef Engine engine = <Engine>self.engine
        cdef bint is_between = not (facts.is_busy or facts.is_receiving or facts.unsent > facts.parked)
        cdef uint64_t due
        if engine.is_closed:
            return _check_closed(self, now, facts.unsent)
        due = earlier(self._check_calls(now, facts.unsent), _check_opening(self, now))
        if self.patience_ns and not (self.ends_late_peers or engine.is_closed):
            if _is_left(self, now, facts):
                (<object>self.engine).abort()
                return 0
            due = earlier(due, now + self.look_after())
        if not engine.is_closed:
            due = earlier(due, _check_age(self, now, is_between))
        if not engine.is_closed:
            if self.has_left(now, is_between) if self.drains else self.has_rested(now, is_between):
                _leave(self, now)
            due = earlier(due, self.next_ns)
        if engine.is_closed:
            # The connection was closed, so only the linger or its output is checked next.
            return self.linger_until_ns or (now + self.look_after() if facts.unsent else 0)
        return due

    cdef uint64_t look(self, uint64_t now, bint is_busy, int64_t unsent) except? 0:
        """Apply `check` to a connection whose incomplete messages and output are checked by other rules.

        Such a connection does not record the instants of its uses. So this checks for use four times within `idle_ns`.
        """
        cdef Facts facts
        cdef uint64_t due
        memset(&facts, 0, sizeof(Facts))
        facts.is_busy = is_busy
        facts.unsent = facts.parked = unsent
        if is_busy:
            self.used_ns = now
        due = self.check(now, &facts)
        return earlier(due, now + (self.idle_ns // 4 or 1)) if self.idle_ns else due


cdef uint64_t _check_closed(ConnectionLife life, uint64_t now, int64_t unsent) except? 0:
    """Abort a closed connection at the end of its linger or, without a linger, if its peer stops reading."""
    if life.linger_until_ns:
        if now < life.linger_until_ns:
            return life.linger_until_ns
    elif unsent == 0 or life.patience_ns == 0:
        return 0
    elif not life.is_stuck(unsent, now):
        return earlier(now + life.look_after(), 0 if life.connection is NULL else life.weigh_again(unsent, now))
    (<object>life.engine).abort()
    return 0


cdef uint64_t _check_opening(ConnectionLife life, uint64_t now) except? 0:
    """Close a connection whose opening takes too long; return its deadline."""
    if life.opening_due_ns and now >= life.opening_due_ns:
        life.opening_due_ns = 0
        (<object>life.engine).close(REASON_HANDSHAKE, f"the opening took more than {life.handshake_ns / 1e9:g} s")
    return life.opening_due_ns


cdef uint64_t _check_age(ConnectionLife life, uint64_t now, bint is_between) except? 0:
    """Drain a connection at its maximum age, then end calls that take too long; return the instant of the next check."""
    if life.aged_at_ns and now >= life.aged_at_ns:
        life.aged_at_ns = 0
        life.has_aged = True
        # If the protocol closes after its last answer, and there is no call, a later call sets the instant at which calls
        # end.
        if life.leave_after_ns and not (life.closes_by_answers and is_between):
            life.leave_at_ns = now + life.leave_after_ns
        (<object>life.engine).begin_drain(REASON_MAX_AGE, "the connection reached its age (Keepalive.max_age)")
    if life.leave_at_ns and now >= life.leave_at_ns:
        life.leave_at_ns = 0
        (<object>life.engine).end_calls("the time for calls to finish is over (Timeouts.drain)")
        if not life.closes_by_answers:
            (<object>life.engine).close(REASON_DRAIN)
    return earlier(life.aged_at_ns, life.leave_at_ns)


cdef int _look_by(ConnectionLife life, uint64_t due_ns) except -1:
    cdef PyObject* stream = (<Engine>life.engine)._stream
    return 0 if stream is NULL else (<ByteStream>stream).schedule_check(due_ns)


cdef bint _is_left(ConnectionLife life, uint64_t now, Facts* facts) except -1:
    """Return whether the peer is late with a message, or does not read our output."""
    cdef PyObject* stream = (<Engine>life.engine)._stream
    cdef bint waits_here = life.is_held_back or stream is not NULL and (<ByteStream>stream).waits_for_turn()
    if facts.is_receiving and not waits_here and now >= life.message_due(
        max(facts.began_ns, life.resumed_ns),
        max(facts.heard_ns, life.resumed_ns),
        facts.received,
        life.patience_ns,
    ):
        return True
    return life.is_stuck(facts.unsent - facts.parked, now)


cdef int _leave(ConnectionLife life, uint64_t now) except -1:
    """Close a connection without calls. With `drains_at_rest` drain it first; `leave_at_ns` then closes it."""
    if life.drains_at_rest and not life.drains:
        life.idle_ns = 0
        (<object>life.engine).begin_drain(REASON_DRAIN, "the connection was without calls (Timeouts.idle)")
        life.leave_at_ns = life.next_ns = now + LEAVING_NS
    else:
        life.has_ended = True
        (<object>life.engine).close(REASON_DRAIN)
    return 0


cdef int _refuse_waiting(ConnectionLife life, uint64_t now) except -1:
    """Refuse calls that wait for their start and whose credential has expired."""
    cdef ServedConnection connection = <ServedConnection>life.connection
    cdef ServerCall call
    cdef Gate gate = <Gate>connection.gate
    for call in list(connection.queue or ()):
        if has_lapsed(call, now):
            gate.admission.drop_waiting(call)
            gate.refusals.refuse(call, UNAUTHENTICATED, f"{call.method}: the credential has expired")
    return 0


cdef uint64_t _end_streams(ConnectionLife life, uint64_t now) except? 0:
    """End the streams whose credential has expired; return the next expiry of a stream's credential, 0 = never."""
    cdef ServedConnection connection = <ServedConnection>life.connection
    cdef ServerCall call
    cdef uint64_t due = 0
    for call in connection.streams_under_way():
        if has_lapsed(call, now):
            text = f"{call.method or 'the stream'}: the credential has expired"
            (<Gate>connection.gate).note_answered(call, UNAUTHENTICATED, text)
            # The caller may still send messages.
            call.groups.flow.end_early(call)
            connection.tell_failure(call, Failure(UNAUTHENTICATED, text))
        elif now < call.own_expires_ns:
            due = earlier(due, call.own_expires_ns)
    return due


cdef ConnectionLife new_life(Engine engine, ServedConnection connection):
    cdef ConnectionLife life = ConnectionLife.__new__(ConnectionLife)
    life.engine = <PyObject*>engine
    life.connection = NULL if connection is None else <PyObject*>connection
    life.linger_ns = LINGER_NS
    return life
