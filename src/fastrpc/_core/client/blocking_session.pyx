"""The session of a blocking client, without a loop or a thread. The threads that wait for answers do the work.

::

    BlockingSession ──holds──► BlockingStream    the guard, bytes in and out, the roles of threads
           │                        └──holds──┐
           └──────────holds────► BlockingEvents    waits for other events than answers, the end of the connection

    start(call)     the session has the request and has sent nothing yet
    wait(wait)      until nothing is missing or the time is over, again and again one of these turns:
                      send    as much as the system takes at once
                      read    unless another thread does: one thread receives for all
                      push    if the system took only a part, unless another thread does: watch until it takes more
                      sleep   until another thread wakes this one: its answer came, or a turn is free

A thread that gives up a role wakes a sleeper for it, unless another thread takes the role.

A thread that waits for room in the socket cannot be woken when the receiver stops. So it checks every 10 ms whether
another thread is reading: if none did, and the server read nothing before its own output is read, both sides would wait
for each other.

The session knows no protocol: its engine has a `CallingPart`, which sends calls and gives them up.
"""

cimport cython
from cpython.pythread cimport PY_LOCK_ACQUIRED, PY_LOCK_INTR, PyLockStatus

from fastrpc._core.base.buffer cimport ReadBuffer
from fastrpc._core.base.status cimport UNKNOWN
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.blocking_wait cimport Stay, end, new_wait
from fastrpc._core.client.call_errors cimport overdue_error
from fastrpc._core.client.caller_view cimport fork_generation
from fastrpc._core.io.blocking_io cimport BlockingIO
from fastrpc._core.io.socket_io cimport INTERRUPTED, TIMED_OUT, WRITABLE
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, CANCEL_LOST_HEDGE, CANCEL_USER

from fastrpc.errors import CallError, FastRPCError
from fastrpc.status import Status

# Interval at which a thread that waits for the socket checks for a receiver: nothing can wake it from that wait.
cdef uint64_t PUSHER_LOOKS_NS = 10_000_000


@cython.final
cdef class BlockingSession:
    """One connection to one endpoint, used by any number of threads at once."""

    def __cinit__(self, *arguments, **options):
        # Never None, even without __init__, so hot paths do not check.
        self.events = BlockingEvents.__new__(BlockingEvents)
        self.stream = BlockingStream.__new__(BlockingStream)
        self.stream.events = self.events
        self.engine = self.stream.engine
        self.left_calls = []

    def __init__(
        self, Engine engine not None, *, BlockingIO io not None, endpoint, double linger=0.0, spin_microseconds=0,
        ReentryGuard reentry=None,
    ):
        if not isinstance(engine.calling, CallingPart):
            raise TypeError(f"{type(engine).__name__} makes no calls: its `calling` is {engine.calling!r}")
        self.stream.open(engine, io, endpoint)
        self.engine = engine
        self.endpoint = endpoint
        self.reentry = reentry or ReentryGuard()
        self.linger_ns = <uint64_t>(linger * 1e9)
        self.spin_ns = spin_microseconds * 1000
        self.made_ns = self.rests_ns = engine.now
        # Its output is sent together with the first request.
        engine.connected()

    # Calls

    @cython.nonecheck(False)
    cdef bint start(self, ClientCall call, bytes payload, Wait handed=None, list members=None, list payloads=None) except -1:
        """Take a call over, or the members of the batch that it leads; `wait` has to follow.

        False: this connection does not take it, choose again. `handed` is set once a one-way call was handed over; None for
        other calls. A call that cannot be sent, or comes too late, is settled with its error.
        """
        cdef Py_ssize_t i
        cdef bint is_started = False, takes_call, in_time
        cdef BlockingStream stream = self.stream
        stream.enter()
        self.users += 1
        try:
            takes_call = _takes_call(self, call.started_ns)
            in_time = stream.look_before(call.started_ns, call.deadline_ns)
            if not in_time or (takes_call and self.engine.is_usable):
                if members is None:
                    _take_over(self, call, payload, in_time)
                else:
                    for i in range(len(members)):
                        _take_over(self, <ClientCall>members[i], <bytes>payloads[i], in_time)
                is_started = True
                if handed is not None and in_time:
                    # Set before the guard is released: another thread may then send the call.
                    self.events.hand_overs.append((call, handed))
        finally:
            if is_started:
                stream.leave()
            else:
                self.leave_use(True)
        return is_started

    @cython.nonecheck(False)
    cdef bint wait(self, Wait wait) except -1:
        """Wait; return whether all events came before the deadline and the end of the connection."""
        cdef uint64_t due_ns
        cdef Stay stay
        cdef BlockingStream stream = self.stream
        stream.enter()
        self.reentry.begin(&stay)
        try:
            if not self.engine.is_closed:
                # Sent before the checks, which then run while the request is on its way.
                stream.send_news()
            while wait.missing > 0 and not self.engine.is_closed and not wait.is_over():
                due_ns = _check(self) if stream.receiver is None else NO_DEADLINE
                stream.send_news()
                if wait.missing <= 0 or self.engine.is_closed:
                    break
                if stream.receiver is None:
                    _read_for_all(self, wait, due_ns)
                elif stream.wants_pusher():
                    _push(self, wait)
                else:
                    _sleep(self, wait)
            return wait.missing <= 0
        finally:
            end(&stay)
            self.leave_use()

    cdef int await_answers(self, Wait wait, ClientCall call, list members=None) except -1:
        """Wait for the answer to a call, or to the members of the batch that it leads; give calls without an answer up."""
        cdef bint is_done
        try:
            is_done = self.wait(wait)
        except BaseException:
            # The thread was interrupted: the handlers are cancelled.
            self.give_up_all([call] if members is None else members, False)
            raise
        if not is_done:
            self.give_up_all([call] if members is None else members, True)
        return 0

    # Streams

    cdef int enter_use(self) except -1:
        """Take the guard for one step of a stream; `leave_use` has to follow, or `leave` of the stream and `wait`."""
        self.stream.enter()
        self.users += 1
        return 0

    cdef int flush(self) except -1:
        """Flush the messages that were handed over, and read the input. The caller holds the guard."""
        cdef BlockingStream stream = self.stream
        stream.send_news()
        stream.look()
        return 0

    cdef int end_stream(self, ClientCall call, int reason, object error) except -1:
        """End a streaming call from this side, and notify the server; a settled call keeps its outcome."""
        self.enter_use()
        try:
            self.engine.now = now_ns()
            if call.is_settled:
                return 0
            if self.engine.is_closed:
                error = self.events.error_of_end(self.stream, call)
            else:
                (<CallingPart>self.engine.calling).abandon(call, reason)
            call.failed(error)
        finally:
            self.leave_use()
        return 0

    cdef int let_go(self, ClientCall call) except -1:
        """Cancel the call of a stream without users: at once, or when the thread that holds the guard releases it.

        A finalizer runs anywhere, so it must not wait for the guard.
        """
        self.left_calls.append(call)
        if self.stream.generation == fork_generation() and self.stream.enter_now():
            self.users += 1
            self.leave_use()
        return 0

    def wait_ready(self, deadline):
        """Return whether the server shows its settings before an instant of `time.monotonic()`; None: no limit."""
        cdef Wait wait = new_wait(1, NO_DEADLINE if deadline is None else <uint64_t>(deadline * 1e9))
        self.stream.enter()
        if self._is_ready() or not self.engine.is_usable:
            self.stream.leave()
            return self._is_ready() and self.engine.is_usable
        self.users += 1
        self.events.ready_waits.append(wait)
        self.stream.leave()
        self.wait(wait)
        return self._is_ready() and self.engine.is_usable

    def catch_up(self):
        """Process input that arrived while no thread was reading, and apply the time limits; do not wait."""
        self.enter_use()
        try:
            if not self.engine.is_closed and self.stream.receiver is None:
                self.engine.now = now_ns()
                self.stream.look()
                if not self.engine.is_closed:
                    _check(self)
        finally:
            # This check does not count as use of the connection.
            self.leave_use(True)

    cdef int give_up_all(self, list calls, bint is_overdue, object error=None) except -1:
        """End the waits for these calls, and notify the server. Overdue calls get their own error, others get `error`
        if it is given.

        A settled call keeps its outcome.
        """
        cdef ClientCall call
        cdef int reason
        self.enter_use()
        try:
            self.engine.now = now_ns()
            for call in calls:
                if call.is_settled:
                    continue
                handed = self.events.may_have_left(self.stream, call)
                reason = CANCEL_LOST_HEDGE if call.has_lost else CANCEL_USER
                (<CallingPart>self.engine.calling).abandon(call, CANCEL_DEADLINE if is_overdue else reason)
                if error is not None:
                    call.failed(error)
                elif not is_overdue:
                    call.forget()
                elif self.engine.is_closed and (self.stream.is_left_behind or self.engine.now < call.deadline_ns):
                    call.failed(self.events.error_of_end(self.stream, call))
                else:
                    call.failed(overdue_error(call, self.endpoint, handed, call.began_ns))
        finally:
            self.leave_use()
        return 0

    # The turns

    @cython.nonecheck(False)
    cdef int leave_use(self, bint refused=False) except -1:
        """End one use of the connection, and release the guard. A `refused` call does not count as a use."""
        self.users -= 1
        if self.users == 0 and not refused:
            self.rests_ns = self.engine.now
        try:
            _settle_down(self)
        finally:
            self.stream.leave()
        return 0

    # The end

    def close(self, int reason=0, str text=""):
        """Send the last frames and close; calls of other threads fail. Wait at most `linger` for the server to close too."""
        cdef BlockingStream stream = self.stream
        self.enter_use()
        try:
            if not self.engine.is_closed:
                self.engine.now = now_ns()
                self.lingers = stream.system_calls == 0
                self.engine.close(reason, text)
                stream.wind_up(self.lingers)
                if self.lingers and not stream.is_lost:
                    stream.linger(now_ns() + self.linger_ns)
        finally:
            self.lingers = False
            self.leave_use()

    def detach(self):
        """Close the stream without notifying the server, in a forked child whose parent still uses the connection."""
        self.stream.leave_behind()

    def retire(self):
        """Take no new calls; the connection closes with the last call under way."""
        self.enter_use()
        self.engine.is_usable = False
        self.leave_use()

    # Views

    cdef bint _is_ready(self) noexcept:
        return (<CallingPart>self.engine.calling).is_settled

    @property
    def is_ready(self):
        """Whether the server has shown its settings."""
        return self._is_ready()

    @property
    def is_usable(self):
        """Whether it takes new calls."""
        return self.engine.is_usable

    @property
    def is_closed(self):
        """Whether the connection is over."""
        return self.engine.is_closed

    @property
    def life(self):
        """The rules of its age and rest."""
        return self.engine.life

    @property
    def used_at(self):
        """Instant of `time.monotonic()` at which the last use ended; the present instant during a call."""
        return (now_ns() if self.users else self.rests_ns) / 1e9

    @property
    def lifetime(self):
        """Seconds from the start of the connection to its end, or to now."""
        return ((self.events.ended_ns or now_ns()) - self.made_ns) / 1e9

    @property
    def is_left_behind(self):
        """Whether the connection belongs to the parent of this forked process; then it is closed here only."""
        return self.stream.is_left_behind

    @property
    def lost_because(self):
        """The reason for the end of the connection; None while it stands."""
        return self.events.lost_because

    @property
    def lost_hint(self):
        """The hint of the error that ended the connection, or None."""
        return self.events.lost_hint

    def stats(self):
        """Return the state of this connection as plain data, after processing input that no thread has read yet."""
        self.enter_use()
        try:
            self.engine.now = now_ns()
            self.stream.look()
            return self.engine.stats()
        finally:
            self.leave_use()

    cdef int _drop_left_calls(self) except -1:
        cdef ClientCall call
        cdef list left = self.left_calls
        self.left_calls = []
        self.engine.now = now_ns()
        for call in left:
            if not call.is_settled:
                (<CallingPart>self.engine.calling).abandon(call, CANCEL_USER)
                call.failed(CallError(Status.CANCELLED, f"{call.route.method}: the stream was dropped"))
        return 0


@cython.nonecheck(False)
cdef bint _takes_call(BlockingSession session, uint64_t now) except -1:
    """Return whether a new call may be sent here, by the age of the connection and its time without calls."""
    cdef Engine engine = session.engine
    engine.now = max(engine.now, now)
    return (<CallingPart>engine.calling).takes_call(engine.now, session.rests_ns if session.users == 1 else 0)


@cython.nonecheck(False)
cdef int _take_over(BlockingSession session, ClientCall call, bytes payload, bint in_time) except -1:
    call.count_start(payload)
    if not in_time:
        # The deadline passed while earlier input was read.
        return call.failed(overdue_error(call, session.endpoint, False, call.began_ns))
    try:
        (<CallingPart>session.engine.calling).send(call, payload)
    except FastRPCError as error:
        call.failed(error)
    except BaseException:
        # An engine written in Python no longer counts the call as in progress.
        call.forget(UNKNOWN)
        raise
    return 0


@cython.nonecheck(False)
cdef int _read_for_all(BlockingSession session, Wait wait, uint64_t due_ns) except -1:
    """Receive once, as the receiver for all threads."""
    cdef BlockingStream stream = session.stream
    cdef Py_ssize_t came, room = 0
    cdef char* place = stream.place_for(&room)
    # The objects that `place` points into; no other thread touches them while there is a receiver.
    cdef ReadBuffer _block = stream.block
    cdef object _body = session.engine.body_owner() if stream.in_body else None
    due_ns = min(due_ns, wait.deadline_ns)
    stream.receiver_pushes = stream.has_news or (len(stream.parts) > 0 and not stream.is_sending)
    stream.receiver = wait
    stream.receiver_due_ns = due_ns
    try:
        came = stream.wait_outside(place, room, due_ns, session.spin_ns)
    finally:
        stream.receiver = None
        stream.receiver_pushes = False
    if came == WRITABLE:
        stream.has_news = True
    elif came != TIMED_OUT and came != INTERRUPTED:
        stream.took_in(came)
    return 0


cdef int _push(BlockingSession session, Wait wait) except -1:
    """Watch until the system takes more output, while another thread reads.

    A server may read nothing until its own output is received. So this thread watches briefly, and then checks whether
    another thread still reads; if none did, client and server would wait for each other. It also checks calls that wait
    for the peer's budget.
    """
    cdef BlockingStream stream = session.stream
    cdef uint64_t due_ns = min(wait.deadline_ns, _check(session))
    if session.engine.is_closed or stream.has_news:
        return 0
    stream.pusher = wait
    try:
        if stream.wait_outside(NULL, 0, min(due_ns, now_ns() + PUSHER_LOOKS_NS), 0) > 0:
            stream.has_news = True
    finally:
        stream.pusher = None
    return 0


cdef int _sleep(BlockingSession session, Wait wait) except -1:
    """Sleep until another thread wakes this one."""
    cdef BlockingStream stream = session.stream
    cdef PyLockStatus status = PY_LOCK_ACQUIRED
    wait.park(stream.sleepers)
    stream.leave()
    try:
        stream.check_signals()
        status = PY_LOCK_INTR if stream.is_left_behind else wait.sleep()
        if status == PY_LOCK_INTR:
            stream.check_signals()
    finally:
        stream.enter()
        wait.unpark(status == PY_LOCK_ACQUIRED)
    return 0


@cython.nonecheck(False)
cdef int _settle_down(BlockingSession session) except -1:
    """Do the work left for this thread: send unsent bytes, wake another for a free turn, close the connection."""
    cdef BlockingStream stream = session.stream
    if session.left_calls:
        session._drop_left_calls()
    if not session.engine.is_closed:
        stream.send_news()
    if not session.engine.is_usable and not session.engine.is_closed and session.users == 0:
        session.engine.now = now_ns()
        session.engine.close()
    if session.engine.is_closed:
        stream.wind_up(session.lingers)
    if stream.sleepers and (stream.receiver is None or stream.wants_pusher()):
        stream.wake_one()
    return stream.return_block()


@cython.nonecheck(False)
cdef uint64_t _check(BlockingSession session) except? 0:
    """Apply every deadline that has passed, and return the next instant at which something is due."""
    cdef uint64_t due_ns
    cdef BlockingStream stream = session.stream
    session.engine.now = now_ns()
    stream.look_due_ns = NO_DEADLINE
    due_ns = session.engine.check(session.engine.now) or NO_DEADLINE
    stream.look_due_ns = due_ns = min(due_ns, stream.look_due_ns)
    return due_ns
