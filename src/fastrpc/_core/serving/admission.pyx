"""What a server lets in: connections that open, calls that wait for their start, bytes that are held.

::

    REQUEST whole ──► nothing holds it back ──────────────────────────────► let_in
                  └─► slow_start: over a budget? refused.
                        │ the loop was blocked, or our output is not taken
                        ▼
                      queue ──► Admission, once a turn ──► aged? refused ──► let_in

A stall of the loop is over for a connection once a turn brought nothing more to read: cancels that came meanwhile
count, and what expired meanwhile is never started.
"""

import asyncio
import contextvars
import logging
import os
import weakref
from collections import OrderedDict, deque

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint32_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_ASSEMBLING, STATE_GONE
from fastrpc._core.native.connection cimport PHASE_PREFACE
from fastrpc._core.framing.frame cimport HEADER_SIZE, ONE_WAY, REASON_DRAIN, REASON_MAX_AGE, REASON_MEMORY
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.loop.loop_state cimport STALL_NS, loop_state
from fastrpc._core.serving.openings cimport Openings
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED
from fastrpc._core.framing.window cimport placed
from fastrpc._core.base.wire cimport now_ns

from fastrpc._core.base.histogram import UNKNOWN_METHOD, default_registry

cdef enum:
    # After so many turns calls are started although there is still more to read: about a megabyte.
    MOST_LOOKS = 6

cdef uint64_t SECOND = 1_000_000_000
# PROTOCOL.md, "Memory": credit is held back for at most so long.
cdef uint64_t FULL_NS = 5 * SECOND
# How long a connection that is to drain may take to open, and one that is idle to close by itself.
cdef uint64_t OPENING_NS = SECOND
cdef uint64_t LEAVING_NS = 2 * SECOND

process_held = 0

# Admissions that live, for the search of the largest holder.
servers = weakref.WeakSet()

logger = logging.getLogger("fastrpc.server")
DEBUG = logging.DEBUG


def _forked():
    # What the parent's connections hold is the parent's.
    global process_held
    process_held = 0


os.register_at_fork(after_in_child=_forked)


def bytes_held():
    """Count the bytes that all connections of this process hold."""
    return process_held


cdef class AdmittedCall(Call):
    """A call of theirs, as far as admission knows it."""


cdef class Admission(Timed):
    """The bounds of one server, over all of its connections."""

    def __init__(self, *, loop, limits, memory, admission):
        self.loop_state = loop_state(loop)
        self.sessions = set()
        self.turn = deque()
        self._look = self._look_at_waiting
        self._context = contextvars.copy_context()
        self.queue_length = admission.queue_length
        self.queue_age_ns = nanoseconds(admission.queue_age)
        self.openings = Openings(self.loop_state, admission.handshakes)
        self.connections = limits.connections
        # These never count as less than the largest message.
        self.request_bytes = max(memory.request_bytes, limits.message_bytes)
        self.send_hard = max(memory.send_hard, limits.message_bytes)
        self.send_soft = memory.send_soft
        self.process_bytes = memory.process_bytes
        self.refuse_above = memory.process_bytes * 85 // 100
        self.full_wait_ns = FULL_NS
        self.unknown_method = default_registry.counters(UNKNOWN_METHOD, "server")
        servers.add(self)

    # Connections

    @property
    def opening(self):
        """Connections that are in their opening."""
        return len(self.openings)

    cdef int accepted(self, GuardedSession session) except -1:
        """A connection was accepted: it may open now, or is one too many."""
        cdef Py_ssize_t count = len(self.sessions)
        self.sessions.add(session)
        if count >= self.connections:
            if count == self.connections:
                logger.warning("there are %d connections: further ones are refused (Limits.connections)", count)
            self.refused_connections += 1
            # It is told why, unless it is one of so many that even that costs too much.
            session.is_surplus = True
            if count >= self.connections + self.openings.limit:
                session.transport.abort()
                return 0
        session.is_opening = True
        return self.openings.add(session)

    cdef int left(self, GuardedSession session) except -1:
        """A connection is gone."""
        self.sessions.discard(session)
        return session.leave_opening()

    # Calls that wait

    cdef int schedule(self, GuardedSession session) except -1:
        """Look at what waits on a connection in the next turn of the loop."""
        if not session.is_in_turn:
            session.is_in_turn = True
            self.turn.append(session)
        if not self.is_scheduled and not self.loop_state.loop.is_closed():
            self.is_scheduled = True
            self.loop_state.call_soon(self._look, context=self._context)
        return 0

    def _look_at_waiting(self):
        """Start what may start, connection after connection, for as long as a stall is not."""
        cdef GuardedSession session
        cdef uint64_t began = now_ns()
        self.is_scheduled = False
        for _ in range(len(self.turn)):
            session = <GuardedSession>self.turn.popleft()
            session.is_in_turn = False
            if session.transport is None or session.is_closed:
                continue
            if session.holding & HOLD_STALL and not session.is_caught_up():
                self.schedule(session)
                continue
            session.now = session.turn_ns = began
            try:
                session.start_waiting()
                session.flush()
            except Exception as error:
                session._crashed(error)
            if session.queue and not session.holding & HOLD_OUTPUT:
                self.schedule(session)
            if now_ns() > began + STALL_NS:
                break
        else:
            return
        # These handlers took long: what the other peers sent meanwhile is read first.
        for session in self.turn:
            session.hold_for_stall(began)
        if self.turn:
            self.schedule(<GuardedSession>self.turn[0])

    # Memory

    cdef int count(self, int64_t change) except -1:
        """Count bytes that connections hold from now on, or no more."""
        global process_held
        process_held += change
        if not self.is_full:
            if process_held > self.process_bytes:
                self.is_full = True
                self.loop_state.start_timer(self, now_ns() + self.full_wait_ns)
        elif process_held <= self.process_bytes:
            self.loop_state.stop_timer(self)
            self._return_credit()
        return 0

    def _return_credit(self):
        self.is_full = False
        for session in list(self.sessions):
            (<GuardedSession>session).return_credit()

    cdef int on_timer(self) except -1:
        """Credit was held back for as long as it may be: if that did not help, the largest holder goes."""
        cdef GuardedSession largest = None
        self._return_credit()
        if process_held <= self.process_bytes:
            return 0
        for server in list(servers):
            for session in list((<Admission>server).sessions):
                if largest is None or (<GuardedSession>session).held_bytes() > largest.held_bytes():
                    largest = <GuardedSession>session
        self.is_full = True
        self.loop_state.start_timer(self, now_ns() + self.full_wait_ns)
        if largest is None:
            return 0
        text = (
            f"the server's connections hold {process_held} bytes, {self.process_bytes} are allowed "
            f"(Memory.process_bytes); this one holds the most, {largest.held_bytes()}"
        )
        logger.warning("closed the connection of %s: %s", largest.peer_name, text)
        if largest.loop_state is self.loop_state:
            largest.close(REASON_MEMORY, text)
        else:
            largest.loop_state.loop.call_soon_threadsafe(largest.close, REASON_MEMORY, text)
        return 0


cdef class GuardedSession(Session):
    """A connection of a server, as far as admission goes."""

    def __init__(self, *, Admission admission not None, timeouts, **options):
        Session.__init__(self, is_client=False, timeouts=timeouts, **options)
        self.admission = admission
        self.liveness.send_hard = admission.send_hard
        self.leave_after_ns = nanoseconds(timeouts.drain)
        self.pending_drain = -1

    def __dealloc__(self):
        # Nobody is told of the end of a connection whose loop was closed before it.
        global process_held
        process_held -= self.request_held + self.record_held + self.output_held

    def connection_made(self, transport):
        """Count the connection; its opening has to follow in time."""
        Session.connection_made(self, transport)
        self.admission.accepted(self)

    cpdef int64_t held_bytes(self) noexcept:
        """Bytes that this connection holds: requests, records of calls, output."""
        return self.request_held + self.record_held + self.output_held

    cdef int task_finished(self, HandlerTask ended) except -1:
        return 0

    # Opening and leaving

    cdef int on_read(self) except -1:
        return self.admission.openings.heard(self) if self.is_opening else 0

    cdef int leave_opening(self) except -1:
        """The connection is through its opening, or gone."""
        if self.is_opening:
            self.is_opening = False
            self.admission.openings.leave(self)
        return 0

    cdef int on_ready(self) except -1:
        self.leave_opening()
        if self.is_surplus:
            logger.debug("refused the connection of %s: there are %d", self.peer_name, self.admission.connections)
            return self.close_with(
                REASON_DRAIN, f"the server has {self.admission.connections} connections already (Limits.connections)"
            )
        if self.pending_drain >= 0:
            self.begin_drain(self.pending_drain)
        logger.debug("a connection of %s opened", self.peer_name)
        return Session.on_ready(self)

    def drain_event(self):
        """The event that is set when this connection is to end."""
        if self.drain_signal is None:
            self.drain_signal = asyncio.Event()
            if self.drain_step:
                self.drain_signal.set()
        return self.drain_signal

    def begin_drain(self, int reason, str text=""):
        """Take no new calls; a connection that is only opening is told as soon as it can be.

        Endless handlers learn of it through `current_call().draining`.
        """
        self.now = now_ns()
        if self.drain_signal is not None:
            self.drain_signal.set()
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
        return self.tell_watcher()

    @property
    def has_drained(self):
        """Whether the peer knows that nothing new is taken, and the transport has all our bytes."""
        if self.is_closed:
            return True
        return self.drain_step == 2 and not self.is_write_paused and self.sender.unsent_bytes() == 0

    def resume_writing(self):
        """The transport takes more."""
        Session.resume_writing(self)
        self.tell_watcher()

    cdef int _write_output(self) except -1:
        Session._write_output(self)
        return self.tell_watcher()

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
        other = self._check_waiting(now)
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
        """Hook: answer every call that is still under way."""
        return 0

    cdef int tell_watcher(self) except -1:
        """Hook: something changed that a draining server may wait for."""
        return 0

    cdef int on_closed(self) except -1:
        if self._peer_rests():
            # It would not notice before its next call, and then it reads before it writes.
            self.liveness.linger_ns = 0
        self.leave_opening()
        self._drop_all_waiting()
        return Session.on_closed(self)

    cdef int on_lost(self, object error) except -1:
        cdef AdmittedCall call
        self.admission.left(self)
        self._drop_all_waiting()
        for call in self.callee.calls.entries():
            if call.state == STATE_ASSEMBLING:
                self.charge(call, 0)
        self.admission.count(-self.output_held)
        self.output_held = 0
        return 0

    # The slow way in

    cdef int let_in(self, AdmittedCall call, bytes payload) except -1:
        """Hook: nothing holds the call back any more."""
        return 0

    cdef int slow_start(self, AdmittedCall call, bytes payload) except -1:
        """Refuse a call, let it wait, or begin it after all."""
        cdef uint64_t waited
        # What was taken in pieces is no new call any more.
        problem = self._over_budget(PyBytes_GET_SIZE(payload) - call.charge, call.charge == 0)
        if problem is not None:
            return self.callee.refuse(call, RESOURCE_EXHAUSTED, problem)
        if not self.holding & (HOLD_STALL | HOLD_OUTPUT):
            return self.let_in(call, payload)
        if self.holding & HOLD_STALL and call.started_ns > self.dated_ns:
            # Nobody knows when it came; it may have waited for as long as nobody looked.
            waited = call.started_ns - self.dated_ns
            call.started_ns = self.dated_ns
            if call.deadline_ns != NO_DEADLINE:
                call.deadline_ns -= waited
        return self._enqueue_call(call, payload)

    cdef str _over_budget(self, Py_ssize_t size, bint is_new):
        """Why nothing more of this size is taken, or None."""
        cdef Admission admission = self.admission
        if is_new and process_held > admission.refuse_above:
            return (
                f"the server's connections hold {process_held} bytes, new calls are refused above "
                f"{admission.refuse_above} (85 % of Memory.process_bytes)"
            )
        if self.request_held + size > admission.request_bytes:
            return (
                f"the requests of this connection hold {self.request_held} bytes, {size} more are over the server's "
                f"{admission.request_bytes} (Memory.request_bytes)"
            )
        return None

    cdef int _enqueue_call(self, AdmittedCall call, bytes payload) except -1:
        cdef Admission admission = self.admission
        if admission.waiting >= admission.queue_length:
            return self.callee.refuse(
                call,
                RESOURCE_EXHAUSTED,
                f"{admission.waiting} calls wait for their start, the server lets {admission.queue_length} wait "
                "(Admission.queue_length)",
            )
        call.waiting_payload = payload
        call.queued_ns = self.now
        self.charge(call, max(PyBytes_GET_SIZE(payload), <Py_ssize_t>1))
        if not call.flags & ONE_WAY:
            self.callee.hold(call)
        if not self.queue and self.holding & HOLD_OUTPUT:
            self.schedule_check(self.now + admission.queue_age_ns)
        if self.queue is None:
            self.queue = OrderedDict()
        self.queue[call.id] = call
        admission.waiting += 1
        return 0

    cdef int drop_waiting(self, AdmittedCall call) except -1:
        """Take a call out of the queue."""
        if self.queue and self.queue.pop(call.id, None) is not None:
            self.admission.waiting -= 1
            call.waiting_payload = None
            self.charge(call, 0)
        return 0

    cdef int _drop_all_waiting(self) except -1:
        if self.queue:
            for call in list(self.queue.values()):
                self.drop_waiting(<AdmittedCall>call)
        return 0

    cdef int start_waiting(self) except -1:
        """Begin the calls that wait, in order, until something holds them back again."""
        cdef AdmittedCall call
        cdef bytes payload
        self._refuse_aged(self.now)
        while self.queue and not self.holding & (HOLD_STALL | HOLD_OUTPUT):
            call = <AdmittedCall>next(iter(self.queue.values()))
            payload = call.waiting_payload
            self.drop_waiting(call)
            self.let_in(call, payload)
        return 0

    cdef int _refuse_aged(self, uint64_t now) except -1:
        cdef AdmittedCall call
        cdef uint64_t limit = self.admission.queue_age_ns
        while self.queue:
            call = <AdmittedCall>next(iter(self.queue.values()))
            if now < call.queued_ns + limit:
                return 0
            self.drop_waiting(call)
            self.callee.refuse(
                call,
                RESOURCE_EXHAUSTED,
                f"{call.route.method} waited {(now - call.queued_ns) / 1e9:.3g} s for its start, {limit / 1e9:g} s are "
                "allowed (Admission.queue_age)",
            )
        return 0

    cdef uint64_t _check_waiting(self, uint64_t now) except? 0:
        self._refuse_aged(now)
        if not self.queue:
            return 0
        return (<AdmittedCall>next(iter(self.queue.values()))).queued_ns + self.admission.queue_age_ns

    # Stalls

    cdef int on_stall(self) except -1:
        if self.loop_state.calm_until_ns == 0:
            return self.loop_state.watch(self.now)
        return self.hold_for_stall(max(self.loop_state.seen_ns, self.received_ns))

    cdef int hold_for_stall(self, uint64_t since) except -1:
        """Something blocked the loop: nothing starts before the socket was seen empty."""
        if self.holding & HOLD_STALL or self.is_closed:
            return 0
        self.holding |= HOLD_STALL
        self.dated_ns = since
        self.looks = 0
        return self.admission.schedule(self)

    cdef bint is_caught_up(self) noexcept:
        """Whether a whole turn of the loop brought nothing more to read, or enough was read."""
        self.looks += 1
        cdef bint has_read = self.is_put_off or self.received_ns != self.seen_read_ns
        if self.looks == 1 or (has_read and self.looks < MOST_LOOKS):
            # The first look comes before this turn's reads.
            self.seen_read_ns = self.received_ns
            return False
        self.holding &= ~HOLD_STALL
        return True

    # Memory

    cdef int flush(self) except -1:
        Session.flush(self)
        if self.transport is None:
            return 0
        if self.output_held or self.sender.queued_bytes or self.is_write_paused or self.holding & HOLD_OUTPUT:
            self.weigh_output()
        if self.drain_step == 2 and self.output_held == 0:
            self.tell_watcher()
        return 0

    cdef int weigh_output(self) except -1:
        """Count what the peer has not taken; above `send_soft` nothing more starts."""
        cdef int64_t size = self.untaken_bytes()
        self.admission.count(size - self.output_held)
        self.output_held = size
        if size > self.admission.send_soft:
            if self.queue and not self.holding & HOLD_OUTPUT:
                self.schedule_check(self.now + self.admission.queue_age_ns)
            self.holding |= HOLD_OUTPUT
            self._note_blocked()
        elif self.holding & HOLD_OUTPUT:
            self.holding &= ~HOLD_OUTPUT
            if self.queue:
                self.admission.schedule(self)
        return 0

    cdef int charge(self, AdmittedCall call, Py_ssize_t size) except -1:
        """Count a call with so many bytes from now on; 0: it is over."""
        cdef Py_ssize_t change = size - call.charge, record = 0
        if change == 0:
            return 0
        if call.charge == 0:
            record = CALL_RECORD
        elif size == 0:
            record = -CALL_RECORD
        call.charge = size
        self.request_held += change
        self.record_held += record
        if self.request_held + <int64_t>self.ours.max_frame > self.admission.request_bytes:
            self.holding |= HOLD_REQUESTS
        else:
            self.holding &= ~HOLD_REQUESTS
        return self.admission.count(change + record)

    cdef int on_piece(self, Call call) except -1:
        """Count what is there of a request; one that is over a budget is refused before the rest of it came."""
        cdef AdmittedCall admitted = <AdmittedCall>call
        cdef Py_ssize_t size
        if call.state != STATE_ASSEMBLING:
            return 0
        size = (<Assembly>call.incoming.assembly).filled
        # At its first piece the whole of it has to fit, from then on what was received in fact.
        problem = self._over_budget(
            size - admitted.charge if admitted.charge else (<Assembly>call.incoming.assembly).total,
            admitted.charge == 0,
        )
        if problem is not None:
            return self.drop_request(call, RESOURCE_EXHAUSTED, problem)
        return self.charge(admitted, max(size, <Py_ssize_t>1))

    cdef int on_stuck(self, Call call, str text) except -1:
        if self.withheld:
            # It may be waiting for us.
            call.incoming.seen_ns = 0
            return 0
        if call.state == STATE_ASSEMBLING:
            return self.drop_request(call, DEADLINE_EXCEEDED, text)
        return Session.on_stuck(self, call, text)

    cdef int on_refused(self, Call call, int status, str text) except -1:
        self.count_refused(call, status)
        if logger.isEnabledFor(DEBUG):
            logger.debug("refused a call of %s: %s", self.peer_name, text)
        # Only once it is whole is a one-way call counted, and from then on it is gone.
        if call.flags & ONE_WAY and call.state == STATE_GONE:
            self.callee.one_way_calls -= 1
        return 0

    cdef int count_refused(self, Call call, int status) except -1:
        """Count a call that ends without having started."""
        cdef MethodCounters counters = self.admission.unknown_method if call.route is None else call.route.counters
        self.admission.refused += 1
        counters.started()
        counters.ended(status, now_ns() - call.started_ns)
        return 0

    cdef int drop_request(self, Call call, int status, str text) except -1:
        """Refuse a request of which not all is there; what follows of it is discarded."""
        if call.flags & ONE_WAY:
            self.callee.one_way_calls -= 1
        return self.callee.refuse(call, status, text)

    cdef int on_ended(self, Call call) except -1:
        return self.charge(<AdmittedCall>call, 0) if (<AdmittedCall>call).charge else 0

    cdef int _placed(self, Frame* frame) except -1:
        if self.admission.is_full:
            self.withheld += HEADER_SIZE + <int64_t>frame.length
            return 0
        return Session._placed(self, frame)

    cdef int return_credit(self) except -1:
        """Return the connection credit that was kept back."""
        cdef int64_t credit
        if self.withheld:
            credit = placed(&self.reader.received, self.withheld)
            self.withheld = 0
            if credit and not self.is_closed:
                self.sender.send_credit(0, <uint32_t>credit)
        return 0
