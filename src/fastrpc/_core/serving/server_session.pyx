"""A connection of a server on asyncio that speaks the native protocol.

::

    REQUEST whole ──► Gate.pass_in ──► handler
                                          │ answer, fail, refuse
    RESPONSE ◄── ServerSession ◄── NativeExchange

This module has the server's side of the wire: how a connection opens and leaves, which memory the pieces of a request
take, and how decisions of the gate become frames.

The most frequent calls avoid the objects of the general case: the gate passes a raw payload to its handler without a
tuple around it, the handler runner fetches an exception where C left it instead of catching it, and a small answer goes
into the write buffer without a `Frame` (`WireProtocol.write_answer`).

Answers leave while the read they answer is still handled: after `FIRST_FLUSH_NS` of handlers, then after three times as
long each time, so client and server work at once. 32-byte echoes rose from 372,000/s to 600,000/s with 64 calls in flight
(`make compare`). The time has to be a third of what the handlers of a read take, or less: with 10 µs workload W2 gave
490,000/s, with 4 µs 700,000/s.
"""

import logging

cimport cython
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport uint8_t, uint32_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.base.status cimport CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport STATE_ASSEMBLING, STATE_CANCELLED, STATE_GONE
from fastrpc._core.framing.frame cimport CANCEL_DEADLINE, HEADER_SIZE, ONE_WAY, OUTCOME_NOT_STARTED, OUTCOME_RAN
from fastrpc._core.framing.frame cimport PUSHBACK_NEVER, REASON_DRAIN, REASON_MAX_AGE
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.framing.settings cimport FIRST_OWN_NUMBER
from fastrpc._core.framing.window cimport placed
from fastrpc._core.native.connection cimport PHASE_PREFACE
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.serving.exchange cimport HOLD_DRAIN, HOLD_OUTPUT, Failure, process_held
from fastrpc._core.serving.served_call cimport ServerCall

cdef uint64_t SECOND = 1_000_000_000
# How long a connection that is to drain may take to open, and one that is idle to close by itself.
cdef uint64_t OPENING_NS = SECOND
cdef uint64_t LEAVING_NS = 2 * SECOND
# Handlers of one read run so long before the first answers leave, then each time twice as long as they have till then.
cdef uint64_t FIRST_FLUSH_NS = 4_000

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class NativeExchange(Exchange):
    """The served calls of one connection that speaks the native protocol."""

    def __dealloc__(self):
        if self._session is not NULL:
            (<ServerSession>self._session)._exchange = NULL

    cdef ServerSession owner(self):
        """Return the connection, or None once it is gone; what is sent now is sent at the exchange's instant."""
        if self._session is NULL:
            return None
        cdef ServerSession session = <ServerSession>self._session
        if self.now > session.now:
            session.now = self.now
        return session

    @property
    def session(self):
        """The connection, or None once it is gone."""
        return None if self._session is NULL else <object>self._session

    def describe_peer(self):
        """Who is on the other side; known also when the connection is gone."""
        if self.peer_info is None and self._session is not NULL:
            self.peer_info = self.gate.dispatcher.describe_peer(<ServerSession>self._session)
        return self.peer_info

    def note_probe(self):
        """Note that a call only asked for health: it is no use of the connection."""
        if self._session is not NULL:
            (<ServerSession>self._session).note_probe()

    @cython.nonecheck(False)
    cdef int send_answer(self, Call call, bytes payload) except -1:
        assert call is not None
        cdef ServerSession session
        if self._session is NULL:
            return 0
        session = <ServerSession>self._session
        if session.is_closed:
            return 0
        if self.now > session.now:
            session.now = self.now
        if call.codec >= FIRST_OWN_NUMBER:
            call.codec = <uint8_t>session.peer.codec_number(call.codec, session.gate.codecs[call.codec])
        session.sender.send_response(
            call, payload, <uint32_t>min((self.stepped_ns - call.started_ns) // 1000, <uint64_t>0xFFFFFFFF)
        )
        if <int64_t>session.sender.unsent_bytes() > session.gate.send_soft:
            session.weigh_output()
        if session._is_reading and self.stepped_ns > session.now + FIRST_FLUSH_NS:
            return session.flush_early()
        return 0

    cdef int send_failure(self, Call call, Failure failure) except -1:
        cdef ServerSession session = self.owner()
        cdef Outgoing answer
        if session is None or session.is_closed:
            return 0
        answer = new_failure(failure.status, OUTCOME_RAN if failure.has_run else OUTCOME_NOT_STARTED, failure.text)
        answer.payload = failure.details
        answer.pushback_ms = failure.pushback_ms
        return session.sender.send_failure(call, answer)

    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None else session.send_refusal(call, status, text, is_faulty)

    cdef int list_call(self, Call call) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None else session.callee.hold(call)

    cdef int drop_one_way(self, Call call) except -1:
        cdef ServerSession session = self.owner()
        if session is not None:
            session.callee.one_way_calls -= 1
        return 0

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef ServerSession session = self.owner()
        if session is None or session.is_closed:
            return 0
        if codec >= FIRST_OWN_NUMBER:
            codec = session.peer.codec_number(codec, session.gate.codecs[codec])
        return session.sender.send_message(call, payload, <uint8_t>codec, <uint8_t>compressor)

    cdef int send_head(self, Call call, bytes metadata) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None or session.is_closed else session.sender.send_head(call, metadata)

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None or session.is_closed else session.assembler.message_taken(call, cost)

    cdef int reader_waits(self, Call call) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None or session.is_closed else session.assembler.reader_waits(call)

    cdef bint output_is_full(self) noexcept:
        return self._session is not NULL and (<ServerSession>self._session).output_is_full()

    cdef int await_output(self, Call call) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None else session.await_output(call)

    cdef uint64_t most_message(self) noexcept:
        return self.max_message if self._session is NULL else (<ServerSession>self._session).peer.max_message

    cdef uint32_t most_metadata(self) noexcept:
        return self.max_metadata if self._session is NULL else (<ServerSession>self._session).peer.max_metadata

    cdef bint takes_codec(self, Call call) except -1:
        cdef ServerSession session = self.owner()
        if session is None or call.flags & ONE_WAY:
            return True
        return session.peer.codec_number(call.codec, session.gate.codecs[call.codec]) >= 0

    cdef bytes compressed(self, Call call, object compressor, bytes payload):
        cdef ServerSession session = self.owner()
        cdef bytes smaller = None
        cdef uint8_t number = 0
        if session is not None:
            smaller = session.peer.compressed(compressor, call.compressor, payload, &number)
        call.compressor = number
        return payload if smaller is None else smaller

    def note_drain(self):
        """Tell handlers that the connection drains. Its GOAWAY with FINAL says which calls are too late."""
        Exchange.note_drain(self)
        self.holding &= ~HOLD_DRAIN

    cpdef int return_credit(self) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None else session.return_credit()

    cdef bint waits_for_turn(self) noexcept:
        return self._session is not NULL and (<ServerSession>self._session).reader.tail.is_put_off

    cdef int look_by(self, uint64_t due_ns) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None else session.schedule_check(due_ns)

    cdef int end_turn(self) except -1:
        cdef ServerSession session = self.owner()
        return 0 if session is None or session.transport is None else session.flush()

    cdef int crash(self, object error) except -1:
        cdef ServerSession session = self.owner()
        if session is not None:
            session._crashed(error)
        return 0


cdef class ServerSession(Session):
    """One connection of one client."""

    def __init__(self, *, Gate gate not None, Openings openings not None, timeouts, **options):
        Session.__init__(self, is_client=False, timeouts=timeouts, **options)
        if self._exchange is not NULL:
            raise RuntimeError("a session is initialised once")
        self.gate = gate
        self.openings = openings
        self.liveness.send_hard = gate.send_hard
        self.leave_after_ns = nanoseconds(timeouts.drain)
        self.pending_drain = -1
        self.exchange = NativeExchange(gate, "native")
        self.exchange._session = <PyObject*>self
        self.exchange.piece_bytes = self.ours.max_frame
        self._exchange = <PyObject*>self.exchange

    def __dealloc__(self):
        # The collector may have cleared `exchange` before, while a call still holds it.
        if self._exchange is not NULL:
            (<NativeExchange>self._exchange)._session = NULL

    def connection_made(self, transport):
        """Count the connection; its opening has to follow in time."""
        Session.connection_made(self, transport)
        self.is_opening = True
        self.is_surplus = self.openings.accept(self)

    def describe_peer(self):
        """Who is on the other side."""
        return self.exchange.describe_peer()

    @property
    def held_bytes(self):
        """Bytes that this connection holds: requests, records of calls, output, reads that wait for a turn."""
        return self.exchange.held_bytes

    cdef bint may_lend(self) noexcept:
        return process_held < self.gate.lend_below

    # Opening and leaving

    cdef int on_read(self) except -1:
        self.flush_due_ns = 0
        self.exchange.received_ns = self.received_ns
        self.exchange.is_reading = False
        if self.is_opening:
            self.openings.heard(self)
        return self.gate.runner.leave_task()

    cdef int leave_opening(self) except -1:
        """The connection is through its opening, or gone."""
        if self.is_opening:
            self.is_opening = False
            self.openings.leave(self)
        return 0

    cdef int on_ready(self) except -1:
        self.leave_opening()
        if self.is_surplus:
            logger.debug("refused the connection of %s: there are %d", self.peer_name, self.gate.connections)
            return self.close_with(
                REASON_DRAIN, f"the server has {self.gate.connections} connections already (Limits.connections)"
            )
        if self.pending_drain >= 0:
            self.begin_drain(self.pending_drain)
        logger.debug("a connection of %s opened", self.peer_name)
        return Session.on_ready(self)

    def begin_drain(self, int reason, str text=""):
        """Take no new calls; a connection that is only opening is told as soon as it can be.

        Endless handlers learn of it through `current_call().draining`.
        """
        self.now = now_ns()
        self.exchange.note_drain()
        if self.phase == PHASE_PREFACE and not self.is_closed:
            self.pending_drain = reason
            self.leave_at_ns = self.now + OPENING_NS
            self.schedule_check(self.leave_at_ns)
            return
        self.pending_drain = -1
        Session.begin_drain(self, reason, text)
        if self._peer_rests():
            self.finish_drain()

    cdef int finish_drain(self) except -1:
        Session.finish_drain(self)
        return self.gate.runner.tell_watcher()

    @property
    def has_drained(self):
        """Whether the peer knows that nothing new is taken, and the transport has all our bytes."""
        if self.is_closed:
            return True
        return self.drain_step == 2 and not self.is_write_paused and self.sender.unsent_bytes() == 0

    def resume_writing(self):
        """The transport takes more."""
        Session.resume_writing(self)
        self.gate.runner.tell_watcher()

    cdef int _write_output(self) except -1:
        Session._write_output(self)
        return self.gate.runner.tell_watcher()

    cdef bint _peer_rests(self) noexcept:
        """Whether the peer reads only while it waits, and waits for nothing: it reads this before its next call."""
        return self.settled and self.peer.ping_reply_ms == 0 and self.callee.calls.size == 0

    cdef int on_aged(self) except -1:
        self.begin_drain(REASON_MAX_AGE, "the connection reached its age (Keepalive.max_age)")
        self.leave_at_ns = 0 if self.leave_after_ns == 0 else self.now + self.leave_after_ns
        return 0

    cdef int on_idle(self) except -1:
        self.begin_drain(REASON_DRAIN, "the connection was without calls (Timeouts.idle)")
        self.leave_at_ns = self.now + LEAVING_NS
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = Session.check(self, now), other
        if self.is_closed or self.transport is None:
            return due
        other = self.gate.check_waiting(self.exchange, now)
        if other and (due == 0 or other < due):
            due = other
        other = self._check_leaving(now)
        if other and (due == 0 or other < due):
            due = other
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef uint64_t _check_leaving(self, uint64_t now) except? 0:
        if self.leave_at_ns == 0:
            return 0
        if now < self.leave_at_ns:
            return self.leave_at_ns
        self.leave_at_ns = 0
        self.end_calls("the time for calls to finish is over (Timeouts.drain)")
        self.close(REASON_DRAIN if self.pending_drain < 0 else self.pending_drain)
        return 0

    cpdef int end_calls(self, str text) except -1:
        """Answer every call that is still under way, and stop its handler."""
        cdef Call call
        for call in self.callee.calls.entries():
            if call.state == STATE_ASSEMBLING:
                self.drop_request(call, UNAVAILABLE, text)
            else:
                self.gate.end_call(<ServerCall>call, text)
        return 0

    cdef int on_stranger(self, str text) except -1:
        self.gate.dispatcher.stranger(self.describe_peer(), text)
        return 0

    cdef int on_closed(self) except -1:
        self.gate.leave(self.exchange)
        if self._peer_rests():
            # It would not notice before its next call, and then it reads before it writes.
            self.liveness.linger_ns = 0
        self.leave_opening()
        return Session.on_closed(self)

    cdef int on_lost(self, object error) except -1:
        """The client is gone: nobody waits for these answers."""
        cdef Call call
        self.gate.sessions.discard(self)
        self.leave_opening()
        self.gate.leave(self.exchange)
        for call in self.callee.calls.entries():
            if call.state == STATE_ASSEMBLING:
                self.gate.charge(<ServerCall>call, 0)
        self.gate.weigh(self.exchange, 0)
        self.gate.dispatcher.session_lost(self.exchange, error)
        return 0

    # From the request to the gate. What each call goes through is checked for None where a call, a route or a payload
    # is made, not at every use of it.

    @cython.nonecheck(False)
    cdef Call new_call(self):
        cdef ServerCall call = self.gate.spare
        self.gate.spare = None
        if call is None:
            call = ServerCall.__new__(ServerCall)
        call.exchange = self.exchange
        return call

    cdef int on_begun(self, Call call, Frame* frame) except -1:
        # For the counters, should it be refused before it is whole.
        call.route = self.gate.routes.find(frame.method, frame.method_size)
        return 0

    @cython.nonecheck(False)
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        assert call is not None
        assert payload is not None
        self.exchange.now = self.now
        self.exchange.received_ns = self.received_ns
        self.exchange.is_reading = self._is_reading
        self.gate.pass_in(<ServerCall>call, frame.method, frame.method_size, frame.names, payload)
        if self.exchange.ended_ns > self.turn_ends_ns:
            self.reader.frames_left = 0
        if Py_REFCNT(call) == 1 and (<ServerCall>call).make_new():
            # Answered already, and only the function that called us knows it: the next request gets the same object.
            self.gate.spare = <ServerCall>call
        return 0

    cdef int on_cancel(self, Call call, int reason) except -1:
        self.exchange.now = self.now
        # Both sides watch the deadline; whoever is first, it is the same reason.
        return self.gate.cancel(<ServerCall>call, reason == CANCEL_DEADLINE)

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        self.exchange.now = self.now
        return self.gate.note_answered(<ServerCall>call, status, text)

    cdef int on_stall(self) except -1:
        if self.loop_state.calm_until_ns == 0:
            return self.loop_state.watch(self.now)
        return self.gate.hold_for_stall(self.exchange, max(self.loop_state.seen_ns, self.received_ns))

    # From the exchange to the wire

    cdef int flush_early(self) except -1:
        """Let answers go while further requests of the same read are handled."""
        cdef uint64_t stepped = self.exchange.stepped_ns
        if stepped <= self.flush_due_ns:
            return 0
        self.flush_due_ns = stepped + 2 * (stepped - self.now)
        # A transport that collects what is written would send it no sooner.
        return self.flush() if self.descriptor >= 0 else 0

    cdef int on_refused(self, Call call, int status, str text) except -1:
        # A limit of the connection itself: the gate has not seen the call.
        self.gate.count_refused(<ServerCall>call, status, text)
        return self._free_one_way(call)

    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1:
        """Answer that a call was not started; faulty: through its caller, who may make so many of them and no more."""
        cdef Outgoing answer
        self._free_one_way(call)
        if call.state == STATE_CANCELLED:
            # The wire ends a cancelled call by CANCELLED, whatever kept it from its start (PROTOCOL.md, "Calls").
            status = CANCELLED
        if is_faulty and status == RESOURCE_EXHAUSTED and not call.flags & ONE_WAY:
            # It would else look as if the same call could succeed a little later.
            answer = new_failure(status, OUTCOME_NOT_STARTED, text)
            answer.pushback_ms = PUSHBACK_NEVER
            self.callee.ended(call)
            self.sender.send_failure(call, answer)
        else:
            self.callee.send_refusal(call, status, text)
        return self.callee.spend_idle_work(call) if is_faulty else 0

    cdef int _free_one_way(self, Call call) except -1:
        # A one-way call is counted once it is whole, and its state is GONE from then on.
        if call.flags & ONE_WAY and call.state == STATE_GONE:
            self.callee.one_way_calls -= 1
        return 0

    cdef int drop_request(self, Call call, int status, str text) except -1:
        """Refuse a request of which not all is there; what follows of it is discarded."""
        if call.flags & ONE_WAY:
            self.callee.one_way_calls -= 1
        return self.callee.refuse(call, status, text)

    # Memory

    cdef int flush(self) except -1:
        Session.flush(self)
        if self.transport is None:
            return 0
        if (
            self.exchange.output_held or self.sender.queued_bytes or self.is_write_paused
            or self.exchange.holding & HOLD_OUTPUT
        ):
            self.weigh_output()
        if self.drain_step == 2 and self.exchange.output_held == 0:
            self.gate.runner.tell_watcher()
        return 0

    cdef int on_tail(self, Py_ssize_t change) except -1:
        self.exchange.tail_held += change
        return self.gate.count(change)

    cdef int weigh_output(self) except -1:
        """Count what the peer has not taken."""
        self.gate.weigh(self.exchange, self.untaken_bytes())
        return self._note_blocked() if self.exchange.holding & HOLD_OUTPUT else 0

    cdef int on_piece(self, Call call) except -1:
        """Count what is there of a request; one that is over a budget is refused before the rest of it came."""
        cdef ServerCall served = <ServerCall>call
        cdef Py_ssize_t size
        if call.state != STATE_ASSEMBLING:
            return 0
        size = (<Assembly>call.incoming.assembly).filled
        # At its first piece the whole of it has to fit, from then on what was received in fact.
        problem = self.gate.over_budget(
            self.exchange,
            size - served.charge if served.charge else (<Assembly>call.incoming.assembly).total,
            served.charge == 0,
        )
        if problem is not None:
            return self.drop_request(call, RESOURCE_EXHAUSTED, problem)
        return self.gate.charge(served, max(size, <Py_ssize_t>1))

    cdef int on_stuck(self, Call call, str text) except -1:
        if self.withheld:
            # It may be waiting for us.
            call.incoming.seen_ns = 0
            return 0
        if call.state == STATE_ASSEMBLING:
            return self.drop_request(call, DEADLINE_EXCEEDED, text)
        return Session.on_stuck(self, call, text)

    cdef int on_ended(self, Call call) except -1:
        return self.gate.charge(<ServerCall>call, 0) if (<ServerCall>call).charge else 0

    cdef int _placed(self, Frame* frame) except -1:
        if self.gate.is_full:
            self.withheld += HEADER_SIZE + <int64_t>frame.length
            return 0
        return Session._placed(self, frame)

    cpdef int return_credit(self) except -1:
        """Return the connection credit that was kept back."""
        cdef int64_t credit
        if self.withheld:
            credit = placed(&self.reader.received, self.withheld)
            self.withheld = 0
            if credit and not self.is_closed:
                self.sender.send_credit(0, <uint32_t>credit)
        return 0

    def stats(self):
        """What is under way on this connection, as plain data."""
        return {
            "calls": self.callee.calls.size,
            "one_way": self.callee.one_way_calls,
            "buffered": self.untaken_bytes(),
            "credit": self.sender.send_left,
        }
