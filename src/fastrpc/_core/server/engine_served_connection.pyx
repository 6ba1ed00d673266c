"""The served connection of an `Engine`, and its check of the sender of a long request: the same for every protocol.

The engine holds its served connection. The served connection borrows the engine, because calls and contexts of handlers
hold the served connection, too, and may outlive the engine.

The beginning of a long request has its sender, which is checked before the rest is received::

    judge ──► admitted: the rest is received
       │ └──► refused: UnreadRest.leave, and the answer
       └────► takes time: UnreadRest.wait, await_sender ──► verdict ──► Outcomes.judged
                                                  └──► its deadline passes first: refused

An engine has one check, which judges one request at a time. The gate judges the complete call once more; the verdict on
its credential is kept.

Answers are sent while the rest of the same read is handled, so client and server work in parallel: first when handlers
have run for `FIRST_FLUSH_NS`, then each time that the time since the read has tripled. 32-byte echoes rose from
372,000/s to 600,000/s with 64 calls in flight (`make compare`). `FIRST_FLUSH_NS` has to be at most a third of the time
of a read's handlers: workload W2 gave 490,000/s with 10 µs, and 700,000/s with 4 µs.
"""

cimport cython

from fastrpc._core.base.status cimport OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport lacking
from fastrpc._core.server.access cimport WAITS
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.guards cimport Guards
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT

# How long handlers of a read run before their first answers are sent.
cdef uint64_t FIRST_FLUSH_NS = 4_000


cdef class EngineServedConnection(ServedConnection):
    """The served calls of one connection that is an `Engine`."""

    def __dealloc__(self):
        if self._engine is not NULL:
            (<Engine>self._engine)._known_at = NULL

    cdef int join(self, Engine engine) except -1:
        """Set the engine, which clears `_engine` when it is freed."""
        if engine._known_at is not NULL:
            raise RuntimeError("an engine is initialised once")
        self._engine = <PyObject*>engine
        engine._known_at = &self._engine
        return 0

    def abandon(self):
        """Close the connection."""
        if self._engine is not NULL:
            (<Engine>self._engine).abort()

    cdef int certify(self, object identity, object valid_seconds, uint64_t generation) except -1:
        """Set the identity that the peer's certificate proved, and schedule the end of its validity."""
        cdef uint64_t expires_ns = 0
        if valid_seconds is not None:
            expires_ns = now_ns() + <uint64_t>(max(0.0, valid_seconds) * 1e9)
        self.prove(identity, expires_ns)
        self.generation = generation
        return self.look_by(expires_ns) if expires_ns else 0

    # The sender of a long request

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        """Leave the rest of a request unread until its sender is judged. `due_ns` is the deadline, 0 = none."""
        return self.look_by(due_ns) if due_ns else 0

    # Streams

    cdef list streams_under_way(self):
        cdef ServerCall call
        # Streams that were answered or cancelled are omitted, as a second stop would interrupt the cleanup of the handler.
        return [
            call
            for call in [*(self.held or ()), *(self.queue or ())]
            if call.flags & (STREAM_IN | STREAM_OUT) and not (call.was_ended or call.was_cancelled)
        ]

    # Answers

    cdef int flush_early(self, Engine engine) except -1:
        """Flush the answers of a read if a flush is due, before its other requests are handled."""
        if engine.is_reading and self.stepped_ns > engine.now + FIRST_FLUSH_NS and self.stepped_ns > self.flush_due_ns:
            return _flush_due(self, engine)
        return 0

    # Its engine

    def stats(self, Py_ssize_t buffered):
        """Return the state of the connection as plain data. `buffered` is the number of bytes of waiting output."""
        return {
            "calls": len(self.held or ()) + len(self.queue or ()),
            "one_way": 0,
            "buffered": buffered,
            "credit": 0,
        }

    cdef int64_t unsent_bytes(self) except? -1:
        """Return the bytes of memory of output that the peer has not accepted; 0 for a closed connection."""
        cdef Engine engine
        cdef int64_t kept = 0
        if self._engine is NULL or self.is_closed:
            return 0
        engine = <Engine>self._engine
        if engine._stream is not NULL:
            kept = (<ByteStream>engine._stream).kept_bytes()
        return engine.output.size() + kept

    cdef int64_t cut_bytes(self) except? -1:
        # The transport keeps a long message until its last byte is sent. The difference was already accepted by the peer.
        cdef PyObject* stream = NULL if self._engine is NULL or self.is_closed else (<Engine>self._engine)._stream
        if stream is NULL:
            return 0
        return (<ByteStream>stream).kept_bytes() - (<ByteStream>stream).untaken_bytes()

    cdef int weigh_answer(self) except -1:
        # Output is also counted on a connection that closes after its answer.
        if self._engine is not NULL:
            (<Gate>self.gate).turns.weigh(self, self.unsent_bytes())
        return 0

    cdef int look_by(self, uint64_t due_ns) except -1:
        cdef PyObject* stream = NULL if self._engine is NULL else (<Engine>self._engine)._stream
        return 0 if stream is NULL or self.is_closed else (<ByteStream>stream).schedule_check(due_ns)

    cdef bint waits_for_turn(self) noexcept:
        cdef PyObject* stream = NULL if self._engine is NULL else (<Engine>self._engine)._stream
        return stream is not NULL and (<ByteStream>stream).waits_for_turn()

    cdef int end_turn(self) except -1:
        cdef PyObject* stream = NULL if self._engine is NULL else (<Engine>self._engine)._stream
        return 0 if stream is NULL else (<ByteStream>stream).flush()

    cdef int crash(self, object error) except -1:
        return 0 if self._engine is NULL else (<Engine>self._engine).report_crash(error)


cdef int _flush_due(EngineServedConnection connection, Engine engine) except -1:
    cdef ByteStream stream
    # The next flush is due when the time since the read has tripled.
    connection.flush_due_ns = engine.now + 3 * (connection.stepped_ns - engine.now)
    if engine._stream is NULL:
        return 0
    stream = <ByteStream>engine._stream
    # A flush helps only if the stream sends at once instead of collecting output.
    return stream.flush() if stream.sends_at_once() else 0


cdef class UnreadRest:
    """The rest of a request, which is not read before its sender is known."""

    cdef int wait(self, ServerCall call) except -1:
        """Leave the rest unread while the sender is being judged. `Outcomes.judged` is called afterwards."""
        raise lacking(self, "wait")

    cdef int leave(self, ServerCall call) except -1:
        """Stop receiving the request, which is refused next."""
        raise lacking(self, "leave")


@cython.final
cdef class SenderCheck:

    cdef int judge(self, ServerCall call, str method) except -1:
        cdef EngineServedConnection connection = <EngineServedConnection>call.connection
        cdef Guards guards = (<Gate>connection.gate).guards
        cdef uint64_t kept_ns
        cdef int status
        try:
            status = guards.access.judge(call)
        except BaseException as error:
            return self._fail(call, method, error)
        if status != WAITS:
            return _conclude(self, call, method, status)
        self.call = call
        # Only this check uses the deadline now. The call gets its deadline when it is complete.
        kept_ns = call.deadline_ns
        guards.set_caller_deadline(call)
        self.due_ns = call.deadline_ns
        call.deadline_ns = kept_ns
        if self.rest is not None:
            self.rest.wait(call)
        connection.await_sender(call, 0 if self.due_ns == NO_DEADLINE else self.due_ns)
        guards.access.own_credentials.verify(
            call, method, lambda identity, status, seconds: self._verified(call, method, identity, status, seconds)
        )
        return SENDER_WAITS

    def _verified(self, ServerCall call, str method, identity, int status, seconds):
        """Continue with a verdict that took time."""
        cdef EngineServedConnection connection = <EngineServedConnection>call.connection
        cdef int verdict
        if self.call is not call:
            return
        self.call = None
        if connection._engine is NULL or (<Engine>connection._engine).is_closed:
            return
        connection.now = now_ns()
        try:
            verdict = _conclude(self, call, method, (<Gate>connection.gate).guards.take(call, identity, status, seconds))
        except BaseException as error:
            verdict = self._fail(call, method, error)
        connection.outcomes.judged(call, verdict)

    def _fail(self, ServerCall call, str method, error):
        _leave_rest(self, call)
        (<Gate>call.connection.gate).guards.refuse_undecided(call, method, error)
        return SENDER_REFUSED

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Answer a call whose deadline passed before its verdict; return a deadline still to come, 0 = none."""
        cdef ServerCall call = self.call
        cdef EngineServedConnection connection
        if call is None or self.due_ns == NO_DEADLINE:
            return 0
        if now < self.due_ns:
            return self.due_ns
        connection = <EngineServedConnection>call.connection
        if (<Gate>connection.gate).guards.give_up(call):
            self.call = None
            connection.now = now
            _leave_rest(self, call)
            (<Gate>connection.gate).refusals.refuse_late_in(call, "its credential was verified")
            connection.outcomes.judged(call, SENDER_REFUSED)
        return 0

    cdef int drop(self) noexcept:
        self.call = None
        return 0


cdef int _conclude(SenderCheck check, ServerCall call, str method, int status) except -1:
    if status == OK:
        return SENDER_ADMITTED
    _leave_rest(check, call)
    (<Gate>call.connection.gate).guards.refuse_access(call, method, status)
    return SENDER_REFUSED


cdef int _leave_rest(SenderCheck check, ServerCall call) except -1:
    return 0 if check.rest is None else check.rest.leave(call)
