"""The server's side of a protocol that is written in Python.

::

    receive_data ──► gate.begin(exchange, …) ──► handler
    answer, fail ◄── PythonExchange ◄─────────────┘

What is not the protocol is here, and in `connection_life`: counting of the connection, memory, stalls of the loop, opening,
age, rest and drain, the end of its calls.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.framing.frame cimport REASON_DRAIN
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.serving.connection_life cimport Facts, new_life
from fastrpc._core.serving.exchange cimport Exchange, Failure
from fastrpc._core.serving.served_call cimport ServerCall


@cython.final
cdef class Caller:
    """Who made a call, and until when that is proved."""

    def __init__(self, ServerCall call not None):
        self.identity = call.identity
        self.expires_ns = call.own_expires_ns if call.has_own_credential else call.exchange.expires_ns
        self.generation = call.exchange.generation
        self.has_own_credential = call.has_own_credential


@cython.final
cdef class PythonExchange(EngineExchange):
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

    def refuse(self, call, status, text, is_faulty):
        """Send that a call was not started."""
        self.fail(call, Failure(status, text, pushback_ms=call.pushback_ms, has_run=False))

    def hold(self, call):
        """Note that a call outlasts this turn."""
        if self._engine is not NULL:
            self.engine.hold(call)

    def release(self, call):
        """Note the end of a one-way call."""
        if self._engine is not NULL:
            self.engine.release(call)

    cdef int crash(self, object error) except -1:
        # One of these methods raised: the engine's own work goes on.
        return Exchange.crash(self, error)


cdef class ServedEngine(PythonEngine):
    """The server's side of one connection, for protocols in Python."""

    def __init__(self, parts, str protocol not None):
        if self._exchange is not NULL:
            raise RuntimeError("an engine is initialised once")
        self.gate = parts.gate
        self.exchange = PythonExchange(self.gate, protocol)
        self.exchange.reveals_services = parts.reveals_services
        self.exchange.join(self, &self._exchange)
        self.life = new_life(self, self.exchange)
        config = getattr(parts, "config", None)
        self.has_rules = config is not None
        if self.has_rules:
            self.life.set_rules(config.timeouts, config.keepalive)

    def __dealloc__(self):
        # The collector may have cleared `exchange` before, while a call still holds it.
        if self._exchange is not NULL:
            (<EngineExchange>self._exchange)._engine = NULL

    # What an engine in Python implements

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

    # Who the peer is

    def act_for(self, Caller caller not None):
        """Make the calls of this connection those of a caller: the peer proved that it acts for that one."""
        if caller.identity is not None:
            self.exchange.prove(caller.identity, caller.expires_ns)
        self.exchange.generation = caller.generation

    def describe_peer(self):
        """Who is on the other side."""
        return self.exchange.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note who the peer proved to be by its certificate, and until when."""
        self.exchange.certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Take what waited for a verdict."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).release_input()

    # What is counted

    def count_moved(self, ServerCall call not None, uint64_t received_bytes, uint64_t sent_bytes):
        """Count bytes of a call that lie in no payload of it."""
        call.counters.moved(received_bytes, sent_bytes)
        call.moved_bytes += received_bytes + sent_bytes

    # What a server calls

    def begin_drain(self, reason, text=""):
        """Take no new calls; a protocol that can say so overrides this."""
        self.exchange.note_drain()
        self.life.begin_drain(0)
        if self.has_rules:
            self.schedule_check(self.life.left_due())

    def hold_back(self, bint is_held_back):
        """Read no further until this is called with False; the bytes that lie here meanwhile are not late."""
        self.is_held_back = is_held_back
        self.resumed_ns = now_ns()
        PythonEngine.hold_back(self, is_held_back)

    @property
    def has_drained(self):
        """Whether no call is under way and all output is sent."""
        return not (self.exchange.held or self.exchange.queue or self.unsent_bytes())

    def end_calls(self, text):
        """Answer every call that is still under way, and stop its handler."""
        self.gate.end_calls(self.exchange, text)

    def stats(self):
        """What is under way on this connection, as plain data."""
        return self.exchange.stats(self.unsent_bytes())

    # The engine

    cdef int connected(self) except -1:
        cdef uint64_t due = self.life.begin(self.now)
        self.exchange.peer_info = self.gate.dispatcher.describe_peer(self)
        self._held = self.stream
        if self.life.count_in():
            self.close(REASON_DRAIN, self.life.surplus_text())
        elif due:
            self.schedule_check(due)
        return PythonEngine.connected(self)

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t consumed
        if not (self.life.has_heard or self.is_closed) and self.has_rules and not self.life.hear_first():
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
        self.exchange.received_ns = self.received_ns
        self.exchange.read_ended()
        return 0

    cdef int flushed(self) except -1:
        cdef int64_t unsent = self.exchange.unsent_bytes()
        if self.exchange.output_held or unsent:
            self.life.weigh(unsent, self.now)
        return self.gate.runner.tell_watcher()

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = PythonEngine.check(self, now)
        if self.is_closed:
            return earlier(due, self._check_closed(now)) if self.has_rules else due
        due = earlier(due, self.gate.check_waiting(self.exchange, now))
        due = earlier(due, self.life.check_credentials(now))
        due = earlier(due, self.life.weigh_again(self.exchange.unsent_bytes(), now))
        return earlier(due, self._check_life(now)) if self.has_rules and not self.is_closed else due

    cdef uint64_t _check_closed(self, uint64_t now) except? 0:
        """Abort a closed connection whose peer takes nothing of its last output; return when to look again."""
        cdef int64_t unsent = self.exchange.unsent_bytes()
        if unsent == 0:
            return 0
        if self.life.is_stuck(unsent, now):
            self.abort()
            return 0
        return earlier(now + self.life.look_after(), self.life.weigh_again(unsent, now))

    cdef uint64_t _check_life(self, uint64_t now) except? 0:
        """Give the life of the connection its facts; return when to look again."""
        cdef Facts facts
        self.life.used_ns = max(self.life.used_ns, self.exchange.ended_ns)
        facts.is_busy = bool(self.exchange.held) or bool(self.exchange.queue)
        facts.is_receiving = self.message_bytes != 0
        facts.began_ns = max(self.message_began_ns, self.resumed_ns)
        facts.heard_ns = max(self.received_ns, self.resumed_ns)
        if self.is_held_back or self._stream is not NULL and (<ByteStream>self._stream).waits_for_turn():
            facts.began_ns = facts.heard_ns = now
        facts.received = self.message_bytes
        facts.unsent = self.exchange.unsent_bytes()
        return self.life.check(now, &facts)

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.came_ns)

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.exchange, change)
