"""A connection of a client that blocks: no loop and no thread of its own. Who waits for an answer does the work.

::

    start(call)     the request is taken over, nothing is sent yet
    wait(wait)      until nothing is missing or the time is over, again and again one of these turns:
                      send    what lies there, as much as the system takes at once
                      read    if nobody else does: one thread receives for all
                      push    if nobody else does and the system took only a part: watch until it takes more
                      sleep   until somebody wakes us: our answer came, or a turn is free

Who leaves wakes a sleeper if it leaves a turn behind that nobody else would take.

A thread that waits until the socket takes more cannot be woken by the one that read for it and left. So it checks
every 10 ms whether another thread is reading: a server that reads nothing before its own output is taken would wait
for both.
"""

import random

from cpython.pythread cimport PY_LOCK_ACQUIRED, PY_LOCK_INTR, PyLockStatus

from fastrpc._core.calling.blocking_wait cimport new_wait
from fastrpc._core.base.buffer cimport Assembly, ReadBuffer
from fastrpc._core.calls.call cimport NO_DEADLINE, Call
from fastrpc._core.calling.caller_view cimport fork_generation
from fastrpc._core.framing.frame cimport (
    CANCEL_DEADLINE,
    CANCEL_USER,
    REASON_DRAIN,
    Frame,
)
from fastrpc._core.io.engine cimport STREAM_SHARE
from fastrpc._core.native.call_slots cimport WITHHELD_NS
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.calling.call_errors cimport check_request, lost_error, overdue_error, unstarted_error
from fastrpc._core.calling.own_calls cimport keep_early, send_again
from fastrpc._core.calling.reentry cimport ReentryGuard, Stay, end
from fastrpc._core.io.blocking_io cimport BlockingIO
from fastrpc._core.io.socket_io cimport INTERRUPTED, POLLOUT, TIMED_OUT, WRITABLE
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, OK
from fastrpc._core.base.wire cimport now_ns

from fastrpc.errors import CallError, DeadlineExceededError, FastRPCError
from fastrpc.status import Status

# How often who pushes looks whether there is a receiver: nobody can wake a thread that waits for the socket.
cdef uint64_t PUSHER_LOOKS_NS = 10_000_000
# Of each second for which a credential is valid: then it is replaced.
cdef uint64_t RENEWED_NS = 800_000_000


cdef class BlockingSession(Connection):
    """One connection to one endpoint, used by any number of threads at once."""

    def __init__(
        self, *, BlockingIO io not None, endpoint, timeouts, keepalive, spin_microseconds=0, ReentryGuard reentry=None,
        bytes credential=None, **options,
    ):
        Connection.__init__(self, is_client=True, **options)
        self.endpoint = endpoint
        self.byte_stream = BlockingStream(self, io, endpoint)
        self.reentry = reentry or ReentryGuard()
        self.ready_waits = []
        self.hand_overs = []
        self.room_waits = []
        self.left_calls = []
        self.liveness.set_rules(timeouts, keepalive, random.uniform)
        self.spin_ns = spin_microseconds * 1000
        self.rests_ns = self.now
        # Leaves together with the first request.
        self.open()
        if credential is not None:
            self.control.send_credential(b"bearer", credential)
        self.is_usable = True

    # Calls

    cdef bint start(self, ClientCall call, bytes payload, Wait handed) except -1:
        """Take a call over; `wait` has to follow. False: this connection does not take it, choose anew.

        `handed` is told once a one-way call was handed over; None for others.
        """
        cdef bint is_started = False, is_expired
        self.byte_stream.enter()
        self.users += 1
        try:
            is_expired = self._is_expired(call.started_ns)
            if not self.byte_stream.look_before(call.started_ns, call.deadline_ns):
                self._came_too_late(call, payload)
                is_started = True
            elif self.is_usable and not is_expired:
                self._take_over(call, payload)
                is_started = True
                if handed is not None:
                    # Before anybody else has the guard, and sends it.
                    self.hand_overs.append((call, handed))
        finally:
            if is_started:
                self.byte_stream.leave()
            else:
                self._go(True)
        return is_started

    cdef bint start_many(self, list calls, list payloads) except -1:
        """Take several calls over for one `wait`; one that cannot be sent is settled with its error."""
        cdef Py_ssize_t i
        cdef bint is_started = False, is_expired
        self.byte_stream.enter()
        self.users += 1
        try:
            is_expired = self._is_expired(now_ns())
            if calls and not self.byte_stream.look_before(self.now, (<ClientCall>calls[0]).deadline_ns):
                for i in range(len(calls)):
                    self._came_too_late(<ClientCall>calls[i], <bytes>payloads[i])
                is_started = True
            elif self.is_usable and not is_expired:
                for i in range(len(calls)):
                    self._take_over(<ClientCall>calls[i], <bytes>payloads[i])
                is_started = True
        finally:
            if is_started:
                self.byte_stream.leave()
            else:
                self._go(True)
        return is_started

    cdef bint _is_expired(self, uint64_t now) except -1:
        """Whether a new call is to look for another connection, as this one got old or was without calls for too long.

        Nobody is there to see it before that call comes. An old one takes other calls until it has a successor, or is
        twice as old as it should be.
        """
        cdef uint64_t age
        self.now = max(self.now, now)
        age = self.liveness.age(self.now)
        if age >= 2 or (self.users == 1 and self.liveness.is_rested(self.rests_ns, self.now)):
            self.is_spent = True
            self.is_usable = False
        elif age and not self.is_aged:
            self.is_aged = True
            return True
        return False

    cdef int _came_too_late(self, ClientCall call, bytes payload) except -1:
        """The deadline passed while what the server had sent before was read: nothing is sent any more."""
        call.count_start(payload)
        return call.failed(overdue_error(call, self.endpoint, False, call.began_ns))

    cdef int _take_over(self, ClientCall call, bytes payload) except -1:
        call.count_start(payload)
        try:
            check_request(self, call, payload)
            if not self.settled:
                keep_early(self, call, payload)
            self.slots.send_request(call, payload)
        except FastRPCError as error:
            call.failed(error)
        return 0

    cdef bint wait(self, Wait wait) except -1:
        """Return whether everything came before the deadline, or the end of the connection."""
        cdef uint64_t due_ns
        cdef Stay stay
        self.byte_stream.enter()
        self.reentry.begin(&stay)
        try:
            if self.byte_stream.has_news and not self.byte_stream.is_sending and not self.is_closed:
                # At once, whatever is to be checked: meanwhile it is under way.
                self.byte_stream.send_all(False)
            while wait.missing > 0 and not self.is_closed and not wait.is_over():
                due_ns = self._check() if self.byte_stream.receiver is None else NO_DEADLINE
                if self.byte_stream.has_news and not self.byte_stream.is_sending:
                    self.byte_stream.send_all(False)
                if wait.missing <= 0 or self.is_closed:
                    break
                if self.byte_stream.receiver is None:
                    self._read_for_all(wait, due_ns)
                elif self._wants_pusher():
                    self._push(wait)
                else:
                    self._sleep(wait)
            return wait.missing <= 0
        finally:
            end(&stay)
            self._go()

    # Streams

    cdef int enter_use(self) except -1:
        """Take the guard for one step of a stream; `leave_use` or `wait` has to follow."""
        self.byte_stream.enter()
        self.users += 1
        return 0

    cdef int leave_use(self) except -1:
        """Give up the guard after a step of a stream; what it has left to be sent is sent."""
        return self._go()

    cdef bint output_is_full(self, Call call) noexcept:
        """Return whether output waits for the system to take it, so that a stream is not to add to it."""
        return len(self.byte_stream.parts) > 0 or self.sender.output_bytes() > STREAM_SHARE

    cdef int end_stream(self, ClientCall call, int reason, object error) except -1:
        """End a call that streams from this side, and tell the server; what is settled keeps its outcome."""
        self.enter_use()
        try:
            self.now = now_ns()
            if call.is_settled:
                return 0
            if self.is_closed:
                error = lost_error(self, self.endpoint, call, self._leaves(call), self.lost_because or "it was closed")
            else:
                self.give_up(call, reason)
            call.failed(error)
        finally:
            self._go()
        return 0

    cdef int let_go(self, ClientCall call) except -1:
        """Cancel the call of a stream that nobody holds any more: at once, or with whoever has the guard.

        A finalizer runs anywhere, so it must not wait for the guard.
        """
        self.left_calls.append(call)
        if self.byte_stream.generation == fork_generation() and self.byte_stream.enter_now():
            self.users += 1
            self._go()
        return 0

    cdef int _drop_left_calls(self) except -1:
        cdef ClientCall call
        cdef list left = self.left_calls
        self.left_calls = []
        self.now = now_ns()
        for call in left:
            if not call.is_settled:
                if not self.is_closed:
                    self.give_up(call, CANCEL_USER)
                call.failed(CallError(Status.CANCELLED, f"{call.route.method}: the stream was dropped"))
        return 0

    def wait_ready(self, deadline):
        """Return whether the server shows its settings before an instant of `time.monotonic()`, or None."""
        cdef Wait wait = new_wait(1, NO_DEADLINE if deadline is None else <uint64_t>(deadline * 1e9))
        self.byte_stream.enter()
        if self.is_ready or not self.is_usable:
            self.byte_stream.leave()
            return self.is_ready and self.is_usable
        self.users += 1
        self.ready_waits.append(wait)
        self.byte_stream.leave()
        self.wait(wait)
        return self.is_ready and self.is_usable

    def catch_up(self):
        """Take in what came while no thread read, and obey the limits of time; waits for nothing."""
        self.byte_stream.enter()
        self.users += 1
        try:
            if not self.is_closed and self.byte_stream.receiver is None:
                self.now = now_ns()
                self.byte_stream.look()
                if not self.is_closed:
                    self._check()
        finally:
            # That is no use of the connection.
            self._go(True)

    cdef int give_up_all(self, list calls, bint is_overdue, object error=None) except -1:
        """Nobody waits for these calls any more; the server is told. Overdue ones get their error, others `error` if given.

        What is settled keeps its outcome.
        """
        cdef ClientCall call
        self.byte_stream.enter()
        self.users += 1
        try:
            self.now = now_ns()
            for call in calls:
                if call.is_settled:
                    continue
                handed = self._leaves(call)
                if not self.is_closed:
                    self.give_up(call, CANCEL_DEADLINE if is_overdue else CANCEL_USER)
                if error is not None:
                    call.failed(error)
                elif not is_overdue:
                    call.forget()
                elif self.is_closed and (self.is_left_behind or self.now < call.deadline_ns):
                    call.failed(lost_error(self, self.endpoint, call, handed, self.lost_because or "it was closed"))
                else:
                    call.failed(overdue_error(call, self.endpoint, handed, call.began_ns))
        finally:
            self._go()
        return 0

    # The turns

    cdef int _read_for_all(self, Wait wait, uint64_t due_ns) except -1:
        """Receive once; until then this thread is the receiver."""
        cdef Py_ssize_t came = 0, room = 0
        cdef char* place = self.byte_stream.place_for(&room)
        # What `place` points into; nobody else touches either while there is a receiver.
        cdef ReadBuffer _block = self.byte_stream.block
        cdef Assembly _sink = self.reader.sink
        cdef BlockingIO io = self.byte_stream.io
        cdef uint64_t spin_ns = self.spin_ns
        cdef bint fill = self.byte_stream.in_body
        cdef bint push = self.byte_stream.has_news or (len(self.byte_stream.parts) > 0 and not self.byte_stream.is_sending)
        due_ns = min(due_ns, wait.deadline_ns)
        self.byte_stream.receiver = wait
        self.receiver_pushes = push
        self.byte_stream.system_calls += 1
        self.byte_stream.leave()
        try:
            # Also before: a signal may have ended the last turn together with bytes.
            self.byte_stream.check_signals()
            if not self.is_left_behind:
                with nogil:
                    came = io.receive_until(place, room, fill, push, due_ns, spin_ns)
                if came == INTERRUPTED:
                    self.byte_stream.check_signals()
        finally:
            self.byte_stream.enter()
            self.byte_stream.receiver = None
            self.receiver_pushes = False
            self.byte_stream.system_calls -= 1
        if came == WRITABLE:
            self.byte_stream.has_news = True
        elif came != TIMED_OUT and came != INTERRUPTED:
            self.byte_stream.took_in(came)
        return 0

    cdef int _push(self, Wait wait) except -1:
        """Watch until the system takes more output, while another thread reads; for a moment only, as that one may stop.

        Where calls wait for the peer's budget the moment is what they wait for.

        A server that reads nothing before its own output was taken would else wait for us, and we for it.
        """
        cdef int ready = 0
        cdef BlockingIO io = self.byte_stream.io
        cdef uint64_t due_ns = min(wait.deadline_ns, self._check())
        cdef short events = POLLOUT if len(self.byte_stream.parts) else 0
        if self.is_closed or self.byte_stream.has_news:
            return 0
        self.pusher = wait
        self.byte_stream.system_calls += 1
        self.byte_stream.leave()
        try:
            self.byte_stream.check_signals()
            if not self.is_left_behind:
                with nogil:
                    ready = io.wait(events, min(due_ns, now_ns() + PUSHER_LOOKS_NS))
                if ready == INTERRUPTED:
                    self.byte_stream.check_signals()
        finally:
            self.byte_stream.enter()
            self.pusher = None
            self.byte_stream.system_calls -= 1
        if ready > 0:
            self.byte_stream.has_news = True
        return 0

    cdef int _sleep(self, Wait wait) except -1:
        """Let others work until one of them wakes us."""
        cdef PyLockStatus status = PY_LOCK_ACQUIRED
        wait.park(self.byte_stream.sleepers)
        self.byte_stream.leave()
        try:
            self.byte_stream.check_signals()
            status = PY_LOCK_INTR if self.is_left_behind else wait.sleep()
            if status == PY_LOCK_INTR:
                self.byte_stream.check_signals()
        finally:
            self.byte_stream.enter()
            wait.unpark(status == PY_LOCK_ACQUIRED)
        return 0

    cdef bint _wants_pusher(self) noexcept:
        """Whether output waits for the system to take it, for somebody to go on or for time, and nobody watches for that."""
        if self.byte_stream.is_sending or self.pusher is not None or self.byte_stream.write_error is not None:
            return False
        if self.slots.withholds:
            return True
        return not self.receiver_pushes and (self.byte_stream.has_news or len(self.byte_stream.parts) > 0)

    cdef int _go(self, bint refused=False) except -1:
        """Give up a use of the connection, and the guard. What was refused here was no use: the connection rested on."""
        self.users -= 1
        if self.users == 0 and not refused:
            self.rests_ns = self.now
        try:
            self._settle_down()
        finally:
            self.byte_stream.leave()
        return 0

    cdef int _settle_down(self) except -1:
        """Leave nothing undone that nobody else would do: unsent bytes, a free turn, a connection to be closed."""
        if self.left_calls:
            self._drop_left_calls()
        if self.byte_stream.has_news and not self.byte_stream.is_sending and not self.is_closed:
            self.byte_stream.send_all(False)
        if not self.is_usable and not self.is_closed and self.users == 0:
            self.now = now_ns()
            self.close_with(REASON_DRAIN, "")
        if self.is_closed:
            self.byte_stream.wind_up(self.lingers)
        if self.byte_stream.sleepers and (self.byte_stream.receiver is None or self._wants_pusher()):
            self._wake_one()
        return self.byte_stream.return_block()

    # Hooks

    cdef int was_late(self, uint64_t late) except -1:
        return self.liveness.forget_silence()

    cdef int eof(self) except -1:
        self.is_usable = False
        return 0

    cdef bint was_handed(self, Call call) noexcept:
        # More exact than the transports of a loop allow: what the system refused was not handed over.
        return call.handed_at != 0 and call.handed_at <= self.handed_flushes

    cdef int left_behind(self) except -1:
        self.is_left_behind = True
        self.is_usable = False
        self.lost_because = "this process was forked, and the connection is the parent's"
        self.pusher = None
        self.receiver_pushes = False
        self.hand_overs = []
        self.ready_waits = []
        self.room_waits = []
        return 0

    cdef int flushed(self) except -1:
        cdef ClientCall call
        cdef Wait wait
        cdef list left = []
        self.handed_flushes = self.sender.flushes
        # What waits from now on waits for the next bytes that the system takes.
        self.liveness.blocked_ns = 0
        if self.room_waits and not self.byte_stream.parts:
            for wait in self.room_waits:
                wait.came()
            self.room_waits = []
        if self.byte_stream.parts or not self.hand_overs:
            return 0
        for call, wait in self.hand_overs:
            if call.handed_at != 0 and call.handed_at <= self.sender.flushes:
                wait.came()
            elif not call.is_settled:
                left.append((call, wait))
        self.hand_overs = left
        return 0

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        if (<ClientCall>call).early_request is not None and self.is_usable:
            if send_again(self, <ClientCall>call, frame):
                return 0
        return (<ClientCall>call).answer_came(frame, payload, self.now)

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return (<ClientCall>call).message_came(frame, payload, cost)

    cdef int on_head(self, Call call, bytes metadata) except -1:
        return (<ClientCall>call).head_came(metadata)

    cdef int on_sendable(self, Call call) except -1:
        return (<ClientCall>call).may_send()

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        if status == DEADLINE_EXCEEDED:
            return (<ClientCall>call).failed(DeadlineExceededError(f"{call.route.method}: {text}", processed="yes"))
        return (<ClientCall>call).failed(CallError(Status(status), text, processed="yes"))

    cdef int on_unsendable(self, Call call, object error) except -1:
        return (<ClientCall>call).failed(error)

    cdef int on_not_started(self, Call call) except -1:
        return (<ClientCall>call).failed(unstarted_error(self, self.endpoint, call))

    cdef int on_verdict(self) except -1:
        """Without a loop nobody renews a credential in time: a younger connection, with a new one, takes its place."""
        cdef uint64_t age
        if self.auth_status == OK and self.auth_valid_seconds:
            age = self.now - self.liveness.made_ns + <uint64_t>self.auth_valid_seconds * RENEWED_NS
            self.liveness.age_ns = age if self.liveness.age_ns == 0 else min(age, self.liveness.age_ns)
        return 0

    cdef int on_ready(self) except -1:
        cdef Wait wait
        self.is_ready = True
        for wait in self.ready_waits:
            wait.came()
        self.ready_waits = []
        return 0

    cdef int on_ids_used_up(self) except -1:
        # Calls under way go on here, those that wait and new ones on another connection.
        return self._refuse_unsent()

    cdef int on_peer_drains(self, int reason, str text) except -1:
        return self._refuse_unsent()

    cdef int _refuse_unsent(self) except -1:
        self.is_usable = False
        for call in self.slots.unsent_calls():
            self.sender.drop_unsent(<Call>call)
            self.on_not_started(<Call>call)
        return 0

    # Checks

    cdef uint64_t _check(self) except? 0:
        """Compare every running instant with now, and return the next one at which something is due."""
        cdef uint64_t due_ns
        self.now = now_ns()
        due_ns = self.liveness.check(self.now) or NO_DEADLINE
        if self.slots.withholds and not self.is_closed and self.slots.resume_withheld():
            due_ns = min(due_ns, self.now + WITHHELD_NS)
        return due_ns

    # The end

    cdef int on_closed(self) except -1:
        return self._end_all(self.closed_text or "it was closed")

    cdef int lost(self, object error) except -1:
        self.note_unread(error)
        self.lost_hint = getattr(error, "hint", None)
        return self._end_all(str(error) if error is not None else "the server closed it")

    cdef int _end_all(self, str why) except -1:
        """End every call that is still under way; what was not handed over did not run."""
        cdef ClientCall call
        cdef Wait wait
        self.is_usable = False
        self.lost_because = why
        self.ended_ns = now_ns()
        for call in self.slots.unsent_calls():
            self.sender.drop_unsent(call)
            call.failed(lost_error(self, self.endpoint, call, False, why))
        for call in self.slots.opened.entries():
            handed = self._leaves(call)
            self.sender.drop_unsent(call)
            self.caller.forget(call)
            call.failed(lost_error(self, self.endpoint, call, handed, why))
        for call, wait in self.hand_overs:
            call.failed(lost_error(self, self.endpoint, call, self._leaves(call), why))
            wait.came()
        for wait in self.ready_waits:
            wait.came()
        self.hand_overs = []
        self.ready_waits = []
        # Nothing will be missing any more, whatever it was.
        while self.byte_stream.sleepers:
            self._wake_one()
        return 0

    cdef bint _leaves(self, ClientCall call) noexcept:
        """Whether the server may get the request: it did, or will, as what is written goes out with the last words."""
        if self.is_left_behind:
            # The parent makes the same call.
            return True
        return self.was_handed(call) if self.byte_stream.is_lost else self.was_written(call)

    cdef int _wake_one(self) except -1:
        """Wake the thread that has slept longest."""
        return (<Wait>next(iter(self.byte_stream.sleepers))).wake()

    def close(self, int reason=REASON_DRAIN, str text=""):
        """Say goodbye and close; calls of other threads fail. Waits up to `linger` for the server to close too."""
        self.byte_stream.enter()
        self.users += 1
        try:
            if not self.is_closed:
                self.now = now_ns()
                self.lingers = self.byte_stream.system_calls == 0
                self.close_with(reason, text)
                self.byte_stream.wind_up(self.lingers)
                if self.lingers and not self.byte_stream.is_lost:
                    self.byte_stream.linger(now_ns() + self.liveness.linger_ns)
        finally:
            self.lingers = False
            self._go()

    def detach(self):
        """Close the stream without a word to the server: for a child process, whose parent goes on using it."""
        self.byte_stream.leave_behind()

    def retire(self):
        """Take no new calls; the connection closes with the last call under way."""
        self.byte_stream.enter()
        self.users += 1
        self.is_usable = False
        self._go()

    @property
    def used_at(self):
        """Instant of `time.monotonic()` at which the last use ended; the present one while there is a call."""
        return (now_ns() if self.users else self.rests_ns) / 1e9

    @property
    def lifetime(self):
        """Seconds from the connection's making to its end, or to now."""
        return ((self.ended_ns or now_ns()) - self.liveness.made_ns) / 1e9

    def stats(self):
        """What is under way on this connection, as plain data; what came while nobody read is taken in first."""
        self.byte_stream.enter()
        self.users += 1
        try:
            self.now = now_ns()
            self.byte_stream.look()
            return {
                "calls": self.slots.opened.size,
                "waiting": sum([not (<Outgoing>item).is_dropped for queue in self.slots.queues() for item in queue]),
                "buffered": self.untaken_bytes(),
                "credit": self.sender.send_left,
            }
        finally:
            self._go()
