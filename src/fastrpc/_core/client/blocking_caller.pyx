"""The compiled base of `SyncClient`: its verbs, the plain path of a call, and the batch of `call_many`.

::

    client.call(Arith.mul, 6, 7)      BlockingCaller.make     route → encoded arguments → BlockingSession.start
                                      BlockingSession.wait    this thread sends and receives, or another one for it
                                      BlockingCall.end        decodes the answer
    client.call_many(Arith.mul, […])  BlockingBatch           many calls at once, with a BlockingCall as their head

The runner (`fastrpc.client.blocking.call_runner`) does everything else: a missing connection, interceptors, a retry.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.batch_call cimport BatchCall
from fastrpc._core.client.blocking_call cimport BlockingCall
from fastrpc._core.client.blocking_session cimport BlockingSession
from fastrpc._core.client.blocking_state cimport BlockingState
from fastrpc._core.client.blocking_wait cimport new_wait
from fastrpc._core.client.call_errors cimport mark_own
from fastrpc._core.client.caller_view cimport VERB_CALL, VERB_NOTIFY, VERB_REQUEST, CallerView, argument_tuples_of
from fastrpc._core.client.caller_view cimport route_on, sends_stream
from fastrpc._core.client.client_call cimport ClientCall

from fastrpc.config_errors import shown_at_program
from fastrpc._core.client.batch_call import sent_failure
from fastrpc.errors import ConfigError, DeadlineExceededError, FastRPCError
from fastrpc.tracebacks import shortened


@cython.final
cdef class BlockingBatch(BatchCall):
    """The calls of a batch that a thread waits for."""

    cdef ClientCall new_call(self):
        return BlockingCall.__new__(BlockingCall)

    cdef bint start_on(self, BlockingCall head, BlockingSession session, Py_ssize_t unsent) except -1:
        """Pass all calls to a connection; False if it takes no more calls.

        `unsent` is the number of calls to count if the deadline has passed.
        """
        cdef CallingPart part = <CallingPart>session.engine.calling
        cdef Py_ssize_t i
        cdef bytes payload
        cdef list payloads, calls = [], sent = []
        head.route = route_on(head.route, session.engine)
        self.payloads = self.encoded(head.route)
        head.apply_options(head.route, now_ns(), unsent)
        head.session = session.engine
        head.shared_session = session
        head.wait = new_wait(1, head.deadline_ns)
        payloads = self.begin_members(head)
        for i in range(len(payloads)):
            payload = self.add_member(head, payloads[i], part.peer, part.is_settled, None)
            if payload is not None:
                calls.append(self.members[i])
                sent.append(payload)
        if not session.start(head, None, None, calls, sent):
            self.members = None
            return False
        for _ in payloads:
            head.options.shared.budget.count_call(head.started_ns)
        return True

    cdef list end(self, BlockingCall head):
        """Wait for all answers and return them; another attempt may follow errors."""
        cdef list values
        cdef object failure = None
        try:
            values = self.outcomes(head)
            failure = sent_failure(values)
        except BaseException as error:
            failure = error
            raise
        finally:
            head.conclude(failure)
        failure = next((value for value in values if isinstance(value, FastRPCError)), None)
        if failure is None:
            return values
        if head.shared_session.stream.is_left_behind:
            if self.returns_errors:
                return values
            raise failure
        return head.options.shared.runner.finish_batch(head, values)

    cdef list outcomes(self, BlockingCall head):
        """Wait for all answers to a started batch and return them; failed calls have their error."""
        cdef bint failed = False
        head.shared_session.await_answers(head.wait, head, self.members)
        return self.collected(None, &failed)

    # For the runner

    def attempt_on(self, BlockingCall head not None, BlockingSession session not None):
        """Start the batch on a connection, or return False; the caller has to call `finish` next."""
        self.check_head(head)
        return self.start_on(head, session, 0)

    def finish(self, BlockingCall head not None):
        """Return the answers to a batch that was started; failed calls have their error."""
        self.check_head(head)
        return self.outcomes(head)


cdef object _shown(object error):
    """Return the error of a call, to be raised where the program called."""
    mark_own(error)
    return shown_at_program(error) if isinstance(error, ConfigError) else shortened(error)


cdef class BlockingCaller(CallerView):
    """The compiled part of SyncClient: the methods whose speed matters."""

    cdef object make(self, object method, tuple args, dict kwargs, int verb):
        try:
            return self._made(method, args, kwargs, verb)
        except Exception as error:
            raise _shown(error)

    cdef object _made(self, object method, tuple args, dict kwargs, int verb):
        cdef BlockingState state = <BlockingState>self.options.shared
        cdef BlockingSession session
        cdef BlockingCall call
        cdef MethodRoute route
        cdef uint64_t now
        cdef bint is_started = False
        state.check_use(True)
        route = self.route_of(method)
        if sends_stream(route, args, kwargs):
            if verb == VERB_NOTIFY:
                raise TypeError(f"{route.method} takes a stream, which a notification cannot send: write client.call(…)")
            return state.runner.streams.call(self, route, args, kwargs, verb == VERB_REQUEST)
        call = BlockingCall.__new__(BlockingCall)
        call.set_request(route, self.options, self.hash_key, args, kwargs)
        call.verb = verb
        now = now_ns()
        session = self.place(call, now)
        try:
            if self.takes(session, call):
                is_started = call.start_on(session, now)
        finally:
            if not is_started:
                call.undo()
        if not is_started:
            return state.runner.run(call)
        state.budget.count_call(call.started_ns)
        return call.end()

    cdef bint takes(self, BlockingSession session, BlockingCall call) except -1:
        """Return whether a connection takes a call now; if not, the runner waits for a connection."""
        return session is not None and (session._is_ready() or not call._needs_ready)

    cdef BlockingSession place(self, BlockingCall call, uint64_t now):
        """Return the connection of a call; None if the runner has to choose first."""
        cdef BlockingState state = <BlockingState>self.options.shared
        if self.options.needs_runner or state.takes_slow_path() or not state.is_settled(now):
            return None
        if state.endpoint_set is None:
            return state.pick()
        call.endpoint_set = state.endpoint_set
        call.endpoint_state = state.endpoint_set.choose(call, self.hash_key, call.route.method, None, now, &call.ticket)
        return None if call.endpoint_state is None else state.least_used(call.endpoint_state.connections)

    # The verbs

    def call(self, method, /, *args, **kwargs):
        """Call a method, block until its answer comes, and return it.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. It may
        take as many seconds as `with_options(timeout=)`, the method or `Timeouts.call` says, the first that is set.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer is available now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot be encoded, or is too large.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to the process before a fork.
        """
        return self.make(method, args, kwargs, VERB_CALL)

    def request(self, method, /, *args, **kwargs):
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Like `call` in everything else, errors included.
        """
        return self.make(method, args, kwargs, VERB_REQUEST)

    def notify(self, method, /, *args, **kwargs):
        """Call a method without an answer; returns when the bytes are handed over.

        The caller does not learn whether the handler ran or failed; errors on this side are raised as for `call`.
        """
        return self.make(method, args, kwargs, VERB_NOTIFY)

    def call_many(self, method, arguments, /, *, bint return_exceptions=False, **unknown):
        """Call a method once for each tuple of arguments: one write, answers in order.

        Without `return_exceptions` the first error is raised after all calls ended; with it errors are in the list. All
        calls together have the time of one `call`.
        """
        try:
            return self._made_many(method, argument_tuples_of(arguments, unknown), return_exceptions)
        except Exception as error:
            raise _shown(error)

    cdef list _made_many(self, object method, list arguments, bint return_exceptions):
        cdef BlockingState state = <BlockingState>self.options.shared
        cdef BlockingSession session
        cdef BlockingBatch batch = BlockingBatch.__new__(BlockingBatch)
        cdef BlockingCall head
        cdef bint is_started = False
        state.check_use(True)
        head = <BlockingCall>batch.lead(
            self.route_of(method), self.options, self.hash_key, arguments, return_exceptions
        )
        if head.route.takes_stream:
            raise TypeError(
                f"{head.route.method} takes a stream: a batch cannot send one; write client.call(…) for each"
            )
        if not arguments:
            return []
        try:
            head.apply_options(head.route, now_ns(), len(arguments))
            session = self.place(head, head.started_ns)
            if self.takes(session, head):
                is_started = batch.start_on(head, session, len(arguments))
        except DeadlineExceededError as error:
            values = batch.too_late(error)
            if values is None:
                raise
            return values
        finally:
            if not is_started:
                head.undo()
        return batch.end(head) if is_started else state.runner.run_batch(head)
