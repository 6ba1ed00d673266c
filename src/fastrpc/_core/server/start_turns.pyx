"""The start of waiting calls: each turn of the loop starts some of them, by priority, connection after connection.

::

    stall of the loop ──► hold_for_stall ──┬──► schedule ──► one turn: refuse calls that ──► start the others
    the peer read output ──────────────────┘        ▲        waited for too long              │
                                                    └───────── no time, or not caught up ─────┘

Waiting calls are started for STARTS_NS in one turn of the loop. The connections that were not reached are first in the
next turn.

After a stall, the calls of a connection are held until a turn reads no further input. So CANCELs that were sent during
the stall take effect, and calls that expired never start. The hold has a time limit: if each turn were a stall, calls
would become too old to start.
"""

import contextvars
from collections import deque

cimport cython
from cpython.contextvars cimport PyContext_Copy, PyContext_Enter, PyContext_Exit

from fastrpc._core.base.priority_queue cimport RANK_HIGH, RANK_NORMAL, RANK_SHEDDABLE
from fastrpc._core.base.status cimport UNAUTHENTICATED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call_log cimport report_long_step
from fastrpc._core.loop.handler_task cimport LONG_STEP_NS
from fastrpc._core.loop.loop_state cimport STALL_NS
from fastrpc._core.loop.turns cimport UNANSWERED_NS
from fastrpc._core.server.admission cimport LaterSteps
from fastrpc._core.server.served_call cimport WaitingCalls, begin_hold, has_lapsed, is_caught_up
from fastrpc._core.server.served_connection cimport HOLD_LATE, HOLD_OUTPUT, HOLD_QUEUE, HOLD_STALL
from fastrpc._core.wire.frame cimport ONE_WAY

# The time for starts of waiting calls in one turn of the loop; the same as for slices (`turns`).
cdef uint64_t STARTS_NS = 4_000_000
# The longest time for refusals of calls that waited for too long in one turn of the loop.
cdef uint64_t LONGEST_REFUSALS_NS = 50_000_000
# The time for starts of one connection in a turn. A thousand connections get theirs within fifty turns.
cdef uint64_t STARTS_EACH_NS = 200_000

cdef enum:
    # A hold ends after this time, or after a quarter of `Admission.queue_age`, which long turns would otherwise use up.
    LONGEST_HOLD_NS = 100_000_000
    HOLD_SHARE = 4


@cython.final
cdef class StartTurns:
    """Starts the waiting calls of all connections of one server in turns, and holds them after stalls of the loop."""

    def __init__(self, CallAdmission admission not None, RefusedCalls refusals not None, int64_t send_soft):
        self.loop_state = admission.memory.loop_state
        self.admission = admission
        self.refusals = refusals
        self.send_soft = send_soft
        self.turn = deque()
        self.hold_ns = min(<uint64_t>LONGEST_HOLD_NS, admission.queue_age_ns // HOLD_SHARE)
        self._look = self.start_waiting
        self._context = contextvars.copy_context()

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

    def start_waiting(self):
        """Start waiting calls, by priority and connection after connection, within the time of one turn."""
        cdef ServedConnection connection
        cdef list ready = []
        cdef uint64_t began = now_ns(), now = began
        cdef bint is_late = began > self.scheduled_ns + STALL_NS
        # Refusals make room, so they get a share of a long turn. The next turn refuses the remaining calls.
        cdef uint64_t refuses_until = began + max(STARTS_NS, min((began - self.scheduled_ns) // 4, LONGEST_REFUSALS_NS))
        cdef bint had_time = True
        self.is_scheduled = False
        for _ in range(len(self.turn)):
            connection = <ServedConnection>self.turn.popleft()
            connection.is_in_turn = False
            if connection.is_closed:
                continue
            if (not is_late or connection.holding & HOLD_STALL) and now < refuses_until and _refuse_on(
                self, connection, began
            ):
                now = now_ns()
            if is_late:
                # The loop was blocked since the turn was scheduled, so the socket may have unread CANCELs.
                self.hold_for_stall(connection)
            if connection.holding & HOLD_STALL and not is_caught_up(connection, self.hold_ns, began):
                self.schedule(connection)
            else:
                ready.append(connection)
        for rank in range(RANK_NORMAL if self.admission.prioritised.high.count == 0 else RANK_HIGH, RANK_SHEDDABLE + 1):
            if rank == RANK_SHEDDABLE and self.admission.prioritised.sheddable.count == 0:
                break
            had_time = not _higher_rank_waits(self, rank) and _start_ready(self, ready, now, rank)
            if not had_time:
                break
        if had_time:
            # The time for one-way calls in a turn is shared, so another connection is first next time.
            ready = ready[1:] + ready[:1]
        for connection in ready:
            if connection.queue is not None and not connection.is_closed and not connection.holding & HOLD_OUTPUT:
                self.schedule(connection)
        self.loop_state.turns.polls.worked(began, False)

    # Holds

    cdef int weigh(self, ServedConnection connection, int64_t size) except -1:
        """Count the output that the peer has not accepted. Above `send_soft` no further call starts.

        For `send_soft`, large answers that are being sent in pieces, messages that lack credit and bytes that the peer has
        accepted do not count, because other answers can be sent before them.
        """
        cdef int64_t change = size - connection.output_held
        connection.output_held = size
        self.admission.memory.count(change)
        if size > self.send_soft and size - connection.cut_bytes() - connection.passed_bytes() > self.send_soft:
            if connection.queue and not connection.holding & HOLD_OUTPUT:
                connection.look_by(now_ns() + self.admission.queue_age_ns)
            connection.holding |= HOLD_OUTPUT
        elif connection.holding & HOLD_OUTPUT:
            connection.holding &= ~HOLD_OUTPUT
            if connection.queue:
                connection.holding |= HOLD_QUEUE
                self.schedule(connection)
        return 0

    cdef int note_stall(self, ServedConnection connection, uint64_t now, uint64_t came_ns) except -1:
        """Note that the current input arrived at `came_ns`. Hold further starts if the loop was blocked."""
        connection.now = now
        connection.dated_ns = came_ns
        if came_ns < now:
            # Cleared at the end of this read.
            connection.holding |= HOLD_LATE
        if self.loop_state.calm_until_ns == 0:
            return self.loop_state.watch(now)
        return self.hold_for_stall(connection) if now > self.loop_state.calm_until_ns else 0

    cdef int hold_for_stall(self, ServedConnection connection) except -1:
        """Hold all starts of a connection after a stall, until its socket was once read empty or the longest hold ends."""
        if connection.is_closed:
            return 0
        if connection.holding & HOLD_STALL:
            # The socket has to be read empty once more after this stall.
            connection.seen_read_ns = 0
            return 0
        begin_hold(connection, self.hold_ns)
        return self.schedule(connection)

    cdef int note_long_start(self, ServerCall call, uint64_t before) except -1:
        """Hold further starts: the first steps of handlers blocked the loop, so the sockets have to be read first.

        The step of this call is reported if it was long. `before` is the end of the last step before it.
        """
        cdef ServedConnection connection = call.connection
        self.hold_for_stall(connection)
        before = max(before, connection.received_ns, connection.turn_ns)
        if connection.stepped_ns > before + LONG_STEP_NS:
            report_long_step(call.route, connection.stepped_ns - before)
        return 0


cdef bint _higher_rank_waits(StartTurns turns, int rank) except -1:
    """Return whether a call of higher priority waits on a connection that is scheduled for the next turn."""
    cdef ServedConnection connection
    if rank == RANK_HIGH or not turns.admission.prioritised:
        return False
    for connection in turns.turn:
        if connection.queue is not None and (<WaitingCalls>connection.queue).first(rank - 1) is not None:
            return True
    return False


cdef int _start_ready(StartTurns turns, list ready, uint64_t began, int last_rank) except -1:
    """Start the waiting calls of these connections. If there is no time for all, rotate `ready` and return 0."""
    cdef ServedConnection connection, other
    cdef Py_ssize_t position
    cdef uint64_t now
    cdef bint is_again
    turns.starts_each_ns = max(STARTS_EACH_NS, STARTS_NS // max(<uint64_t>len(ready), <uint64_t>1))
    for position in range(len(ready)):
        connection = <ServedConnection>ready[position]
        if connection.is_closed:
            continue
        _start_on(turns, connection, began, last_rank)
        now = now_ns()
        if now < began + STARTS_NS:
            continue
        ready[:] = ready[position + 1:] + ready[:position + 1]
        # A connection whose call blocked the loop is in `turn` already. Move it to the end.
        is_again = connection.is_in_turn
        if is_again:
            turns.turn.remove(connection)
            connection.is_in_turn = False
        if now > began + STALL_NS:
            # Read newer input first. This also holds calls of lower priority, which wait on some of these connections.
            for other in (*ready, *turns.turn):
                if other.queue is not None or other.is_in_turn:
                    turns.hold_for_stall(other)
        if is_again:
            turns.schedule(connection)
        return 0
    return 1


cdef int _start_on(StartTurns turns, ServedConnection connection, uint64_t began, int last_rank) except -1:
    connection.now = connection.turn_ns = began
    try:
        _start_queue(turns, connection, last_rank)
        return connection.end_turn()
    except Exception as error:
        connection.crash(error)
    return 0


cdef int _start_queue(StartTurns turns, ServedConnection connection, int last_rank) except -1:
    """Start waiting calls in order, up to a rank, until starts are held or the time is over."""
    cdef ServerCall call
    cdef bytes payload
    cdef uint64_t now = now_ns()
    cdef uint64_t ends_ns = min(connection.turn_ns + STARTS_NS, now + turns.starts_each_ns)
    turns.admission.refuse_aged(connection, connection.now)
    while connection.queue is not None and not connection.holding & (HOLD_STALL | HOLD_OUTPUT):
        call = (<WaitingCalls>connection.queue).first(last_rank)
        if call is None:
            return 0
        payload = call.waiting_payload
        context = call.waiting_context
        turns.admission.drop_waiting(call, now)
        if has_lapsed(call, now):
            turns.refusals.refuse(call, UNAUTHENTICATED, f"{call.route.method}: the credential has expired", True)
        elif not turns.admission.is_stale(call, call.queued_ns, now) and turns.admission.has_room(call, payload):
            # Memory is checked again, as calls started earlier in this turn may have filled it. The context is copied,
            # because waiting calls may share the context in which their requests were read.
            own = PyContext_Copy(context)
            PyContext_Enter(own)
            try:
                (<LaterSteps?>call.connection.gate).start(call, payload)
            finally:
                PyContext_Exit(own)
        now = now_ns()
        # One-way calls have only a share of the turn, as they have when they are read.
        if now >= (connection.turn_ns + <uint64_t>UNANSWERED_NS if call.flags & ONE_WAY else ends_ns):
            return 0
    return 0


cdef bint _refuse_on(StartTurns turns, ServedConnection connection, uint64_t began) except -1:
    """Refuse the calls of a connection that waited for too long, and return whether there were any.

    This cannot wait until the connection may start its calls: calls of other connections may need many turns before.
    """
    if connection.queue is None or began < turns.admission.aged_at(connection):
        return False
    connection.now = began
    try:
        turns.admission.refuse_aged(connection, began)
        connection.end_turn()
    except Exception as error:
        connection.crash(error)
    return True
