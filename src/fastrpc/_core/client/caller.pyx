"""The compiled base of `Client`: its verbs, the plain path of a call, and the batch of `call_many`.

::

    client.call(Arith.mul, 6, 7)        Caller.call         makes an AwaitedCall: a coroutine object, nothing is sent yet
    await …                             AwaitedCall.begin   with a connection at hand: encodes and sends at once
                                        CallerState.runner  otherwise
    client.call_many(Arith.mul, […])    AwaitedBatch        many calls at once, with an AwaitedCall as their head

The runner (`fastrpc.client`) is a Python coroutine. A call delegates to it to connect, for interceptors, for selectors
that are no compiled ones, and to retry.
"""

import asyncio

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_Call

from fastrpc._core.balancing.breaker cimport RetryBudget
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, MethodRoute
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.awaited_call cimport expire as expire_one
from fastrpc._core.client.awaited_call cimport AwaitedCall, give
from fastrpc._core.client.batch_call cimport BatchCall, BatchMember
from fastrpc._core.client.call_errors cimport mark_own
from fastrpc._core.client.caller_state cimport CallerState
from fastrpc._core.client.caller_view cimport VERB_CALL, VERB_NOTIFY, VERB_REQUEST, CallerView, ViewOptions
from fastrpc._core.client.caller_view cimport argument_tuples_of, route_on
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.turns cimport SLICED_ABOVE

from fastrpc.errors import FastRPCError

cdef object Future = asyncio.Future


@cython.final
cdef class AwaitedBatch(BatchCall):
    """The calls of a batch that a task awaits. Its members share one timer, and the next batch reuses them."""

    cdef ClientCall new_call(self):
        return AwaitedCall.__new__(AwaitedCall)

    cdef int begin(self, ClientCall call, PyObject** result) except -1:
        cdef AwaitedCall head = <AwaitedCall>call
        cdef ViewOptions options = head.options
        cdef CallerState state = <CallerState>options.shared
        cdef Engine session = head.session
        state.check_use()
        if not self.argument_tuples:
            return give([], result)
        if session is None and not options.needs_runner and not head.route.takes_stream and not state.takes_slow_path():
            session = state.pick() if state.endpoint_set is None else head.place(now_ns())
        if session is None or (not (<CallingPart>session.calling).is_settled and not head.is_attempt and head._needs_ready):
            head.undo()
            return head.delegate(state.runner.run_batch(head), result)
        if options.compressor is not None and not head.is_attempt and self.is_long(head):
            head.undo()
            return head.delegate(state.runner.run_singles(head), result)
        head.session = session
        head.future = PyObject_Call(Future, (), state.future_options)
        try:
            self._send(head)
        except BaseException as error:
            head.undo()
            mark_own(error)
            values = None if head.is_attempt else self.too_late(error)
            if values is None:
                raise
            return give(values, result)
        return head.wait(result)

    cdef int _send(self, AwaitedCall head) except -1:
        cdef BatchMember member
        cdef CallerState state = <CallerState>head.options.shared
        cdef RetryBudget budget = state.budget
        cdef Engine session = head.session
        cdef CallingPart part = <CallingPart>session.calling
        cdef MethodRoute route = head.route
        cdef list payloads
        cdef bytes payload
        cdef Py_ssize_t i
        head.route = route_on(route, session)
        if head.route is not route:
            # `is_long` may have encoded the arguments for the protocol of another connection.
            self.payloads = None
        if self.payloads is None:
            # Arguments are encoded before the deadline is set and the calls are counted: an encoding error changes
            # neither.
            self.payloads = self.encoded(head.route)
        # The code that makes an attempt counts its unsent calls.
        head.apply_options(head.route, now_ns(), 0 if head.is_attempt else len(self.payloads))
        payloads = self.begin_members(head)
        session.now = head.started_ns
        for i in range(len(payloads)):
            budget.count_call(head.started_ns)
            payload = self.add_member(head, payloads[i], part.peer, part.is_settled, state.spare)
            if payload is None:
                continue
            member = <BatchMember>self.members[i]
            try:
                member.count_start(payload)
                part.send(member, payload)
            except FastRPCError as error:
                # The other calls continue: this error is the result of this call alone.
                member.failed(error)
        if head.deadline_ns != NO_DEADLINE and self.missing:
            part.loop_state.start_timer(head, head.deadline_ns)
        return 0

    cdef int settle(self, ClientCall call) except -1:
        cdef AwaitedCall head = <AwaitedCall>call
        (<CallingPart>head.session.calling).loop_state.stop_timer(head)
        try:
            if head.endpoint_state is not None:
                head.leave(self.first_failure(), now_ns())
        finally:
            head.wake()
        return 0

    cdef int expire(self, ClientCall head) except -1:
        cdef BatchMember member
        for member in self.members:
            if not member.is_settled:
                expire_one(member, head.session)
        return 0

    cdef int resume(self, ClientCall call, PyObject** result) except -1:
        cdef AwaitedCall head = <AwaitedCall>call
        cdef CallerState state = <CallerState>head.options.shared
        cdef BatchMember member
        cdef list values
        cdef bint failed = False, is_packed = False
        for member in self.members:
            is_packed |= member.answer_compressor != 0
        member = None
        if is_packed and self.packed():
            return head.delegate(state.runner.unpack_batch(head), result)
        values = self.collected(state.spare, &failed)
        if failed and not head.is_attempt:
            return head.delegate(state.runner.finish_batch(head, values), result)
        return give(values, result)

    cdef int abandon(self, ClientCall head, int reason) except -1:
        cdef BatchMember member
        (<CallingPart>head.session.calling).loop_state.stop_timer(head)
        if head.endpoint_state is not None:
            head.leave(asyncio.CancelledError(), now_ns())
        for member in self.members:
            if not member.is_settled:
                member.forget()
                (<CallingPart>head.session.calling).abandon(member, reason)
        self.members = None
        return 0

    # For the runner

    def is_long(self, AwaitedCall head not None):
        """Return whether its arguments are long enough for compression in slices: each call is then made separately."""
        self.check_head(head)
        if head.options.compressor is None:
            return False
        if self.payloads is None:
            self.payloads = self.encoded(head.route)
        return any([isinstance(one, bytes) and PyBytes_GET_SIZE(<bytes>one) > SLICED_ABOVE for one in self.payloads])

    def packed(self):
        """Return the calls whose answers are still compressed."""
        cdef BatchMember member
        cdef list found = []
        for member in self.members or ():
            if member.answer_compressor and member.failure is None:
                found.append(member)
        return found

    def collect(self, AwaitedCall head not None):
        """Return the results of the calls, with errors in place of values. Can be called once."""
        cdef bint failed = False
        self.check_head(head)
        if self.members is None or self.missing:
            raise RuntimeError(f"the answers of {head.method} are missing, or were collected")
        return self.collected((<CallerState>head.options.shared).spare, &failed)

    def attempted(self, ClientCall head not None, Py_ssize_t index):
        """Return one of the calls for the runner to continue; the batch made its first attempt."""
        call = BatchCall.attempted(self, head, index)
        # The call was awaited already, as part of the batch.
        call.close()
        return call

    def attempt_on(self, AwaitedCall head not None, Engine session not None):
        """Return a coroutine that makes all calls on a connection and returns the results; errors replace values."""
        cdef AwaitedBatch batch = AwaitedBatch.__new__(AwaitedBatch)
        cdef ClientCall attempt
        self.check_head(head)
        attempt = batch.lead(head.route, head.options, head.hash_key, self.argument_tuples, self.returns_errors)
        attempt.session = head.session = session
        attempt.deadline_ns = head.deadline_ns
        attempt.is_attempt = True
        return attempt


cdef class Caller(CallerView):
    """The compiled part of Client: the methods whose speed matters."""

    cdef AwaitedCall new_call(self, object method, tuple args, dict kwargs, int verb):
        cdef AwaitedCall call = AwaitedCall.__new__(AwaitedCall)
        call.set_request(self.route_of(method), self.options, self.hash_key, args, kwargs)
        call.verb = verb
        return call

    # The verbs

    def call(self, method, /, *args, **kwargs):
        """Call a method and return its answer.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. Its time
        is limited by `with_options(timeout=)`, the method's timeout or `Timeouts.call`, the first of them that is set.
        `call` returns a coroutine: nothing is sent before it is awaited.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer is available now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot be encoded, or is too large.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to another loop, or to the process before a fork.
        """
        return self.new_call(method, args, kwargs, VERB_CALL)

    def request(self, method, /, *args, **kwargs):
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Like `call` in everything else, errors included.
        """
        return self.new_call(method, args, kwargs, VERB_REQUEST)

    def notify(self, method, /, *args, **kwargs):
        """Call a method without an answer; done when the bytes are handed over.

        The caller does not learn whether the handler ran or failed; errors on this side are raised as for `call`.
        """
        return self.new_call(method, args, kwargs, VERB_NOTIFY)

    def call_many(self, method, arguments, /, *, bint return_exceptions=False, **unknown):
        """Call a method once for each tuple of arguments: one write, one wake-up, answers in order.

        Without `return_exceptions` the first error is raised after all calls ended; with it errors are in the list. All
        calls together have the time of one `call`.
        """
        cdef list given = argument_tuples_of(arguments, unknown)
        cdef AwaitedBatch batch = AwaitedBatch.__new__(AwaitedBatch)
        return batch.lead(self.route_of(method), self.options, self.hash_key, given, return_exceptions)
