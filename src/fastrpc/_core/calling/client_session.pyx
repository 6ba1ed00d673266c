"""A connection of a client on asyncio.

A client counts along with its server's budget for idle work (PROTOCOL.md 9) and keeps a CANCEL back where it would
use the budget up: a program that cancels without end would lose the connection, and all other calls with it.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.framing.frame cimport ONE_WAY, Frame
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.native.call_slots cimport WITHHELD_NS
from fastrpc._core.calling.pending_call cimport PendingCall, check_request, keep_early, lost_error, send_again
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED
from fastrpc._core.base.wire cimport now_ns

from fastrpc.errors import CallError, DeadlineExceededError, UnavailableError
from fastrpc.status import Status

cdef enum:
    # Bytes of CANCEL frames that may wait for the end of the loop's turn.
    CANCELS_AT_ONCE = 8_192


cdef class ClientSession(Session):
    """One connection to one endpoint, carrying any number of calls at once."""

    def __init__(self, *, endpoint, owner, **options):
        Session.__init__(self, is_client=True, **options)
        self.endpoint = endpoint
        self.owner = owner

    def connection_made(self, transport):
        """Early calls may go out from here on."""
        Session.connection_made(self, transport)
        self.is_usable = True

    cdef int start(self, Call call, bytes payload) except -1:
        """Send a call; its deadline runs. `now` has been set."""
        self.send(call, payload)
        if call.deadline_ns != NO_DEADLINE and not call.flags & ONE_WAY:
            self.loop_state.start_timer(call, call.deadline_ns)
        return 0

    cdef int send(self, Call call, bytes payload) except -1:
        """Send a call whose deadline somebody else watches."""
        check_request(self, call, payload)
        if self.announces_calls and not (<PendingCall>call).is_probe:
            self.announces_calls = False
            self.owner.session_used(self)
        if not self.settled:
            keep_early(self, <PendingCall>call, payload)
        return self.slots.send_request(call, payload)

    cdef int abandon(self, Call call, int reason) except -1:
        """Nobody waits for this call any more: tell the server, once."""
        self.loop_state.stop_timer(call)
        if self.transport is not None and not self.is_closed:
            self.now = now_ns()
            self.give_up(call, reason)
            if self.sender.out.size > CANCELS_AT_ONCE and not self._is_reading:
                # Where thousands of callers are cancelled the first handlers hear of it before the last are through.
                self.leave_closed_loop()
                self.flush()
        return 0

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        if (<PendingCall>call).early_request is not None and self.is_usable:
            if send_again(self, <PendingCall>call, frame):
                return 0
        self.loop_state.stop_timer(call)
        return (<PendingCall>call).answer_came(frame, payload, self.now)

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return (<PendingCall>call).message_came(frame, payload, cost)

    cdef int on_head(self, Call call, bytes metadata) except -1:
        return (<PendingCall>call).head_came(metadata)

    cdef int on_sendable(self, Call call) except -1:
        return (<PendingCall>call).may_send()

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        self.loop_state.stop_timer(call)
        if status == DEADLINE_EXCEEDED:
            return (<PendingCall>call).failed(DeadlineExceededError(f"{call.route.method}: {text}", processed="yes"))
        return (<PendingCall>call).failed(CallError(Status(status), text, processed="yes"))

    cdef int on_unsendable(self, Call call, object error) except -1:
        self.loop_state.stop_timer(call)
        return (<PendingCall>call).failed(error)

    cdef int on_not_started(self, Call call) except -1:
        self.loop_state.stop_timer(call)
        return (<PendingCall>call).failed(
            UnavailableError(f"{call.route.method}: {self.endpoint} drains and did not start the call")
        )

    cdef int on_ready(self) except -1:
        self.is_ready = True
        self.owner.session_ready(self)
        return Session.on_ready(self)

    cdef int on_peer_drains(self, int reason, str text) except -1:
        self._refuse_unsent()
        self._retire()
        return self._close_when_idle()

    def _refuse_unsent(self):
        """What the server has not seen a byte of goes to another connection."""
        self.is_usable = False
        for call in self.slots.unsent_calls():
            self.sender.drop_unsent(<Call>call)
            self.on_not_started(<Call>call)

    cdef int on_ids_used_up(self) except -1:
        self._refuse_unsent()
        # A REQUEST is being written: the rest follows in a turn of its own.
        self.loop_state.call_soon(self._leave_used_up)
        return 0

    def _leave_used_up(self):
        if not self.is_closed:
            self._begin_retiring()

    cdef int on_aged(self) except -1:
        if self.is_aged or not self.is_ready:
            return self._begin_retiring()
        # Until there is a successor, which the owner sees to, and at most for as long again.
        self.liveness.age_ns = 2 * (self.now - self.liveness.made_ns)
        self.is_aged = True
        self.is_dispensable = self.sender.data_frames_sent <= self.liveness.probes
        self.owner.session_aged(self)
        return 0

    cdef int _begin_retiring(self) except -1:
        self._retire()
        self.is_retiring = True
        return self._close_when_idle()

    def retire(self):
        if not self.is_closed:
            self._begin_retiring()

    def begin_probe(self, PendingCall call not None):
        call.is_probe = True
        # It takes an id in the same step; where it has to wait for one the connection is in use anyway.
        self.liveness.probes += 1

    def end_probe(self, PendingCall call not None):
        if call.id == 0:
            self.liveness.probes -= 1

    cdef bint is_unused(self) except -1:
        cdef PendingCall call
        if self.liveness.probes == 0 or self.slots.opened.size == 0:
            return self.is_idle()
        if self.callee.calls.size or self.callee.one_way_calls:
            return False
        for call in self.slots.opened.entries():
            if not call.is_probe:
                return False
        return True

    cdef int on_idle(self) except -1:
        self.is_dispensable = True
        return self._begin_retiring()

    def _retire(self):
        """Take no new calls."""
        if self.sender.data_frames_sent <= self.liveness.probes:
            self.is_dispensable = True
        self.is_usable = False
        self.owner.session_draining(self)

    cdef int _close_when_idle(self) except -1:
        """A connection that takes no new calls closes when the last one ended and, if the server drains, FINAL named it."""
        if self.peer_sent_final or (self.is_retiring and not self.peer_drains):
            if self.slots.opened.size == 0 and not self.is_closed and not self.slots.unsent_calls():
                self.close()
        return 0

    cdef int on_forgotten(self, Call call) except -1:
        if self.peer_sent_final or self.is_retiring:
            self._close_when_idle()
        return 0

    cdef int on_closed(self) except -1:
        self.is_usable = False
        # What is written already leaves together with the GOAWAY: only then is it known what was not handed over.
        Session.on_closed(self)
        self._fail_all(self.closed_text or "it was closed")
        self.owner.session_draining(self)
        return 0

    cdef int on_eof(self) except -1:
        self.is_usable = False
        return 0

    cdef int on_lost(self, object error) except -1:
        self.is_usable = False
        if self.closed_text:
            why = self.closed_text
        else:
            why = str(error) if error is not None else "the server closed it"
        self._fail_all(why)
        self.owner.session_lost(self, error)
        return 0

    def _fail_all(self, str why):
        """End every call that is still under way; what was not handed over did not run."""
        cdef Call call
        for call in self.slots.unsent_calls():
            self.sender.drop_unsent(call)
            self._fail(call, lost_error(self, self.endpoint, call, False, why))
        for call in self.slots.opened.entries():
            handed = self.was_handed(call)
            self.sender.drop_unsent(call)
            self.caller.forget(call)
            self._fail(call, lost_error(self, self.endpoint, call, handed, why))

    def _fail(self, PendingCall call, error):
        self.loop_state.stop_timer(call)
        call.failed(error)

    cdef int on_withheld(self) except -1:
        return self.schedule_check(self.now + WITHHELD_NS)

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = Session.check(self, now)
        if self.slots.withholds and not self.is_closed and self.slots.resume_withheld():
            due = earlier(due, now + WITHHELD_NS)
        return due

    def stats(self):
        """What is under way on this connection, as plain data."""
        return {
            "calls": self.slots.opened.size,
            "waiting": sum(
                not (<Outgoing>item).is_dropped
                for queue in self.slots.queues()
                for item in queue
            ),
            "buffered": self.untaken_bytes(),
            "credit": self.sender.send_left,
        }


@cython.nonecheck(False)
cdef ClientSession next_usable(list sessions, Py_ssize_t* turn):
    """The next connection in turn that takes calls, or None."""
    cdef ClientSession session
    cdef Py_ssize_t count = len(sessions), _i
    for _i in range(count):
        turn[0] += 1
        if turn[0] >= count:
            turn[0] = 0
        session = sessions[turn[0]]
        if session.is_usable:
            return session
    return None
