"""One call of a `SyncClient`: what it is from its start on a connection to the value that its thread gets."""

import asyncio
import time

cimport cython
from libc.stdint cimport uint8_t

from fastrpc._core.calling.blocking_state cimport BlockingState
from fastrpc._core.calling.blocking_wait cimport new_wait
from fastrpc._core.calling.caller_view cimport VERB_CALL, VERB_NOTIFY, VERB_REQUEST, metadata_of, route_on
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.framing.frame cimport ONE_WAY

from fastrpc.errors import CallError, FastRPCError
from fastrpc.status import Status


@cython.final
cdef class BlockingCall(PendingCall):
    """One call of a thread, or one attempt of it."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    cdef int settle(self) except -1:
        return 0 if self.wait is None else self.wait.came()

    cdef bint start_on(self, BlockingSession session, uint64_t now) except -1:
        """Take the call to a connection; False when that takes none any more."""
        cdef bytes payload
        self.route = route_on(self.route, session)
        payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        # Of an attempt the runner counts it, unless one was sent.
        self.options.apply_options(self, self.route, now, 0 if self.began_ns else 1)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        self.session = session
        self.wait = new_wait(1, self.deadline_ns)
        payload = self.options.pack(self, payload, session.peer, session.is_ready)
        return session.start(self, payload, self.wait if self.verb == VERB_NOTIFY else None)

    cdef object end(self):
        """Wait for the answer and return it; another attempt may follow."""
        try:
            value = self.outcome()
        except BaseException as error:
            self.leave(error)
            if not isinstance(error, FastRPCError) or self.session.is_left_behind:
                raise
            return (<BlockingState>self.options.shared).runner.retry(self, error)
        self.leave(None)
        if self.verb == VERB_REQUEST:
            return (<BlockingState>self.options.shared).runner.reply(self, value)
        return value

    cdef int leave(self, object error) except -1:
        """Tell the endpoint set what became of the attempt, if it knows of one."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        if self.session.is_left_behind or (self.verb == VERB_NOTIFY and error is None):
            # That it was handed over says nothing about who is to run it.
            return self.drop()
        self.endpoint_state = None
        return self.endpoint_set.conclude(
            endpoint_state, self.route.method, self.ticket, self.started_ns, self.ended_ns or now_ns(), error
        )

    cdef int drop(self) except -1:
        cdef EndpointState endpoint_state = self.endpoint_state
        self.endpoint_state = None
        return self.endpoint_set.drop(endpoint_state, self.route.method, self.ticket)

    cdef int undo(self) except -1:
        cdef EndpointState endpoint_state = self.endpoint_state
        self.endpoint_state = None
        return self.endpoint_set.undo(endpoint_state, self.route.method, self.ticket)

    cdef object outcome(self):
        """Wait for the answer to a started call and return it, or raise its error."""
        cdef BlockingSession session = self.session
        cdef bint is_done
        try:
            is_done = session.wait(self.wait)
        except BaseException:
            # The thread was interrupted: the handler is cancelled.
            session.give_up_all([self], False)
            raise
        if not is_done:
            session.give_up_all([self], True)
        if self.failure is not None:
            try:
                raise self.failure
            finally:
                self.failure = None
        if self.verb == VERB_NOTIFY:
            if not self.is_settled:
                self.is_settled = True
                self._count(0, now_ns())
            return None
        return self.value()

    # For the runner

    @property
    def _options(self):
        """Those of the client or view that made it."""
        return self.options

    def _start_clock(self):
        """Give the call its options and deadline before any attempt; raises when no time is left."""
        self.options.apply_options(self, self.route, now_ns())
        (<BlockingState>self.options.shared).budget.count_call(self.started_ns)

    def _attempt_on(self, BlockingSession session not None, int number):
        """Start attempt `number` of this call on a connection; None when that takes no calls any more.

        It has the call's deadline; `_finish` has to follow.
        """
        cdef BlockingCall attempt = BlockingCall.__new__(BlockingCall)
        attempt.route = self.route
        attempt.options = self.options
        attempt.hash_key = self.hash_key
        attempt.args = self.args
        attempt.kwargs = self.kwargs
        # The answer is wrapped once, around all attempts and interceptors.
        attempt.verb = VERB_CALL if self.verb == VERB_REQUEST else self.verb
        attempt.deadline_ns = self.deadline_ns
        attempt.began_ns = self.started_ns
        attempt.attempt_number = <uint8_t>min(number, 255)
        attempt.sent_metadata = metadata_of(self)
        if self._on_attempt is not None:
            self._on_attempt(number, session.endpoint)
        return attempt if attempt.start_on(session, now_ns()) else None

    def _finish(self):
        """Return the answer to an attempt that was started, or raise its error."""
        return self.outcome()

    def _cancel(self):
        """Give up an attempt that another thread waits for, and let that thread go."""
        if not self.is_settled:
            error = CallError(Status.CANCELLED, f"{self.route.method} was cancelled", processed="unknown")
            # The answer or the deadline may come first: the session looks again, under its guard.
            self.session.give_up_all([self], False, error)

    def _adopt(self, BlockingCall attempt not None):
        """Take over what an attempt learned: the answer's metadata, where it came from, when it ended."""
        self.received_metadata = attempt.received_metadata
        self._reply_metadata = None
        self.session = attempt.session
        self.attempt_number = attempt.attempt_number
        self.ended_ns = attempt.ended_ns
        # Adopted twice it counts once.
        self.moved_bytes += attempt.moved_bytes
        attempt.moved_bytes = 0

    @property
    def arguments(self):
        """The arguments as they were given."""
        return (*self.args, *self.kwargs.values()) if self.kwargs else self.args

    @property
    def endpoint(self):
        """Where it went last, or None."""
        return None if self.session is None else self.session.endpoint

    cdef object get_peer(self):
        return (<BlockingState>self.options.shared).runner.peer(self)

    @property
    def retry_policy(self):
        """The rules and the budget of its client."""
        return (<BlockingState>self.options.shared).runner.policy

    @property
    def _is_one_way(self):
        return self.verb == VERB_NOTIFY

    @property
    def _wants_reply(self):
        """Whether `request` made it, which returns more than the value."""
        return self.verb == VERB_REQUEST

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings.

        Nobody would hear that a notification was refused.
        """
        return self.verb == VERB_NOTIFY or self.options.needs_settings(self.route, metadata_of(self))

    @property
    def draining(self):
        """Awaitable that is done once the server drains: on this side never, a call ends by itself."""
        return asyncio.Event().wait()

    async def sleep(self, double seconds):
        """Wait, in an interceptor: blocks the thread, as everything here does."""
        time.sleep(seconds)
