"""Admission to a server: which calls start, wait for their start, or are refused.

::

    the call may start ──► nothing delays it ──────────────────────────────────► start
                       └─► may_start: over a budget? refused.
                             │ the loop was blocked, or the peer does not read our output
                             ▼
                           queue ──► StartTurns, once a turn ──► aged? refused ──► start

Calls of priority 1 are sheddable: they start last, and their memory budgets are lower. A full queue refuses its latest
sheddable call to make room for a call that is not sheddable. When a memory budget is used up, sheddable calls are
refused until the new call fits; if it would not fit without all of them, none is refused.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from fastrpc._core.base.histogram cimport queue_waits
from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.limiting.limiters cimport END_UNSTARTED, leave_all
from fastrpc._core.link.contract cimport lacking
from fastrpc._core.server.served_call cimport AMONG_ALL, AT_CONNECTION, is_sheddable, waiting_bytes
from fastrpc._core.server.served_connection cimport HOLD_DRAIN, HOLD_LATE, HOLD_OUTPUT, HOLD_QUEUE, HOLD_STALL
from fastrpc._core.server.served_connection cimport process_held
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.base.histogram import count_refusal

# If a call expires after it waited longer than WAITED_NS, other calls that waited long may be refused for SHEDS_NS. A
# shorter wait may be an ordinary turn of the loop.
cdef uint64_t WAITED_NS = 10_000_000
cdef uint64_t SHEDS_NS = 1_000_000_000
# A refusal states the wait rounded down to 1 ms, to 0.1 ms below 0.1 s, and to 1 µs below 10 ms.
cdef uint64_t TOLD_NS = 1_000_000

cdef enum:
    # A call with less than 1/32 of its time left counts as expired, because its answer would be sent at the end of the
    # turn, after the deadline.
    LAST_PART = 32


cdef class LaterSteps:
    """The steps of the gate with which a call continues after a wait."""

    cdef int start(self, ServerCall call, bytes payload) except -1:
        """Start an admitted call that waited."""
        raise lacking(self, "start")

    cdef int let_in(self, ServerCall call, uint64_t names, bytes payload) except -1:
        """Continue a call that waited for the guards and has passed them."""
        raise lacking(self, "let_in")


@cython.final
cdef class CallAdmission:
    """The budgets of one server for all of its connections: bytes held, and calls that wait for their start."""

    def __init__(self, MemoryBudget memory not None, RefusedCalls refusals not None, bounds):
        self.memory = memory
        self.refusals = refusals
        self.prioritised = WaitingCalls(AMONG_ALL)
        self.queue_length = bounds.queue_length
        self.queue_age_ns = nanoseconds(bounds.queue_age)
        self._contexts = SharedContext()

    # Memory

    cdef str over_budget(self, ServerCall call, Py_ssize_t size, bint is_new):
        """Return why more bytes of a call exceed a budget, or None. Refuse sheddable calls to make room if that helps."""
        cdef ServerCall shed
        cdef WaitingCalls queue
        cdef str problem = self.memory.excess(call, size, is_new)
        if problem is None or is_sheddable(call) or not _can_make_room(self, call.connection, size, is_new):
            return problem
        while problem is not None:
            # Refuse the sheddable call that arrived last: of all connections for the budget of the process, otherwise of
            # this connection.
            if is_new and process_held > self.memory.refuse_above:
                shed = self.prioritised.sheddable.last()
            else:
                queue = <WaitingCalls>call.connection.queue
                shed = None if queue is None else queue.sheddable.last()
            if shed is None:
                break
            _shed(self, shed, problem, "memory")
            problem = self.memory.excess(call, size, is_new)
        return problem

    cdef bint has_room(self, ServerCall call, bytes payload) except -1:
        """Return whether the budgets have room for the payload of a call; refuse the call if not."""
        # If a charge exists, this is a later piece of a request and not a new call.
        return self.has_room_for(call, PyBytes_GET_SIZE(payload) - call.charge, call.charge == 0)

    cdef bint has_room_for(self, ServerCall call, Py_ssize_t size, bint is_new) except -1:
        """Return whether the budgets have room for `size` more bytes of a call; refuse the call if not."""
        cdef str problem = self.over_budget(call, size, is_new)
        if problem is None:
            return True
        count_refusal("memory")
        self.refusals.refuse(call, RESOURCE_EXHAUSTED, problem)
        return False

    # The slow path of a request

    cdef bint may_start(self, ServerCall call, bytes payload) except -1:
        """Return whether a call starts now although its connection is held or memory is full.

        Otherwise the call was put into the queue or refused.
        """
        cdef ServedConnection connection = call.connection
        # The time without a read of the clock: the end of the last handler is known.
        cdef uint64_t now = max(connection.now, connection.stepped_ns)
        if (
            connection.holding == HOLD_LATE
            and now < connection.dated_ns + self.queue_age_ns
            and (self.sheds_until_ns <= now or call.deadline_ns <= now)
            and process_held <= self.memory.shed_above
        ):
            # The fast path. Many calls are late when the input of a connection lasts for several turns.
            return True
        if connection.holding & HOLD_DRAIN:
            count_refusal("drain")
            self.refusals.refuse(call, UNAVAILABLE, "the server drains")
            return False
        if call.deadline_ns <= now:
            # `start` refuses an overdue call immediately. The call must not use a place in the queue.
            return True
        if not self.has_room(call, payload):
            return False
        if connection.holding & HOLD_LATE and self.is_stale(call, connection.dated_ns, now_ns()):
            return False
        if not connection.holding & (HOLD_STALL | HOLD_OUTPUT | HOLD_QUEUE):
            return True
        self._enqueue(call, payload)
        return False

    cdef int _enqueue(self, ServerCall call, bytes payload) except -1:
        cdef ServedConnection connection = call.connection
        if self.waiting >= self.queue_length:
            text = (
                f"{self.waiting} calls wait for their start, the server lets {self.queue_length} wait "
                "(Admission.queue_length)"
            )
            if is_sheddable(call) or self.prioritised.sheddable.count == 0:
                count_refusal("queue")
                return self.refusals.refuse(call, RESOURCE_EXHAUSTED, text)
            _shed(self, self.prioritised.sheddable.last(), text, "queue")
        if not call.flags & ONE_WAY:
            connection.outcomes.hold(call)
        if not connection.queue and connection.holding & HOLD_OUTPUT:
            connection.look_by(connection.now + self.queue_age_ns)
        if call.flags & ONE_WAY and not connection.holding & HOLD_STALL:
            # Start waiting calls before more are read from a caller that does not wait for answers.
            self.memory.loop_state.turns.unanswered_ns = 0
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
        """Remove a call from the queue."""
        if call.waiting_payload is not None:
            now = now or now_ns()
            queue_waits.counted(now - min(now, call.queued_ns))
            (<WaitingCalls>call.connection.queue).drop(call)
            if call.priority:
                self.prioritised.drop(call)
            if not call.connection.queue:
                # Free the empty queue: few connections need a queue, and it is as large as a call.
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

    # Waits that are too long

    cdef uint64_t aged_at(self, ServedConnection connection) except? 0:
        """Return the instant from which the oldest waiting call of a connection has waited for too long."""
        return (<WaitingCalls>connection.queue).oldest().queued_ns + self.queue_age_ns

    cdef int refuse_aged(self, ServedConnection connection, uint64_t now) except -1:
        cdef ServerCall call
        cdef uint64_t limit = self.queue_age_ns
        while connection.queue is not None:
            call = (<WaitingCalls>connection.queue).oldest()
            if now < call.queued_ns + limit:
                return 0
            self.drop_waiting(call, now)
            self.is_stale(call, call.queued_ns, now)
        return 0

    cdef int note_expired(self, ServerCall call) noexcept:
        """Note that a call expired before it started."""
        cdef uint64_t now = max(call.connection.now, call.connection.stepped_ns)
        if now > call.started_ns + WAITED_NS:
            self.sheds_until_ns = now + SHEDS_NS
        return 0

    cdef bint is_stale(self, ServerCall call, uint64_t since, uint64_t now) except -1:
        """Return whether a call has waited for too long since `since`; if so, it is refused.

        Under overload, first come, first served would start each call just before its deadline. So while calls expire
        before they start, calls that waited for more than half of their time are refused.
        """
        cdef uint64_t waited = now - min(now, since)
        # A call without a deadline is judged only by `queue_age`.
        cdef uint64_t timeout = call.deadline_ns - min(call.deadline_ns, call.started_ns)
        if waited > WAITED_NS and now < call.deadline_ns < now + timeout // LAST_PART:
            self.sheds_until_ns = now + SHEDS_NS
        if waited >= self.queue_age_ns:
            timeout = 0
        elif now >= self.sheds_until_ns or waited <= WAITED_NS or not now < call.deadline_ns < now + timeout // 2:
            return False
        count_refusal("queue")
        self.refusals.refuse(call, RESOURCE_EXHAUSTED, self._told_wait(call.route.method, waited, timeout))
        return True

    cdef str _told_wait(self, str method, uint64_t waited, uint64_t timeout):
        """Return the reason to refuse a call: it waited for half of its timeout, or for `queue_age` if `timeout` is 0.

        The last text is cached: under overload most refusals of a turn have the same text, and formatting a text takes as
        long as the rest of a refusal.
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
        self.refuse_aged(connection, now)
        return self.aged_at(connection) if connection.queue else 0

    def look_at(self, ServedConnection connection not None):
        """Refuse calls that waited for too long on a connection whose engine does not check this."""
        cdef uint64_t due
        connection.look_due_ns = 0
        due = self.check_waiting(connection, now_ns())
        if due and connection.holding & HOLD_OUTPUT:
            connection.look_by(due)


cdef bint _can_make_room(CallAdmission admission, ServedConnection connection, Py_ssize_t size, bint is_new) noexcept:
    """Return whether the budgets of the process and of the connection would have room without the sheddable calls."""
    cdef int64_t waiting = admission.prioritised.sheddable_bytes + admission.prioritised.sheddable_records
    if is_new and process_held - waiting > admission.memory.refuse_above:
        return False
    waiting = 0
    if connection.queue is not None:
        waiting = (<WaitingCalls>connection.queue).sheddable_bytes
    return connection.request_held - waiting + size <= admission.memory.request_bytes


cdef int _shed(CallAdmission admission, ServerCall call, str why, str reason) except -1:
    admission.drop_waiting(call)
    count_refusal(reason)
    text = f"{call.route.method} has priority 1 and made room for another call: {why}"
    return admission.refusals.refuse(call, RESOURCE_EXHAUSTED, text)
