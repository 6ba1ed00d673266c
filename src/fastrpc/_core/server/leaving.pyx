"""The end of a connection: its drain, its last calls, its close.

::

    begin_drain ──► calls continue ──► pause: close as soon as there is no call ──► last call: input is ignored
                        │                        │                                            │
                        └─ a second without ─────┴───────────── finish ◄──────────────────────┘
                           a call

An engine holds this object in addition to its `ConnectionLife`, which has the rules that depend only on time: age, idle
time, silence. To close the connection, both call `close` of the engine, which then calls `finish`.

A protocol with a `Goodbye` announces the drain to its peer. Calls in progress continue; the rules of `ConnectionLife`
close the connection after them.

A protocol without a goodbye serves further calls while it drains, and closes after a second without a call. By then its
peer follows a registry that no longer lists this server, or an answer has told it to use another server. If neither
applies and the peer keeps calling, the connection closes as soon as it has no call in progress; unread requests were not
started. Shortly before the time for calls is over, input is ignored.
"""

cimport cython

from fastrpc._core.base.status cimport UNAUTHENTICATED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.wire.frame cimport REASON_DRAIN

cdef uint64_t SECOND = 1_000_000_000
# After this time, or after half of the time for calls, the connection of a peer that keeps calling closes as soon as it
# has no call.
cdef uint64_t STAY_NS = 10 * SECOND
# The last part of the time for calls, in which input is ignored.
cdef uint64_t DEAF_NS = SECOND
# The interval of checks for the end of the last call while input is ignored. They are needed because a handler whose
# caller was answered early may still be running, and its end causes no answer and so no check.
cdef uint64_t CLEANUP_NS = SECOND // 10


@cython.final
cdef class Leaving:
    """The end of one connection: by a drain, by a violation of its protocol, by a close."""

    def __init__(self, ConnectionLife life not None, Wire wire not None):
        self.engine = life.engine
        self.connection = life.connection
        self.life = life
        self.wire = wire
        self.goodbye = wire.goodbye

    # Ends of calls

    cdef int call_refused(self, ServerCall call, int status) except -1:
        """Note a refused call, which was answered unless it is one-way."""
        if status == UNAUTHENTICATED and self.wire.closes_on_refusal:
            self.ignores_input = True
        return self.call_ended(call.identity is not None)

    cdef int violated(self, object error) except -1:
        """Handle a violation of the protocol, after which no input can be parsed."""
        cdef EngineServedConnection connection = <EngineServedConnection>self.connection
        (<Gate>connection.gate).dispatcher.stranger(connection.describe_peer(), f"{self.wire.protocol}: {error}")
        self.ignores_input = True
        return self.call_ended(False)

    cdef int _end_after_call(self, bint was_let_in) except -1:
        """Note the end of a call on a connection that will be closed; close it if this is the time."""
        if self.ignores_input:
            return _look_by(self, now_ns() + CLEANUP_NS) if self.is_busy() else _close(self)
        if not (<Engine>self.engine).is_reading:
            self.end_at_pause()
        return self.life.leave_opening() if was_let_in else 0

    # State

    cdef bint is_busy(self) except -1:
        """Return whether there is a call in progress, or a request that arrives in parts."""
        cdef EngineServedConnection connection = <EngineServedConnection>self.connection
        if connection.held or connection.queue:
            return True
        return self.wire.assembling is not None and self.wire.assembling.count() != 0

    cdef bint is_receiving(self) except -1:
        """Return whether a message is incomplete."""
        cdef Facts facts
        facts.is_receiving = False
        self.wire.tell(&facts)
        return facts.is_receiving

    cdef bint carries_nothing(self) except -1:
        """Return whether no call is in progress, all output is sent, and no message is incomplete."""
        return not (self.is_busy() or self.unsent() or self.is_receiving())

    cdef bint has_drained(self) except -1:
        """Return whether a draining connection may be closed: it has no call and no unsent output.

        With a goodbye, the peer has to know of the drain; without one, no call may have arrived for a second.
        """
        cdef Engine engine = <Engine>self.engine
        if engine.is_closed:
            return not (self.is_busy() or self.unsent())
        if self.goodbye is not None:
            return not (self.is_busy() or self.unsent()) and self.goodbye.is_told()
        return self.carries_nothing() and now_ns() >= self.life.left_due()

    # Steps

    cdef int begin_drain(self, int reason, str text) except -1:
        """Notify the peer, or close when it makes no call for a while. Calls until then are served."""
        cdef Engine engine = <Engine>self.engine
        cdef uint64_t now = now_ns(), span = self.life.leave_after_ns
        # A peer that keeps calling loses the connection only if the server stops or the connection has reached its age. For
        # other reasons the peer has time to change to another connection.
        if self.goodbye is None and (reason == REASON_DRAIN or self.life.has_aged) and self.pause_from_ns == 0:
            self.pause_from_ns = now + (STAY_NS if span == 0 else min(STAY_NS, span // 2))
            if span:
                self.last_call_ns = now + span - min(DEAF_NS, span // 4)
        (<EngineServedConnection>self.connection).note_drain()
        self.life.begin_drain(0)
        if self.goodbye is not None and not engine.is_closed:
            engine.now = max(engine.now, now)
            self.goodbye.drain(text)
        return 0 if engine.is_closed else _look_by(self, max(now, self.life.left_due()))

    cdef int end_at_pause(self) except -1:
        """Close a connection that has drained for long and has no call now, although its peer keeps calling."""
        cdef ByteStream stream = self.stream()
        if (<Engine>self.engine).is_closed or stream is None or now_ns() < self.pause_from_ns:
            return 0
        return 0 if not self.carries_nothing() or stream.has_unread() else _close(self)

    cdef bint finish(self, int reason, str text, bint lingers) except -1:
        """Send the reason, if the protocol can, and close when all output is sent.

        With `lingers` the stream is read for a while longer. Return False if the connection was already closed.
        """
        cdef Engine engine = <Engine>self.engine
        cdef EngineServedConnection connection = <EngineServedConnection>self.connection
        cdef Gate gate = <Gate>connection.gate
        cdef ByteStream stream = self.stream()
        cdef uint64_t now = now_ns()
        if engine.is_closed or stream is None:
            return False
        if self.goodbye is not None:
            engine.now = max(engine.now, now)
            self.goodbye.say(reason, text)
        self.life.leave_opening()
        self.life.linger(now)
        # Stop the calls before the stream is finished, because the stream may end immediately.
        gate.leave(connection)
        engine.is_closed = True
        if self.stream() is not None:
            stream.finish(lingers and self.life.linger_ns != 0)
        _look_by(self, self.life.linger_until_ns or now)
        gate.runner.tell_watcher()
        return True

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Collect the facts and pass them to `ConnectionLife.check`; return the instant of the next check."""
        cdef Engine engine = <Engine>self.engine
        cdef Facts facts
        facts.is_receiving = False
        facts.parked = 0
        facts.began_ns = facts.received = 0
        self.wire.tell(&facts)
        facts.is_busy = self.is_busy()
        # While input is ignored, the rest of an incomplete message is not expected.
        facts.is_receiving = facts.is_receiving and not self.ignores_input
        facts.heard_ns = engine.received_ns
        # For a closed connection, `unsent_bytes` is 0, but its peer may still read the last output.
        if engine.is_closed:
            facts.unsent = self.unsent()
        else:
            facts.unsent = (<EngineServedConnection>self.connection).unsent_bytes()
        return self.life.check(now, &facts)

    cdef uint64_t check_last_call(self, uint64_t now) except? 0:
        """Ignore a connection's input shortly before the time for calls is over, and close it after its last call.

        Return the instant of the next check, 0 = never.
        """
        if not self.ignores_input:
            if now < self.last_call_ns or self.last_call_ns == 0:
                return self.last_call_ns
            # Requests that are not read were not processed, so their callers may repeat them.
            self.ignores_input = True
        if self.is_busy() or self.unsent():
            return now + CLEANUP_NS
        _close(self)
        return 0


cdef int _close(Leaving leaving) except -1:
    """Order the close."""
    (<object>leaving.engine).close(REASON_DRAIN)
    return 0


cdef int _look_by(Leaving leaving, uint64_t due_ns) except -1:
    """Schedule a check of the engine at `due_ns` or earlier."""
    cdef ByteStream stream = leaving.stream()
    return 0 if stream is None else stream.schedule_check(due_ns)
