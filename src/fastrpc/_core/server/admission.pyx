"""Admission to a server: which calls start, wait for their start, or are refused.

::

    the call may start ──► nothing holds it back ──────────────────────────────► start
                       └─► slow_start: over a budget? refused.
                             │ the loop was blocked, or our output is not taken
                             ▼
                           queue ──► CallAdmission, once a turn ──► aged? refused ──► start

Calls of priority 1 are sheddable: they start last, and their memory budgets are lower. A full queue refuses its latest
sheddable call to make room for a call that is not sheddable. When a budget is used up, as many sheddable calls are
refused as the new call needs, or none if all of them are not enough.

Waiting calls are started for STARTS_NS in one turn of the loop. The connections that were not reached are first in the
next turn.

A stall ends for a connection once a turn brings no further input. Cancels read until then count, and calls that expired
never start. The hold is bounded in time: if each turn were a stall, calls would become too old to start.
"""

import contextvars
import logging
from collections import deque

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.contextvars cimport PyContext_Copy, PyContext_Enter, PyContext_Exit

from fastrpc._core.base.histogram cimport MethodCounters, queue_waits
from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.base.priority_queue cimport RANK_HIGH, RANK_NORMAL, RANK_SHEDDABLE
from fastrpc._core.base.sound_text cimport sound_text
from fastrpc._core.base.status cimport (
    DEADLINE_EXCEEDED,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.limiting.limiters cimport END_LATE, END_UNSTARTED, leave_all
from fastrpc._core.loop.loop_state cimport STALL_NS, loop_state
from fastrpc._core.loop.turns cimport UNANSWERED_NS
from fastrpc._core.server.handler_context cimport SharedContext
from fastrpc._core.server.served_call cimport AMONG_ALL, AT_CONNECTION, begin_hold, has_lapsed, is_caught_up
from fastrpc._core.server.served_call cimport is_sheddable, waiting_bytes
from fastrpc._core.server.served_connection cimport HOLD_DRAIN, HOLD_LATE, HOLD_OUTPUT, HOLD_QUEUE, HOLD_STALL
from fastrpc._core.server.served_connection cimport process_held
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.base.histogram import OTHER_METHODS, count_refusal, default_registry
from fastrpc.status import Status

# In one turn of the loop, waiting calls start for as long as slices run (`turns`).
cdef uint64_t STARTS_NS = 4_000_000
# The longest part of a turn for refusals of calls that waited too long.
cdef uint64_t LONGEST_REFUSALS_NS = 50_000_000
# One connection's share of such a turn: a thousand connections get theirs within fifty turns.
cdef uint64_t STARTS_EACH_NS = 200_000

# Calls also start after this time, or after this share of the time for which they may wait: long turns would use it up.
cdef uint64_t LONGEST_HOLD_NS = 100_000_000
cdef uint64_t HOLD_SHARE = 4

# A call that expires after such a wait has waited for its start; a shorter wait is an ordinary turn of the loop. For a
# second after it, other calls that waited long may be refused.
cdef uint64_t WAITED_NS = 10_000_000
cdef uint64_t SHEDS_NS = 1_000_000_000
# A call with so small a part of its time left counts as expired: its answer would leave at the end of the turn, after
# the deadline.
cdef uint64_t LAST_PART = 32

# A refusal states the wait, in steps of 1 ms, of 0.1 ms below 0.1 s, and of 1 µs below 10 ms.
cdef uint64_t TOLD_NS = 1_000_000

logger = logging.getLogger("fastrpc.server")
DEBUG = logging.DEBUG


cdef class CallAdmission:
    """The bounds of one server, over all of its connections."""

    def __init__(self, *, loop, limits, memory, admission):
        self.loop_state = loop_state(loop)
        self.engines = set()
        self.turn = deque()
        self.prioritised = WaitingCalls(AMONG_ALL)
        self._contexts = SharedContext()
        self._look = self._look_at_waiting
        self._context = contextvars.copy_context()
        self.queue_length = admission.queue_length
        self.queue_age_ns = nanoseconds(admission.queue_age)
        self.hold_ns = min(LONGEST_HOLD_NS, self.queue_age_ns // HOLD_SHARE)
        self.connections = limits.connections
        self.concurrent_calls = limits.concurrent_calls
        self.metadata_bytes = limits.metadata_bytes
        self.message_bytes = limits.message_bytes
        self.sent_bytes = limits._sent_bytes
        # The hard limit of output has room for the largest message.
        self.send_hard = max(memory.send_hard, limits.message_bytes)
        self.send_soft = memory.send_soft
        self.memory = MemoryBudget(loop, self.engines, limits, memory)
        self.unknown_method = default_registry.counters(OTHER_METHODS, "server")
        self._counters = {}

    # Connections

    cdef bint add_engine(self, object engine) except -1:
        """Count an accepted connection; return whether it exceeds the limit."""
        cdef Py_ssize_t count = len(self.engines)
        self.engines.add(engine)
        if count < self.connections:
            return False
        if count == self.connections:
            logger.warning("there are %d connections: further ones are refused (Limits.connections)", count)
        self.refused_connections += 1
        return True

    # Counters

    def counters_by_method(self, str protocol not None):
        """Return the counters of a protocol's calls; None for the native one, whose routes hold them."""
        return None if protocol == "native" else self._counters.setdefault(protocol, {})

    cdef MethodCounters counters_of(self, ServerCall call, MethodRoute route):
        """Return the counters of a call; a call of an unknown method has no route."""
        cdef ServedConnection connection = call.connection
        cdef dict by_method = connection.counters
        cdef MethodCounters counters
        cdef str protocol
        if by_method is None:
            return self.unknown_method if route is None else route.counters
        protocol = connection.protocol_of(call)
        if protocol is not connection.protocol:
            by_method = self.counters_by_method(protocol)
        name = OTHER_METHODS if route is None else route.method
        counters = by_method.get(name)
        if counters is None:
            counters = by_method[name] = default_registry.counters(name, "server", protocol)
        return counters

    # Memory

    cdef str over_budget(self, ServerCall call, Py_ssize_t size, bint is_new):
        """Return why no more bytes of a call are taken, or None. Sheddable calls make room for others."""
        cdef ServerCall shed
        cdef str problem = self.memory.excess(call, size, is_new)
        if problem is None or is_sheddable(call) or not self._can_make_room(call.connection, size, is_new):
            return problem
        while problem is not None:
            shed = self._call_to_shed(call.connection, is_new and process_held > self.memory.refuse_above)
            if shed is None:
                break
            self._shed(shed, problem, "memory")
            problem = self.memory.excess(call, size, is_new)
        return problem

    cdef bint has_room(self, ServerCall call, bytes payload) except -1:
        """Return whether the budgets take the payload of a call; refuse the call if not."""
        # A later piece of a request is not a new call.
        cdef str problem = self.over_budget(call, PyBytes_GET_SIZE(payload) - call.charge, call.charge == 0)
        if problem is None:
            return True
        count_refusal("memory")
        self.refuse(call, RESOURCE_EXHAUSTED, problem)
        return False

    cdef bint _can_make_room(self, ServedConnection connection, Py_ssize_t size, bint is_new) noexcept:
        """Return whether both budgets would have room without the sheddable calls."""
        cdef int64_t waiting = self.prioritised.sheddable_bytes + self.prioritised.sheddable_records
        if is_new and process_held - waiting > self.memory.refuse_above:
            return False
        waiting = 0
        if connection.queue is not None:
            waiting = (<WaitingCalls>connection.queue).sheddable_bytes
        return connection.request_held - waiting + size <= self.memory.request_bytes

    cdef ServerCall _call_to_shed(self, ServedConnection connection, bint of_any):
        """Return the sheddable call that arrived last, of this connection or of any, or None."""
        if of_any:
            return self.prioritised.last_sheddable()
        return None if connection.queue is None else (<WaitingCalls>connection.queue).last_sheddable()

    cdef int _shed(self, ServerCall call, str why, str reason) except -1:
        self.drop_waiting(call)
        count_refusal(reason)
        text = f"{call.route.method} has priority 1 and made room for another call: {why}"
        return self.refuse(call, RESOURCE_EXHAUSTED, text)

    cdef int weigh(self, ServedConnection connection, int64_t size) except -1:
        """Count the output that the peer has not taken; above `send_soft` no further call starts.

        Begun large answers, messages without a window and taken bytes do not count: other answers go in between.
        """
        cdef int64_t change = size - connection.output_held
        connection.output_held = size
        self.memory.count(change)
        if size > self.send_soft and size - connection.cut_bytes() - connection.passed_bytes() > self.send_soft:
            if connection.queue and not connection.holding & HOLD_OUTPUT:
                connection.look_by(now_ns() + self.queue_age_ns)
            connection.holding |= HOLD_OUTPUT
        elif connection.holding & HOLD_OUTPUT:
            connection.holding &= ~HOLD_OUTPUT
            if connection.queue:
                connection.holding |= HOLD_QUEUE
                self.schedule(connection)
        return 0

    # Refusals

    cdef int refuse(self, ServerCall call, int status, str text, bint is_faulty=False) except -1:
        """Count and refuse a call that is not started; `is_faulty`: the same call would be refused again."""
        cdef ServedConnection connection = call.connection
        self.count_refused(call, status, text)
        if call.stream is not None:
            (<StreamChannel>call.stream).close(None)
        # The flag is set before the refusal, during which the engine may end the call again.
        call.was_ended = True
        try:
            return connection.outcomes.refuse(call, status, sound_text(text), is_faulty)
        except BaseException as error:
            return connection.answer_last(call, error, connection.outcomes.is_unanswered(call), False)

    cdef int count_refused(self, ServerCall call, int status, str text) except -1:
        """Count a call that ends without having started."""
        cdef MethodCounters counters = self.counters_of(call, call.route)
        self.refused += 1
        if call.permit is not None:
            leave_all(call.permit, 0, now_ns(), END_LATE if status == DEADLINE_EXCEEDED else END_UNSTARTED)
            call.permit = None
        counters.started()
        counters.ended(status, now_ns() - call.started_ns)
        if self.watch is not None:
            self.watch.refused(call, status, text)
        if status == UNAUTHENTICATED:
            count_refusal("unauthenticated")
        elif status == PERMISSION_DENIED:
            count_refusal("denied")
        if logger.isEnabledFor(DEBUG):
            peer = call.get_peer()
            logger.debug(
                "refused a call of %s: %s",
                peer,
                text,
                extra={
                    "event": "call_refused",
                    "method": None if call.route is None else call.route.method,
                    "status": Status(status).name,
                    "peer": None if peer is None else str(peer.address),
                },
            )
        return 0

    # The slow way in

    cdef int start(self, ServerCall call, bytes payload) except -1:
        """Hook: start a call that has no more reason to wait."""
        return 0

    cdef int slow_start(self, ServerCall call, bytes payload) except -1:
        """Refuse a call, let it wait, or begin it after all."""
        cdef ServedConnection connection = call.connection
        # The clock is not read: the end of the last handler is known.
        cdef uint64_t now = max(connection.now, connection.stepped_ns)
        if (
            connection.holding == HOLD_LATE
            and now < connection.dated_ns + self.queue_age_ns
            and (self.sheds_until_ns <= now or call.deadline_ns <= now)
            and process_held <= self.memory.shed_above
        ):
            # Many calls are late: one connection's input lasts for several turns.
            return self.start(call, payload)
        if connection.holding & HOLD_DRAIN:
            count_refusal("drain")
            return self.refuse(call, UNAVAILABLE, "the server drains")
        if call.deadline_ns <= now:
            # `start` refuses an overdue call at once: it must not use a place in the queue.
            return self.start(call, payload)
        if not self.has_room(call, payload):
            return 0
        if connection.holding & HOLD_LATE and self._is_stale(call, connection.dated_ns, now_ns()):
            return 0
        if not connection.holding & (HOLD_STALL | HOLD_OUTPUT | HOLD_QUEUE):
            return self.start(call, payload)
        return self._enqueue(call, payload)

    cdef int _enqueue(self, ServerCall call, bytes payload) except -1:
        cdef ServedConnection connection = call.connection
        if self.waiting >= self.queue_length:
            text = (
                f"{self.waiting} calls wait for their start, the server lets {self.queue_length} wait "
                "(Admission.queue_length)"
            )
            if is_sheddable(call) or self.prioritised.sheddable.count == 0:
                count_refusal("queue")
                return self.refuse(call, RESOURCE_EXHAUSTED, text)
            self._shed(self.prioritised.last_sheddable(), text, "queue")
        if not call.flags & ONE_WAY:
            connection.outcomes.hold(call)
        if not connection.queue and connection.holding & HOLD_OUTPUT:
            connection.look_by(connection.now + self.queue_age_ns)
        if call.flags & ONE_WAY and not connection.holding & HOLD_STALL:
            # Waiting calls start before more are read from a caller that waits for no answer.
            self.loop_state.turns.unanswered_ns = 0
        call.waiting_context = self._contexts.copy()
        call.waiting_payload = payload
        call.queued_ns = connection.dated_ns if connection.holding & HOLD_LATE else connection.now
        self.waiting += 1
        self.memory.charge(call, waiting_bytes(call))
        if connection.queue is None:
            connection.queue = WaitingCalls(AT_CONNECTION)
        (<WaitingCalls>connection.queue).add(call)
        if call.priority:
            self.prioritised.add(call)
        return 0

    cdef int drop_waiting(self, ServerCall call, uint64_t now=0) except -1:
        """Take a call out of the queue."""
        if call.waiting_payload is not None:
            now = now or now_ns()
            queue_waits.counted(now - min(now, call.queued_ns))
            (<WaitingCalls>call.connection.queue).drop(call)
            if call.priority:
                self.prioritised.drop(call)
            if not call.connection.queue:
                # An empty queue is dropped: few connections need one, and it is as large as a call.
                call.connection.queue = None
                call.connection.holding &= ~HOLD_QUEUE
            self.waiting -= 1
            call.waiting_payload = call.waiting_context = None
            self.memory.charge(call, 0)
            if self.waiting == 0:
                self._contexts.forget()
        return 0

    cdef int drop_all_waiting(self, ServedConnection connection) except -1:
        if connection.queue:
            for call in list(connection.queue):
                self.drop_waiting(<ServerCall>call)
                leave_all((<ServerCall>call).permit, 0, 0, END_UNSTARTED)
                (<ServerCall>call).permit = None
                if (<ServerCall>call).stream is not None:
                    (<StreamChannel>(<ServerCall>call).stream).close(None)
        return 0

    cdef int _start_waiting(self, ServedConnection connection, int last_rank) except -1:
        """Start waiting calls in order, up to a rank, until a start is held back or the time is over."""
        cdef ServerCall call
        cdef bytes payload
        cdef uint64_t now = now_ns()
        cdef uint64_t ends_ns = min(connection.turn_ns + STARTS_NS, now + self.starts_each_ns)
        self._refuse_aged(connection, connection.now)
        while connection.queue is not None and not connection.holding & (HOLD_STALL | HOLD_OUTPUT):
            call = (<WaitingCalls>connection.queue).first(last_rank)
            if call is None:
                return 0
            payload = call.waiting_payload
            context = call.waiting_context
            self.drop_waiting(call, now)
            if has_lapsed(call, now):
                self.refuse(call, UNAUTHENTICATED, f"{call.route.method}: the credential has expired", True)
            elif not self._is_stale(call, call.queued_ns, now) and self.has_room(call, payload):
                # Calls started before it may have filled the memory.
                self.start_inside(context, call, payload)
            now = now_ns()
            # One-way calls have a share of the turn, as when they are read.
            if now >= (connection.turn_ns + <uint64_t>UNANSWERED_NS if call.flags & ONE_WAY else ends_ns):
                return 0
        return 0

    cdef int start_inside(self, object context, ServerCall call, bytes payload) except -1:
        """Start a call in a copy of the context in which its request was read: waiting calls may share that context."""
        cdef object own = PyContext_Copy(context)
        PyContext_Enter(own)
        try:
            return self.start(call, payload)
        finally:
            PyContext_Exit(own)

    cdef int _refuse_aged(self, ServedConnection connection, uint64_t now) except -1:
        cdef ServerCall call
        cdef uint64_t limit = self.queue_age_ns
        while connection.queue is not None:
            call = (<WaitingCalls>connection.queue).oldest()
            if now < call.queued_ns + limit:
                return 0
            self.drop_waiting(call, now)
            self._is_stale(call, call.queued_ns, now)
        return 0

    cdef int note_expired(self, ServerCall call) noexcept:
        """A call expired before it started."""
        cdef uint64_t now = max(call.connection.now, call.connection.stepped_ns)
        if now > call.started_ns + WAITED_NS:
            self.sheds_until_ns = now + SHEDS_NS
        return 0

    cdef bint _is_stale(self, ServerCall call, uint64_t since, uint64_t now) except -1:
        """Return whether a call has waited too long since `since`; if so, it is refused.

        First come, first served would start each call of an overload just as its deadline passes. So while calls expire
        unstarted, calls that waited for more than half of their time are refused.
        """
        cdef uint64_t waited = now - min(now, since)
        # Calls without a deadline have an age.
        cdef uint64_t timeout = call.deadline_ns - min(call.deadline_ns, call.started_ns)
        if waited > WAITED_NS and now < call.deadline_ns < now + timeout // LAST_PART:
            self.sheds_until_ns = now + SHEDS_NS
        if waited >= self.queue_age_ns:
            timeout = 0
        elif now >= self.sheds_until_ns or waited <= WAITED_NS or not now < call.deadline_ns < now + timeout // 2:
            return False
        count_refusal("queue")
        self.refuse(call, RESOURCE_EXHAUSTED, self._told_wait(call.route.method, waited, timeout))
        return True

    cdef str _told_wait(self, str method, uint64_t waited, uint64_t timeout):
        """Return the reason to refuse a call: it waited for half of its timeout, or (0) for `queue_age`.

        Under overload most refusals of a turn share a text; formatting one takes as long as the rest of a refusal.
        """
        cdef uint64_t step = TOLD_NS if waited >= 100 * TOLD_NS else TOLD_NS // 10 if waited >= 10 * TOLD_NS else 1_000
        waited -= waited % step
        if timeout:
            timeout = max(step, (timeout + step // 2) // step * step)
        if method is not self._told_method or waited != self._told_waited_ns or timeout != self._told_timeout_ns:
            allowed = f"{self.queue_age_ns / 1e9:g} s are allowed (Admission.queue_age)" if timeout == 0 else (
                f"more than half of its timeout of {timeout / 1e9:.3g} s, and calls expire here before they start"
            )
            self._told = f"{method} waited {waited / 1e9:.3g} s for its start, {allowed}"
            self._told_method = method
            self._told_waited_ns = waited
            self._told_timeout_ns = timeout
        return self._told

    cdef uint64_t check_waiting(self, ServedConnection connection, uint64_t now) except? 0:
        """Refuse calls that waited too long; return the instant of the next check, 0 without waiting calls."""
        self._refuse_aged(connection, now)
        if not connection.queue:
            return 0
        return (<WaitingCalls>connection.queue).oldest().queued_ns + self.queue_age_ns

    def look_at(self, ServedConnection connection not None):
        """Refuse calls that waited too long on a connection whose engine does not check this."""
        cdef uint64_t due
        connection.look_due_ns = 0
        due = self.check_waiting(connection, now_ns())
        if due and connection.holding & HOLD_OUTPUT:
            connection.look_by(due)

    # Turns

    cdef int schedule(self, ServedConnection connection) except -1:
        """Check the waiting calls of a connection in the next turn of the loop."""
        if not connection.is_in_turn:
            connection.is_in_turn = True
            self.turn.append(connection)
        if not self.is_scheduled and not self.loop_state.loop.is_closed():
            self.is_scheduled = True
            self.scheduled_ns = now_ns()
            self.loop_state.call_soon(self._look, context=self._context)
        return 0

    def _look_at_waiting(self):
        """Start waiting calls, by priority and connection after connection, within the time of one turn."""
        cdef ServedConnection connection
        cdef list ready = []
        cdef uint64_t began = now_ns(), now = began
        cdef bint is_late = began > self.scheduled_ns + STALL_NS
        # Refusals make room and have a share of a long turn. The next turn refuses the remaining calls.
        cdef uint64_t refuses_until = began + max(STARTS_NS, min((began - self.scheduled_ns) // 4, LONGEST_REFUSALS_NS))
        cdef bint had_time = True
        self.is_scheduled = False
        for _ in range(len(self.turn)):
            connection = <ServedConnection>self.turn.popleft()
            connection.is_in_turn = False
            if connection.is_closed:
                continue
            if (not is_late or connection.holding & HOLD_STALL) and now < refuses_until and self._refuse_on(
                connection, began
            ):
                now = now_ns()
            if is_late:
                # The loop was blocked since then: unread cancels may lie in the socket.
                self.hold_for_stall(connection)
            if connection.holding & HOLD_STALL and not is_caught_up(connection, self.hold_ns, began):
                self.schedule(connection)
            else:
                ready.append(connection)
        for rank in range(RANK_NORMAL if self.prioritised.high.count == 0 else RANK_HIGH, RANK_SHEDDABLE + 1):
            if rank == RANK_SHEDDABLE and self.prioritised.sheddable.count == 0:
                break
            had_time = not self._higher_rank_waits(rank) and self._start_ready(ready, now, rank)
            if not had_time:
                break
        if had_time:
            # One-way calls share a part of the turn; next time another connection comes first.
            ready = ready[1:] + ready[:1]
        for connection in ready:
            if connection.queue is not None and not connection.is_closed and not connection.holding & HOLD_OUTPUT:
                self.schedule(connection)
        self.loop_state.turns.polls.worked(began, False)

    cdef bint _higher_rank_waits(self, int rank) except -1:
        """Return whether a call of higher rank waits on a connection that catches up."""
        cdef ServedConnection connection
        if rank == RANK_HIGH or not self.prioritised:
            return False
        for connection in self.turn:
            if connection.queue is not None and (<WaitingCalls>connection.queue).first(rank - 1) is not None:
                return True
        return False

    cdef int _start_ready(self, list ready, uint64_t began, int last_rank) except -1:
        """Start the waiting calls of these connections; return 0 if there was no time for all, with `ready` rotated."""
        cdef ServedConnection connection, other
        cdef Py_ssize_t position
        cdef uint64_t now
        cdef bint is_again
        self.starts_each_ns = max(STARTS_EACH_NS, STARTS_NS // max(<uint64_t>len(ready), <uint64_t>1))
        for position in range(len(ready)):
            connection = <ServedConnection>ready[position]
            if connection.is_closed:
                continue
            self._start_on(connection, began, last_rank)
            now = now_ns()
            if now < began + STARTS_NS:
                continue
            ready[:] = ready[position + 1:] + ready[:position + 1]
            # A connection whose call blocked the loop is in `turn` already: it is moved behind the others.
            is_again = connection.is_in_turn
            if is_again:
                self.turn.remove(connection)
                connection.is_in_turn = False
            if now > began + STALL_NS:
                # Newer input is read first. Calls of lower priority wait on some of these connections.
                for other in (*ready, *self.turn):
                    if other.queue is not None or other.is_in_turn:
                        self.hold_for_stall(other)
            if is_again:
                self.schedule(connection)
            return 0
        return 1

    cdef int _start_on(self, ServedConnection connection, uint64_t began, int last_rank) except -1:
        connection.now = connection.turn_ns = began
        try:
            self._start_waiting(connection, last_rank)
            return connection.end_turn()
        except Exception as error:
            connection.crash(error)
        return 0

    cdef bint _refuse_on(self, ServedConnection connection, uint64_t began) except -1:
        """Refuse the calls of a connection that waited too long, and return whether there were any.

        Calls of other connections may take many turns before this connection may start its calls.
        """
        if connection.queue is None or began < (<WaitingCalls>connection.queue).oldest().queued_ns + self.queue_age_ns:
            return False
        connection.now = began
        try:
            self._refuse_aged(connection, began)
            connection.end_turn()
        except Exception as error:
            connection.crash(error)
        return True

    # Stalls

    cdef int note_stall(self, ServedConnection connection, uint64_t now, uint64_t came_ns) except -1:
        """Note that the present input arrived at `came_ns`; the loop was blocked, or stalls are not watched."""
        connection.now = now
        connection.dated_ns = came_ns
        if came_ns < now:
            # The end of this read resets the flag.
            connection.holding |= HOLD_LATE
        if self.loop_state.calm_until_ns == 0:
            return self.loop_state.watch(now)
        return self.hold_for_stall(connection) if now > self.loop_state.calm_until_ns else 0

    cdef int hold_for_stall(self, ServedConnection connection) except -1:
        """After a stall: hold all starts until the socket was empty once, or the longest hold is over."""
        if connection.is_closed:
            return 0
        if connection.holding & HOLD_STALL:
            # If the socket was empty before this stall, that does not count.
            connection.seen_read_ns = 0
            return 0
        begin_hold(connection, self.hold_ns)
        return self.schedule(connection)
