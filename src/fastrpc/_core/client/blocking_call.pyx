"""A call of a `SyncClient`, from its start on a connection to the value that its thread gets.

Messages of a stream arrive in the thread that reads the connection, under the guard of the session: that thread puts
them into the channel and wakes the thread that waits for them.
"""

import time

cimport cython
from cpython.object cimport PyObject

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.blocking_wait cimport new_wait
from fastrpc._core.client.caller_view cimport VERB_NOTIFY, VERB_REQUEST, route_on
from fastrpc._core.client.client_stream cimport new_streaming
from fastrpc._core.wire.frame cimport ONE_WAY, STREAM_OUT

from fastrpc.errors import CallError, FastRPCError
from fastrpc.status import Status


@cython.final
cdef class BlockingCall(ClientCall):
    """A call of a thread, or one attempt of it."""

    cdef int settle(self) except -1:
        """Record the end of the call and wake its thread. The caller holds the session's guard."""
        cdef ClientStream stream = None
        if self.streaming is None:
            return 0 if self.wait is None else self.wait.came()
        if self.is_used:
            self.is_used = False
            self.shared_session.users -= 1
        if self.streaming.stream is not NULL:
            stream = <ClientStream>self.streaming.stream
            self.streaming.stream = NULL
        # Decoding an unread message may still fail; `_count_end` counts the stream then.
        if self.failure is None and self.flags & STREAM_OUT and (stream is None or not stream.waiting):
            self.count_outcome(0)
        return 0 if stream is None else stream.attempt_over(self)

    # A unary call

    cdef bint start_on(self, BlockingSession session, uint64_t now) except -1:
        """Pass the call to a connection; False if it takes no more calls."""
        cdef CallingPart part = <CallingPart>session.engine.calling
        cdef bytes payload
        self.route = route_on(self.route, session.engine)
        payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        # The runner counts a late attempt, unless one was sent.
        self.apply_options(self.route, now, 0 if self.began_ns else 1)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        self.session = session.engine
        self.shared_session = session
        self.wait = new_wait(1, self.deadline_ns)
        payload = self.options.pack(self, payload, part.peer, part.is_settled)
        return session.start(self, payload, self.wait if self.verb == VERB_NOTIFY else None)

    cdef object end(self):
        """Wait for the answer and return it; another attempt may follow."""
        try:
            value = self.outcome()
        except BaseException as error:
            self.conclude(error)
            if not isinstance(error, FastRPCError) or self.shared_session.stream.is_left_behind:
                raise
            return self.options.shared.runner.retry(self, error)
        self.conclude(None)
        if self.verb == VERB_REQUEST:
            return self.options.shared.runner.reply(self, value)
        return value

    cdef int conclude(self, object error) except -1:
        """Report the outcome of the attempt to the endpoint set, if it knows of the attempt."""
        if self.endpoint_state is None:
            return 0
        if self.shared_session.stream.is_left_behind or (self.verb == VERB_NOTIFY and error is None):
            # A notification has no answer, so it says nothing about the health of its endpoint.
            return self.drop()
        return self.leave(error, self.ended_ns or now_ns())

    cdef object outcome(self):
        """Wait for the answer to a started call and return it, or raise its error."""
        self.shared_session.await_answers(self.wait, self)
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

    # The attempt of a stream

    cdef bint start(self, ClientStream stream) except -1:
        """Send the attempt; False if the connection takes no more calls.

        Raises:
            TypeError: the arguments do not fit the method.
            EncodeError: they cannot be encoded.
        """
        cdef BlockingSession session = self.shared_session
        cdef CallingPart part = <CallingPart>session.engine.calling
        cdef bytes payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        cdef bint is_taken = False
        # The runner counts a late attempt, unless one was sent.
        self.apply_options(self.route, now_ns(), 0)
        payload = self.options.pack_for_stream(self, payload, part.peer, part.is_settled)
        self.streaming.stream = <PyObject*>stream
        before = stream.call
        stream.attach(self)
        # The call counts as a user of the connection until it is settled.
        self.is_used = True
        try:
            is_taken = session.start(self, payload)
        finally:
            self.is_used = is_taken and not self.is_settled
            if not is_taken and not self.is_settled:
                self.streaming.stream = NULL
                stream.withdraw(before)
        if not is_taken:
            return False
        stream.is_open = True
        session.enter_use()
        session.leave_use()
        return True

    cdef int end_pick(self, object error) except -1:
        if self.streaming.pick is not None and self.shared_session.stream.is_left_behind:
            pick, self.streaming.pick = self.streaming.pick, None
            pick.dropped()
            return 0
        return ClientCall.end_pick(self, error)

    def _end_pick(self, error):
        """Report the outcome of the attempt to the endpoint set, once."""
        self.end_pick(error)

    # For the runner

    def _attempt_on(self, BlockingSession session not None, int number, pick=None):
        """Start attempt `number` of this call on a connection; None if it takes no more calls.

        The attempt has the call's deadline. `_finish` has to follow, except for a stream, which keeps `pick` until its
        end. Once an attempt has started, the call may have run.
        """
        cdef BlockingCall attempt = BlockingCall.__new__(BlockingCall)
        cdef bint is_started
        if self.streaming is None:
            attempt.become_attempt(self, session.engine, number)
            is_started = attempt.start_on(session, now_ns())
        else:
            if self.streaming.stream is NULL:
                raise RuntimeError(f"{self.route.method}: the stream was dropped")
            attempt.become_attempt(self, session.engine, number)
            attempt.shared_session = session
            attempt.streaming = new_streaming(NULL)
            # Before it is sent: it may end at once, and then reports to the endpoint set. If there is no attempt, its
            # maker takes the pick back.
            attempt.streaming.pick = pick
            is_started = attempt.start(<ClientStream>self.streaming.stream)
        if not is_started:
            return None
        self._may_have_run = True
        return attempt

    def _finish(self):
        """Return the answer to an attempt that was started, or raise its error."""
        return self.outcome()

    def _cancel(self):
        """Give up an attempt that another thread waits for, and wake that thread."""
        if not self.is_settled:
            error = CallError(Status.CANCELLED, f"{self.route.method} was cancelled", processed="unknown")
            # The answer or the deadline may come first: the session checks again, under its guard.
            self.shared_session.give_up_all([self], False, error)

    async def sleep(self, double seconds):
        """Block the thread for some seconds, for an interceptor."""
        time.sleep(seconds)


cdef BlockingCall new_stream_call(ClientStream stream):
    """Return the call that interceptors see for a stream."""
    cdef BlockingCall call = BlockingCall.__new__(BlockingCall)
    call.streaming = new_streaming(<PyObject*>stream)
    return call
