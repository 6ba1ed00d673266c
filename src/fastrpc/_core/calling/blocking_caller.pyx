"""The compiled base of `SyncClient`: what one call goes through when nothing stands in its way.

::

    client.call(Arith.mul, 6, 7)      BlockingCaller.make     route → encoded arguments → BlockingSession.start
                                      BlockingSession.wait    this thread sends and receives, or another one for it
                                      BlockingCall.end        decodes the answer

Everything else — no connection yet, interceptors, a retry — is the runner's (`fastrpc.client.blocking.call_runner`).

In the child of a fork the parts of a client are made anew, as gunicorn and Celery load programs before they fork:
pool, sessions, locks, breakers, counters and random numbers; the state that its views share stays. A count of forks
tells, before any lock is taken: a thread that is not in the child may hold it. Sessions compare that count wherever a
signal handler may have run.
"""

import asyncio
import os
import threading
import time
import warnings

cimport cython
from libc.stdint cimport uint8_t

from fastrpc._core.calling.blocking_wait cimport new_wait
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.calling.caller_view cimport (
    VERB_CALL, VERB_NOTIFY, VERB_REQUEST, argument_tuples_of, checked_item, fork_generation, over_floor
)
from fastrpc._core.framing.frame cimport ONE_WAY
from fastrpc._core.payload.metadata cimport encode_metadata
from fastrpc._core.calling.pending_call cimport mark_own
from fastrpc._core.framing.settings cimport FIRST_OWN_NUMBER
from fastrpc._core.base.wire cimport now_ns

from fastrpc.errors import CallError, FastRPCError
from fastrpc.status import Status

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef object get_running_loop = asyncio._get_running_loop

# Held while a client is made anew in the child of a fork, where several threads may begin to use it at once.
cdef object renewal = threading.RLock()


def _forked():
    # A thread of the parent may hold the old one for ever.
    global renewal
    renewal = threading.RLock()


os.register_at_fork(after_in_child=_forked)


@cython.final
cdef class BlockingState(ViewState):
    """What a SyncClient and its views share."""

    def __init__(self, Py_ssize_t width):
        ViewState.__init__(self, None)
        self.fork_generation = fork_generation()
        self.width = width
        self.groups = []
        self.looks_for_loop = True

    def take_parts(
        self, runner, resolve, ReentryGuard reentry not None, RetryBudget budget not None, EndpointSet endpoint_set=None
    ):
        """Work with these parts from now on; views follow."""
        self.runner = runner
        self.reentry = reentry
        self.budget = budget
        self.endpoint_set = endpoint_set
        self.groups = []
        self.turn = 0
        self.look_after_ns = 0
        self.resolve = resolve
        # The same dicts: views hold them.
        for routes in self.routes.values():
            routes.clear()

    cdef BlockingSession pick(self, uint64_t now):
        """The connection whose turn it is, or None when the runner has to look first."""
        cdef Py_ssize_t count = len(self.groups)
        if count == 0 or not self._is_settled(now):
            return None
        self.turn += 1
        if self.turn >= count:
            self.turn = 0
        return self._least_used(<list>self.groups[self.turn])

    cdef EndpointState choose(self, object call, object key, str method, uint64_t now, int64_t* ticket):
        """Where the endpoint set sends a call, or None when the runner has to look first."""
        if not self._is_settled(now):
            return None
        return self.endpoint_set.choose(call, key, method, None, now, ticket)

    cdef bint _is_settled(self, uint64_t now) except -1:
        """Whether there is nothing to look after: a connection that is due, another list of the registry."""
        if self.look_after_ns != NO_DEADLINE and now >= self.look_after_ns:
            return False
        return not self.follows or not self.pool.has_news

    cdef BlockingSession _least_used(self, list group):
        """The connection with the fewest threads on it, or None when one is over or there might be another one."""
        cdef BlockingSession session, chosen = None
        for session in group:
            if not session.is_usable:
                return None
            if chosen is None or session.users < chosen.users:
                chosen = session
        if chosen is not None and chosen.users and len(group) < self.width:
            return None
        return chosen

    def set_sessions(self, groups, look_after):
        """Replace the connections that calls go out on.

        Args:
            groups: a list for each endpoint.
            look_after: an instant of `time.monotonic()` from which the runner is asked first, or None.
        """
        cdef list checked = []
        cdef BlockingSession session
        for group in groups:
            for session in group:
                if session is None:
                    raise TypeError("a connection is None, it must be a BlockingSession")
            checked.append(list(group))
        self.look_after_ns = NO_DEADLINE if look_after is None else <uint64_t>(max(0.0, look_after) * 1e9)
        self.groups = checked
        self.looks_for_loop = not self.has_warned

    def look_now(self):
        """Have the next call ask the runner first."""
        self.look_after_ns = 0

    cdef int check_use(self) except -1:
        if self.fork_generation != fork_generation():
            self._renew()
        return self.reentry.check()

    cdef int look_for_loop(self) except -1:
        """Warn, once, of a client that is used in a coroutine. Not for each call: asking costs a system call on 3.11."""
        self.looks_for_loop = False
        if not self.has_warned and get_running_loop() is not None:
            self.has_warned = True
            warnings.warn(
                "a SyncClient blocks the event loop that it is called on: use `async with fastrpc.Client(…)` and await its "
                "calls, or make these in a thread: await asyncio.to_thread(client.call, …)",
                RuntimeWarning,
                stacklevel=1,
            )
        return 0

    cdef int _renew(self) except -1:
        """Make all parts anew: those there are belong to the parent of this process, locks and connections above all."""
        cdef unsigned long thread = PyThread_get_thread_ident()
        cdef uint64_t process = fork_generation()
        if self.renewing == thread:
            raise RuntimeError("a SyncClient was used inside itself, by a finalizer or by a signal handler")
        with renewal:
            if self.fork_generation == process:
                return 0
            self.renewing = thread
            try:
                self.remake()
            finally:
                self.renewing = 0
            self.fork_generation = process
        return 0

    def use(self):
        """Make its parts anew in the child of a fork.

        Raises:
            RuntimeError: this thread waits inside the client already, or a registry was used before the fork.
        """
        self.check_use()

    @property
    def is_of_parent(self):
        """Whether this is the child of a fork, and the client was not used in it yet."""
        return self.fork_generation != fork_generation()


cdef class BlockingCaller(CallerView):
    """The compiled part of SyncClient: the verbs whose every call counts."""

    @property
    def _state(self):
        """What the client and its views share."""
        return self.options.shared

    cdef object make(self, object method, tuple args, dict kwargs, int verb):
        try:
            return self._made(method, args, kwargs, verb)
        except FastRPCError as error:
            mark_own(error)
            raise

    cdef object _made(self, object method, tuple args, dict kwargs, int verb):
        cdef BlockingState state = <BlockingState>self.options.shared
        cdef BlockingSession session = None
        cdef BlockingCall call
        cdef uint64_t now
        cdef bint is_started = False
        state.check_use()
        if state.looks_for_loop:
            state.look_for_loop()
        call = BlockingCall.__new__(BlockingCall)
        call.route = self.route_of(method)
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = args
        call.kwargs = kwargs
        call.verb = verb
        now = now_ns()
        if not self.options.needs_runner and not state.needs_runner:
            if state.endpoint_set is None:
                session = state.pick(now)
            else:
                call.endpoint_set = state.endpoint_set
                call.endpoint_state = state.choose(call, self.hash_key, call.route.method, now, &call.ticket)
                session = None if call.endpoint_state is None else state._least_used(call.endpoint_state.sessions)
        try:
            if session is not None and (session.is_ready or not call._needs_ready):
                is_started = call.start_on(session, now)
        finally:
            if not is_started and call.endpoint_state is not None:
                call.undo()
        if not is_started:
            return state.runner.run(call)
        state.budget.count_call(call.started_ns)
        return call.end()

    # The verbs

    def call(self, method, /, *args, **kwargs):
        """Call a method and return its answer; blocks until it is there.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. It may
        take as many seconds as `with_options(timeout=)`, the method or `Timeouts.call` says, the first that is set.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer can be had now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot travel, or not with that size.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to the process before a fork.
        """
        return self.make(method, args, kwargs, VERB_CALL)

    def request(self, method, /, *args, **kwargs):
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Otherwise as `call`, errors included.
        """
        return self.make(method, args, kwargs, VERB_REQUEST)

    def notify(self, method, /, *args, **kwargs):
        """Call a method without an answer; returns when the bytes are handed over.

        Whether the handler ran, or failed, nobody hears; what stands in the way here raises as for `call`.
        """
        return self.make(method, args, kwargs, VERB_NOTIFY)

    def call_many(self, method, arguments, /, *, bint return_exceptions=False, **unknown):
        """Call a method once for each tuple of arguments: one write, answers in order.

        Without `return_exceptions` the first error is raised after all calls ended; with it errors stand in
        the list. The time of one `call` is there for all of them together.
        """
        try:
            return self._made_many(method, argument_tuples_of(arguments, unknown), return_exceptions)
        except FastRPCError as error:
            mark_own(error)
            raise

    cdef list _made_many(self, object method, list arguments, bint return_exceptions):
        cdef BlockingState state = <BlockingState>self.options.shared
        cdef BlockingBatch batch = BlockingBatch.__new__(BlockingBatch)
        cdef BlockingSession session = None
        cdef BatchMember first = BatchMember.__new__(BatchMember)
        cdef bint is_started = False
        state.check_use()
        if state.looks_for_loop:
            state.look_for_loop()
        batch.options = self.options
        batch.hash_key = self.hash_key
        batch.route = self.route_of(method)
        batch.argument_tuples = arguments
        batch.return_exceptions = return_exceptions
        if not batch.argument_tuples:
            return []
        self.options.apply_options(first, batch.route, now_ns())
        batch.started_ns = first.started_ns
        batch.deadline_ns = first.deadline_ns
        if not self.options.needs_runner and not state.needs_runner:
            if state.endpoint_set is None:
                session = state.pick(batch.started_ns)
            else:
                batch.endpoint_set = state.endpoint_set
                batch.endpoint_state = state.choose(
                    batch, self.hash_key, batch.route.method, batch.started_ns, &batch.ticket
                )
                session = None if batch.endpoint_state is None else state._least_used(batch.endpoint_state.sessions)
        try:
            if session is not None and (session.is_ready or not batch._needs_ready):
                is_started = batch.start_on(session)
        finally:
            if not is_started and batch.endpoint_state is not None:
                batch.endpoint_set.undo(batch.endpoint_state, batch.route.method, batch.ticket)
                batch.endpoint_state = None
        return batch.end() if is_started else state.runner.run_batch(batch)


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
        cdef bytes payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        self.options.apply_options(self, self.route, now)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        self.session = session
        self.wait = new_wait(1, self.deadline_ns)
        payload = self.options.pack(self, payload, session.peer, session.is_ready)
        return session.start(self, payload)

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
            is_done = session.wait_handed(self, self.wait) if self.verb == VERB_NOTIFY else session.wait(self.wait)
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
        attempt.sent_metadata = self.sent_metadata if self._metadata is None else encode_metadata(self._metadata)
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

        Nobody would hear that a notification was refused. Unknown before are how to compress, the number of an installed
        codec, and whether it takes that much metadata.
        """
        metadata = self.sent_metadata or self.options.sent_metadata
        if self._metadata is not None:
            metadata = encode_metadata(self._metadata)
        return (
            self.verb == VERB_NOTIFY
            or self.options.compressor is not None
            or self.route.marshal.codec_id >= FIRST_OWN_NUMBER
            or over_floor(metadata)
        )

    @property
    def draining(self):
        """Awaitable that is done once the server drains: on this side never, a call ends by itself."""
        return asyncio.Event().wait()

    async def sleep(self, double seconds):
        """Wait, in an interceptor: blocks the thread, as everything here does."""
        time.sleep(seconds)


@cython.final
cdef class BatchMember(PendingCall):
    """One call of a batch."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    cdef int settle(self) except -1:
        return self.wait.came()


@cython.final
cdef class BlockingBatch:
    """Many calls of one thread: one write, one wake-up."""

    cdef bint start_on(self, BlockingSession session) except -1:
        """Take all calls to a connection; False when that takes none any more."""
        cdef BatchMember member
        cdef Py_ssize_t i
        cdef bytes payload
        cdef uint64_t now = now_ns()
        cdef ViewOptions options = self.options
        cdef list payloads = [self.route.marshal.encode_arguments(given, None) for given in self.argument_tuples]
        self.session = session
        self.members = []
        self.wait = new_wait(len(payloads), self.deadline_ns)
        for i in range(len(payloads)):
            member = BatchMember.__new__(BatchMember)
            member.wait = self.wait
            member.deadline_ns = self.deadline_ns
            options.apply_options(member, self.route, now)
            member.names = self.route.marshal.names_at(len(<tuple>self.argument_tuples[i]))
            payload = options.pack(member, <bytes>payloads[i], session.peer, session.is_ready)
            payloads[i] = payload
            self.members.append(member)
        if not session.start_many(self.members, payloads):
            return False
        for _ in payloads:
            (<BlockingState>options.shared).budget.count_call(now)
        return True

    cdef list end(self):
        """Wait for all answers and return them; errors may be followed by another attempt."""
        cdef list values
        cdef object failure = None
        try:
            values = self.outcomes()
            failure = next((value for value in values if isinstance(value, FastRPCError)), None)
        except BaseException as error:
            failure = error
            raise
        finally:
            self.leave(failure)
        if failure is None:
            return values
        if self.session.is_left_behind:
            if self.return_exceptions:
                return values
            raise failure
        return (<BlockingState>self.options.shared).runner.finish_batch(self, values)

    cdef int leave(self, object error) except -1:
        """Tell the endpoint set what became of the attempt: what the first error says, the whole batch is one attempt."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        if self.session.is_left_behind:
            return self.endpoint_set.drop(endpoint_state, self.route.method, self.ticket)
        return self.endpoint_set.conclude(endpoint_state, self.route.method, self.ticket, self.started_ns, now_ns(), error)

    cdef list outcomes(self):
        """Wait for all answers to a started batch and return them, errors in place of those that failed."""
        cdef BatchMember member
        cdef list values = []
        try:
            if not self.session.wait(self.wait):
                self.session.give_up_all(self.members, True)
        except BaseException:
            self.session.give_up_all(self.members, False)
            raise
        for member in self.members:
            if member.failure is not None:
                values.append(member.failure)
                continue
            try:
                values.append(member.value())
            except FastRPCError as error:
                mark_own(error)
                values.append(error)
        self.members = None
        return values

    @property
    def _options(self):
        """Those of the client or view that made it."""
        return self.options

    @property
    def _size(self):
        """How many calls it is."""
        return len(self.argument_tuples)

    @property
    def _returns_errors(self):
        """Whether errors are results."""
        return self.return_exceptions

    def _attempt_on(self, BlockingSession session not None):
        """Start the batch on a connection, or return False; `_finish` has to follow."""
        return self.start_on(session)

    def _finish(self):
        """Return the answers to a batch that was started, errors in place of those that failed."""
        return self.outcomes()

    def _count_unsent(self, status):
        """Count calls that failed before a connection could be had, all of them."""
        cdef BatchMember member = BatchMember.__new__(BatchMember)
        member.route = self.route
        member.started_ns = self.started_ns
        for _ in self.argument_tuples:
            member._count_unsent(status)

    def _single(self, Py_ssize_t index):
        """Return one of the calls, to be made from its beginning."""
        cdef BlockingCall call = BlockingCall.__new__(BlockingCall)
        call.route = self.route
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = checked_item(self.argument_tuples, index)
        return call

    def _attempted(self, Py_ssize_t index):
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""
        cdef BlockingCall call = <BlockingCall>self._single(index)
        call.deadline_ns = self.deadline_ns
        self.options.apply_options(call, self.route, self.started_ns)
        call.session = self.session
        return call

    @property
    def arguments(self):
        """Those of its first call, which stand for the batch where it is placed by them."""
        return self.argument_tuples[0] if self.argument_tuples else ()

    @property
    def method(self):
        """Full name of the method."""
        return self.route.method

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        return (
            self.options.compressor is not None
            or self.route.marshal.codec_id >= FIRST_OWN_NUMBER
            or over_floor(self.options.sent_metadata)
        )

    @property
    def _elapsed(self):
        """How long the batch takes already."""
        return (now_ns() - self.started_ns) / 1e9

    @property
    def deadline(self):
        """Instant of `time.monotonic()` at which the batch ends, or None."""
        return None if self.deadline_ns == NO_DEADLINE else self.deadline_ns / 1e9
