"""The server's side of a protocol that is written in Python.

::

    receive_data ──► gate.begin(connection, …) ──► handler
    answer, fail ◄── PythonServedConnection ◄─────────────┘

The parts common to all protocols are here, and in `connection_life`: counting of the connection, memory, stalls, opening,
age, rest and drain, the end of its calls.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.connection_life cimport new_life
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.wire.frame cimport REASON_DRAIN


@cython.final
cdef class ProvenCaller:
    """The identity of a caller, and the end of its proof."""

    def __init__(self, ServerCall call not None):
        self.identity = call.identity
        self.expires_ns = call.own_expires_ns if call.has_own_credential else call.connection.expires_ns
        self.generation = call.connection.generation
        self.has_own_credential = call.has_own_credential


@cython.final
cdef class PythonServedConnection(EngineServedConnection):
    """The served calls of one connection whose engine is written in Python."""

    @property
    def engine(self):
        """The connection, or None once it is gone."""
        return None if self._engine is NULL else <object>self._engine

    def answer(self, call, payload):
        """Send the result of a call."""
        if self._engine is not NULL and not self.is_closed:
            self.engine.answer(call, payload)

    def fail(self, call, failure):
        """Send the failure of a call."""
        if self._engine is not NULL and not self.is_closed:
            self.engine.fail(call, failure)

    def hold(self, call):
        """Note that a call outlasts this turn."""
        if self._engine is not NULL:
            self.engine.hold(call)

    def release(self, call):
        """Note the end of a one-way call."""
        if self._engine is not NULL:
            self.engine.release(call)

    cdef int crash(self, object error) except -1:
        # The protocol's own `answer` or `fail` raised: abort the connection without its `crash`, which may raise, too.
        return ServedConnection.crash(self, error)


cdef class ServedEngine(PythonEngine):
    """The server's side of one connection, for protocols in Python."""

    def __init__(self, parts, str protocol not None, *, bint has_rules=True):
        cdef PythonServedConnection connection
        if self._known_at is not NULL:
            raise RuntimeError("an engine is initialised once")
        connection = PythonServedConnection(parts.gate, protocol)
        connection.join(self)
        connection.reveals_services = parts.reveals_services
        self.gate = parts.gate
        self.connection = connection
        self.life = new_life(self, connection)
        self.has_rules = has_rules
        if has_rules:
            self.life.set_rules(parts.config.timeouts, parts.config.keepalive)

    # Implemented by an engine in Python

    def answer(self, call, payload):
        """Send the result of a call."""
        raise NotImplementedError(f"{type(self).__name__} does not implement answer()")

    def fail(self, call, failure):
        """Send the failure of a call, or that it was not started."""
        raise NotImplementedError(f"{type(self).__name__} does not implement fail()")

    def hold(self, call):
        """Note that a call outlasts this turn: a cancel has to find it until it is answered."""

    def release(self, call):
        """Note the end of a one-way call, which has no answer."""

    # The identity of the peer

    def act_for(self, ProvenCaller caller not None):
        """Give this connection the identity of a caller: the peer proved that it acts for it."""
        if caller.identity is not None:
            self.connection.prove(caller.identity, caller.expires_ns)
        self.connection.generation = caller.generation

    def describe_peer(self):
        """Return the other side of this connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note the identity that the peer's certificate proved, and the end of its validity."""
        self.connection.certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Process the input that waited for a verdict."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).release_input()

    # Counters

    def count_moved(self, ServerCall call not None, uint64_t received_bytes, uint64_t sent_bytes):
        """Count bytes of a call that lie in none of its payloads."""
        call.counters.moved(received_bytes, sent_bytes)
        call.moved_bytes += received_bytes + sent_bytes

    # Reports on its connection

    def opened(self):
        """End the opening, as received bytes do otherwise."""
        self.life.opened()

    def note_use(self):
        """Count the connection as used now, as received bytes and the ends of calls do otherwise."""
        self.life.used_ns = now_ns()

    # For the server

    def begin_drain(self, reason, text=""):
        """Take no new calls; a protocol that can announce it overrides this."""
        self.connection.note_drain()
        self.life.begin_drain(0)
        if self.has_rules:
            self.schedule_check(self.life.left_due())

    def hold_back(self, bint is_held_back):
        """Pause reading until this is called with False; bytes that wait here meanwhile are not late."""
        self.life.hold_back(is_held_back, now_ns())
        PythonEngine.hold_back(self, is_held_back)

    @property
    def has_drained(self):
        """Whether no call is under way and all output is sent."""
        return not (self.connection.held or self.connection.queue or self.unsent_bytes())

    def end_calls(self, text):
        """Answer every call that is still under way, and stop its handler."""
        self.gate.end_calls(self.connection, text)

    def stats(self):
        """Return the state of this connection as plain data."""
        return self.connection.stats(self.unsent_bytes())

    # The engine

    cdef int connected(self) except -1:
        cdef uint64_t due = self.life.begin(self.now)
        self.connection.peer_info = self.gate.dispatcher.describe_peer(self)
        self._held = self.stream
        if self.life.count_in():
            self.close(REASON_DRAIN, self.life.surplus_text())
        elif due:
            self.schedule_check(due)
        return PythonEngine.connected(self)

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t consumed
        if not (self.life.has_heard or self.is_closed) and self.has_rules and not self.life.hear_first(NULL, 0):
            return 0
        consumed = PythonEngine.receive(self, data, size)
        if consumed:
            self.life.opened()
            self.life.used_ns = self.now
        if consumed or self.message_bytes == 0:
            self.message_began_ns = self.now
        self.message_bytes = size - consumed
        return consumed

    cdef int lost(self, object error) except -1:
        self._held = None
        self.life.count_out(error)
        return PythonEngine.lost(self, error)

    cdef int read_done(self) except -1:
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        return 0

    cdef int flushed(self) except -1:
        cdef int64_t unsent = self.connection.unsent_bytes()
        if self.connection.output_held or unsent:
            self.life.weigh(unsent, self.now)
        return self.gate.runner.tell_watcher()

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = PythonEngine.check(self, now)
        cdef int64_t unsent = self.connection.unsent_bytes()
        if self.is_closed:
            return earlier(due, self.life.check_closed(now, unsent)) if self.has_rules else due
        if not self.has_rules:
            return earlier(due, self.life.check_calls(now, unsent))
        return earlier(due, self._check_life(now))

    cdef uint64_t _check_life(self, uint64_t now) except? 0:
        """Give the life of the connection its facts; return the instant of the next check."""
        cdef Facts facts
        self.life.used_ns = max(self.life.used_ns, self.connection.ended_ns)
        facts.is_busy = bool(self.connection.held) or bool(self.connection.queue)
        facts.is_receiving = self.message_bytes != 0
        facts.began_ns = self.message_began_ns
        facts.heard_ns = self.received_ns
        facts.received = self.message_bytes
        facts.unsent = self.connection.unsent_bytes()
        facts.parked = 0
        return self.life.check(now, &facts)

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.came_ns)

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)
