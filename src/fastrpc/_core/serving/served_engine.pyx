"""The server's side of a protocol that is written in Python.

::

    receive_data ──► gate.begin(exchange, …) ──► handler
    answer, fail ◄── PythonExchange ◄─────────────┘

What is not the protocol is here: counting of the connection, memory, stalls of the loop, drain, the end of its calls.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport earlier
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

    cdef int weigh_answer(self) except -1:
        if self._engine is not NULL:
            self.gate.weigh_output(self, self.engine.unsent_bytes())
        return 0

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

    # What is counted

    def count_moved(self, ServerCall call not None, uint64_t received_bytes, uint64_t sent_bytes):
        """Count bytes of a call that lie in no payload of it."""
        call.counters.moved(received_bytes, sent_bytes)
        call.moved_bytes += received_bytes + sent_bytes

    # What a server calls

    def begin_drain(self, reason, text=""):
        """Take no new calls; a protocol that can say so overrides this."""
        self.exchange.note_drain()

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
        self.exchange.peer_info = self.gate.dispatcher.describe_peer(self)
        self._held = self.stream
        self.gate.connection_made(self)
        return PythonEngine.connected(self)

    cdef int lost(self, object error) except -1:
        self._held = None
        self.gate.session_lost(self, error)
        return PythonEngine.lost(self, error)

    cdef int read_done(self) except -1:
        self.exchange.received_ns = self.received_ns
        self.exchange.read_ended()
        return 0

    cdef int flushed(self) except -1:
        cdef uint64_t due
        if self.exchange.output_held or self.unsent_bytes():
            self.gate.weigh_output(self.exchange, self.unsent_bytes())
            due = self.gate.weigh_later(self.exchange, self.now)
            if due:
                self.schedule_check(due)
        return self.gate.runner.tell_watcher()

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = PythonEngine.check(self, now)
        if self.exchange.output_held and not self.is_closed:
            due = earlier(due, self.gate.weigh_again(self.exchange, self.unsent_bytes(), now))
        return due

    cdef int stalled(self) except -1:
        return self.gate.note_stall(self.exchange, self.now, self.came_ns)

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.exchange, change)
