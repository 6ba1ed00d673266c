"""The compiled base of `Client`: what one call goes through when nothing stands in its way.

::

    client.call(Arith.mul, 6, 7)        Caller.call        makes a ClientCall: a coroutine object, nothing is sent yet
    await …                             ClientCall.begin   route → encoded arguments → ClientSession.start → future
        (the answer comes)              ClientSession.on_response → settle → the future wakes the task
    …                                   ClientCall.resume  decodes the answer in the caller's own turn

Everything else — no connection yet, interceptors, a selector, a retry — is the runner's (`fastrpc.client`), a Python
coroutine this one delegates to. A loop's own C future is what the task waits on: tasks have a fast path for it.
"""

import asyncio

cimport cython
from cpython.ref cimport Py_INCREF, Py_REFCNT
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdint cimport uint8_t

from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_NEW
from fastrpc._core.calling.caller_view cimport (
    VERB_CALL, VERB_NOTIFY, VERB_REQUEST, argument_tuples_of, checked_item, count_start, fork_generation, over_floor, sends_stream
)
from fastrpc._core.calling.coroutine_call cimport RETURNED, make_awaitable
from fastrpc._core.calling.client_session cimport expire, next_usable
from fastrpc._core.framing.frame cimport CANCEL_LOST_HEDGE, ONE_WAY
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.payload.metadata cimport encode_metadata
from fastrpc._core.calling.pending_call cimport mark_own
from fastrpc._core.base.status cimport UNKNOWN
from fastrpc._core.framing.settings cimport FIRST_OWN_NUMBER
from fastrpc._core.base.wire cimport now_ns

from fastrpc._core.loop.loop_state import no_loop, wrong_loop
from fastrpc.errors import FastRPCError

cdef extern from "Python.h":
    object PyObject_Call(object function, object arguments, object options)
    unsigned long PyThread_get_thread_ident()

cdef enum:
    # Of batches; a client keeps no more of them, some 200 KiB.
    SPARE_MEMBERS = 512

cdef object Future = asyncio.Future
cdef object get_running_loop = asyncio._get_running_loop


@cython.final
cdef class CallerState(ViewState):
    """What a client and its views share."""

    def __init__(self, runner, resolve, RetryBudget budget not None, EndpointSet endpoint_set=None):
        ViewState.__init__(self, resolve)
        self.runner = runner
        self.budget = budget
        self.endpoint_set = endpoint_set
        self.sessions = []
        self.spare = []

    cdef ClientSession pick(self):
        """The next connection in turn that takes calls, or None."""
        return next_usable(self.sessions, &self.turn)

    cdef BatchMember new_member(self):
        return <BatchMember>self.spare.pop() if self.spare else <BatchMember>BatchMember.__new__(BatchMember)

    cdef int take_back(self, list members) except -1:
        """Keep members of a batch that ended, so that the next one allocates none; `members` is given up."""
        cdef BatchMember member
        while members and len(self.spare) < SPARE_MEMBERS:
            member = <BatchMember>members.pop()
            if Py_REFCNT(member) == 1 and member.make_new():
                self.spare.append(member)
        return 0

    def set_sessions(self, sessions):
        """Replace the connections that calls may go out on."""
        cdef list checked = list(sessions)
        for session in checked:
            if not isinstance(session, ClientSession):
                raise TypeError(f"a connection is {session!r}, it must be a ClientSession")
        self.sessions = checked

    cdef int check_use(self) except -1:
        # Only one loop runs in a thread, so ours runs here exactly when it runs and the thread is its own. Asking for
        # the running loop instead costs a system call on Python 3.11.
        if (
            self.fork_generation == fork_generation()
            and self.thread == PyThread_get_thread_ident()
            and self.is_running()
        ):
            return 0
        loop = get_running_loop()
        if loop is None:
            raise no_loop("Client")
        if self.fork_generation == 0:
            self.fork_generation = fork_generation()
            self.thread = PyThread_get_thread_ident()
            self.loop = loop
            self.is_running = loop.is_running
            self.future_options = {"loop": loop}
            try:
                self.runner.first_use(loop)
            except BaseException:
                # A registry refused to be watched: the next use asks it again.
                self.fork_generation = 0
                self.loop = None
                raise
            return 0
        if self.fork_generation != fork_generation():
            raise RuntimeError("this Client was used before the fork; create it in the child")
        if self.loop is loop:
            self.thread = PyThread_get_thread_ident()
            return 0
        raise wrong_loop("Client", self.loop, loop)

    @property
    def is_of_parent(self):
        """Whether the client was used, and that was before a fork."""
        return self.fork_generation not in (0, fork_generation())

    def use(self):
        """Bind to the running loop, or refuse another one.

        Raises:
            RuntimeError: the client was used in another loop, or before a fork.
        """
        self.check_use()


cdef class Caller(CallerView):
    """The compiled part of Client: the verbs whose every call counts."""

    @property
    def _state(self):
        """What the client and its views share."""
        return self.options.shared

    cdef ClientCall new_call(self, object method, tuple args, dict kwargs, int verb):
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.route = self.route_of(method)
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = args
        call.kwargs = kwargs
        call.verb = verb
        return call

    # The verbs

    def call(self, method, /, *args, **kwargs):
        """Call a method and return its answer.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. It may
        take as many seconds as `with_options(timeout=)`, the method or `Timeouts.call` says, the first that is set.
        What is returned is a coroutine: nothing is sent before it is awaited.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer can be had now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot travel, or not with that size.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to another loop, or to the process before a fork.
        """
        return self.new_call(method, args, kwargs, VERB_CALL)

    def request(self, method, /, *args, **kwargs):
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Otherwise as `call`, errors included.
        """
        return self.new_call(method, args, kwargs, VERB_REQUEST)

    def notify(self, method, /, *args, **kwargs):
        """Call a method without an answer; done when the bytes are handed over.

        Whether the handler ran, or failed, nobody hears; what stands in the way here raises as for `call`.
        """
        return self.new_call(method, args, kwargs, VERB_NOTIFY)

    def call_many(self, method, arguments, /, *, bint return_exceptions=False, **unknown):
        """Call a method once for each tuple of arguments: one write, one wake-up, answers in order.

        Without `return_exceptions` the first error is raised after all calls ended; with it errors stand in
        the list. The time of one `call` is there for all of them together.
        """
        cdef list given = argument_tuples_of(arguments, unknown)
        cdef BatchCall batch = BatchCall.__new__(BatchCall)
        batch.route = self.route_of(method)
        batch.options = self.options
        batch.hash_key = self.hash_key
        batch.argument_tuples = given
        batch.return_exceptions = return_exceptions
        return batch


cdef class PickedCall(CoroutineCall):
    """What the endpoint set gave a place, one call or a batch of them: it hears once what became of that."""

    @property
    def _options(self):
        """Those of the client or view that made it."""
        return self.options

    @property
    def _is_attempt(self):
        """Whether it is an attempt of another call."""
        return self.is_attempt

    @cython.final
    @cython.nonecheck(False)
    cdef ClientSession place(self, EndpointSet endpoint_set, uint64_t now):
        """Return the session of the endpoint picked for the call; None if the runner has to connect first."""
        self.endpoint_state = endpoint_set.choose(self, self.hash_key, self.route.method, None, now, &self.ticket)
        return None if self.endpoint_state is None else next_usable(self.endpoint_state.sessions, &self.endpoint_state.turn)

    @cython.final
    @cython.nonecheck(False)
    cdef int leave(self, object error, uint64_t ended_ns) except -1:
        """Tell the endpoint set what became of the attempt."""
        cdef EndpointState endpoint_state = self.endpoint_state
        self.endpoint_state = None
        return (<CallerState>self.options.shared).endpoint_set.conclude(
            endpoint_state, self.route.method, self.ticket, self.started_ns, ended_ns, error
        )

    @cython.final
    cdef int drop(self) except -1:
        """Take the attempt back, if the endpoint set knows of one."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        return (<CallerState>self.options.shared).endpoint_set.drop(endpoint_state, self.route.method, self.ticket)

    @cython.final
    cdef int undo(self) except -1:
        """Take the pick back: it led to no connection, or to no attempt."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        return (<CallerState>self.options.shared).endpoint_set.undo(endpoint_state, self.route.method, self.ticket)


@cython.final
cdef class ClientCall(PickedCall):
    """What `client.call`, `request` and `notify` return: awaiting it makes the call."""

    cdef int begin(self, PyObject** result) except -1:
        cdef ViewOptions options = self.options
        cdef CallerState state = <CallerState>options.shared
        cdef ClientSession session = self.session
        cdef uint64_t now
        state.check_use()
        now = now_ns()
        if sends_stream(self.route, self.args, self.kwargs):
            return self.delegate(state.runner.run(self), result)
        if session is None and not options.needs_runner and not state.needs_runner:
            session = state.pick() if state.endpoint_set is None else self.place(state.endpoint_set, now)
        if session is None or (not session.is_ready and not self.is_attempt and self._needs_ready):
            self.undo()
            return self.delegate(state.runner.run(self), result)
        try:
            self.send_on(session, now)
        except BaseException as error:
            self.undo()
            mark_own(error)
            raise
        if self.verb == VERB_NOTIFY:
            # That it was handed over says nothing about who is to run it.
            self.drop()
            Py_INCREF(None)
            result[0] = <PyObject*>None
            return RETURNED
        return self.wait(result)

    cdef bytes prepare(self, uint64_t now):
        """Give the call its options and encode its arguments."""
        cdef bytes payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        self.options.apply_options(self, self.route, now)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        return payload

    cdef int send_on(self, ClientSession session, uint64_t now) except -1:
        """Send on a connection; the call keeps what it needs for another attempt."""
        cdef bytes payload = self.prepare(now)
        self.session = session
        if not self.is_attempt:
            (<CallerState>self.options.shared).budget.count_call(self.started_ns)
        if self.verb != VERB_NOTIFY:
            self.future = PyObject_Call(Future, (), (<CallerState>self.options.shared).future_options)
        try:
            payload = self.options.pack(self, payload, session.peer, session.is_ready)
            count_start(self, payload)
            session.now = self.started_ns
            session.start(self, payload)
        except BaseException as error:
            self.forget(error.status if isinstance(error, FastRPCError) else UNKNOWN)
            raise
        if self.verb == VERB_NOTIFY:
            self.is_settled = True
            self._count(0, self.started_ns)
        return 0

    cdef int settle(self) except -1:
        # Here and not where the task goes on: it may never do that.
        try:
            if self.endpoint_state is not None:
                self.leave(self.failure, self.ended_ns)
        finally:
            CoroutineCall.settle(self)
        return 0

    cdef int resume(self, PyObject** result) except -1:
        cdef object value
        if self.failure is not None:
            inner = None if self.is_attempt else (<CallerState>self.options.shared).runner.retry(self, self.failure)
            if inner is not None:
                return self.delegate(inner, result)
            try:
                raise self.failure
            finally:
                self.failure = None
        if self.answer_compressor:
            return self.delegate((<CallerState>self.options.shared).runner.unpack(self), result)
        try:
            value = self.finish()
        except FastRPCError as error:
            mark_own(error)
            raise
        Py_INCREF(value)
        result[0] = <PyObject*>value
        return RETURNED

    cdef object finish(self):
        value = self.value()
        if self.verb == VERB_REQUEST:
            return (<CallerState>self.options.shared).runner.reply(self, value)
        return value

    cdef int abandon(self, int reason) except -1:
        self.forget()
        if self.endpoint_state is not None:
            self.leave(asyncio.CancelledError(), self.ended_ns)
        return self.session.abandon(self, CANCEL_LOST_HEDGE if self.has_lost else reason)

    cdef int on_timer(self) except -1:
        """The deadline passed."""
        if not self.is_settled:
            expire(self, self.session)
        return 0

    def sleep(self, seconds):
        """Wait, in an interceptor."""
        return asyncio.sleep(seconds)

    # For the runner

    @property
    def _streamed(self):
        """The arguments by position and by name where one of them is a stream of messages, else None."""
        return (self.args, self.kwargs) if sends_stream(self.route, self.args, self.kwargs) else None

    def _finish_unpacked(self):
        """Return what the answer stands for, now that it is decompressed."""
        if self.answer is None or self.answer_compressor:
            raise RuntimeError(f"the answer of {self.route.method} is not there, or not decompressed")
        return self.finish()

    def _start_clock(self):
        """Give the call its options and deadline before any attempt; raises when no time is left."""
        self.options.apply_options(self, self.route, now_ns())
        (<CallerState>self.options.shared).budget.count_call(self.started_ns)

    def _attempt_on(self, ClientSession session not None, int number):
        """Return a coroutine that makes attempt `number` of this call on a connection, within the call's deadline."""
        cdef ClientCall attempt = ClientCall.__new__(ClientCall)
        attempt.route = self.route
        attempt.options = self.options
        attempt.hash_key = self.hash_key
        attempt.args = self.args
        attempt.kwargs = self.kwargs
        # The answer is wrapped once, around all attempts and interceptors.
        attempt.verb = VERB_CALL if self.verb == VERB_REQUEST else self.verb
        attempt.session = session
        attempt.is_attempt = True
        attempt.deadline_ns = self.deadline_ns
        attempt.began_ns = self.started_ns
        attempt.attempt_number = <uint8_t>min(number, 255)
        attempt.sent_metadata = self.sent_metadata if self._metadata is None else encode_metadata(self._metadata)
        return attempt

    def _lose(self):
        """Note that another attempt was faster: when this one is cancelled, the server is told why."""
        self.has_lost = True

    def _adopt(self, ClientCall attempt not None):
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
        return (<CallerState>self.options.shared).runner.peer(self)

    @property
    def retry_policy(self):
        """The rules and the budget of its client."""
        return (<CallerState>self.options.shared).runner.policy

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


@cython.final
cdef class BatchMember(PendingCall):
    """One call of a batch."""

    def __dealloc__(self):
        if self.is_counted:
            self.count_unread()

    cdef bint make_new(self) noexcept:
        """Become as good as new, if the call went the plain way; what `copy_options` and the table set may stay."""
        if self.failure is not None or self.compressor or self.batch is not None or not self.is_plain():
            return False
        self.id = 0
        self.state = STATE_NEW
        self.handed_at = 0
        self.is_settled = False
        self.answer = None
        self.early_request = None
        self.route = None
        self.numbers = None
        self.ended_ns = 0
        return True

    cdef int settle(self) except -1:
        cdef BatchCall batch = self.batch
        # The batch holds its members: an answer that nobody reads must not hold the batch.
        self.batch = None
        batch.missing -= 1
        if batch.missing == 0:
            batch.settle()
        return 0


@cython.final
cdef class BatchCall(PickedCall):
    """What `client.call_many` returns: many calls, one write, one wake-up."""

    cdef int begin(self, PyObject** result) except -1:
        cdef ViewOptions options = self.options
        cdef CallerState state = <CallerState>options.shared
        cdef ClientSession session = self.session
        state.check_use()
        if not self.argument_tuples:
            value = []
            Py_INCREF(value)
            result[0] = <PyObject*>value
            return RETURNED
        if session is None and not options.needs_runner and not state.needs_runner and not self.route.takes_stream:
            session = state.pick() if state.endpoint_set is None else self.place(state.endpoint_set, now_ns())
        if session is None or (not session.is_ready and not self.is_attempt and self._needs_ready):
            self.undo()
            return self.delegate(state.runner.run_batch(self), result)
        self.session = session
        self.future = PyObject_Call(Future, (), state.future_options)
        try:
            self._send()
        except BaseException as error:
            self.undo()
            mark_own(error)
            raise
        return self.wait(result)

    def _send(self):
        cdef BatchMember member
        cdef ViewOptions options = self.options
        cdef bytes payload
        cdef Py_ssize_t i
        cdef ClientSession session = self.session
        cdef Marshal marshal = self.route.marshal
        cdef list payloads = [marshal.encode_arguments(given, None) for given in self.argument_tuples]
        options.apply_options(self, self.route, now_ns())
        self.members = []
        self.missing = len(payloads)
        session.now = self.started_ns
        for i in range(len(payloads)):
            (<CallerState>options.shared).budget.count_call(self.started_ns)
            member = (<CallerState>options.shared).new_member()
            member.batch = self
            options.copy_options(member, self)
            member.names = marshal.names_at(PyTuple_GET_SIZE(<tuple>self.argument_tuples[i]))
            self.members.append(member)
            try:
                payload = options.pack(member, <bytes>payloads[i], session.peer, session.is_ready)
                count_start(member, payload)
                session.send(member, payload)
            except FastRPCError as error:
                # The others are on their way: this one's error is its result.
                member.failed(error)
        if self.deadline_ns != NO_DEADLINE and self.missing:
            session.loop_state.start_timer(self, self.deadline_ns)

    cdef int settle(self) except -1:
        cdef BatchMember member
        self.session.loop_state.stop_timer(self)
        try:
            if self.endpoint_state is not None:
                # The whole batch is one attempt: what it says of the endpoint is what its first error says.
                for member in self.members:
                    if member.failure is not None:
                        self.leave(member.failure, now_ns())
                        break
                else:
                    self.leave(None, now_ns())
        finally:
            CoroutineCall.settle(self)
        return 0

    cdef int on_timer(self) except -1:
        cdef BatchMember member
        for member in self.members:
            if not member.is_settled:
                expire(member, self.session)
        return 0

    cdef int resume(self, PyObject** result) except -1:
        cdef BatchMember member
        cdef list values
        cdef bint failed = False, is_packed = False
        for member in self.members:
            is_packed |= member.answer_compressor != 0
        member = None
        if is_packed and self._packed():
            return self.delegate((<CallerState>self.options.shared).runner.unpack_batch(self), result)
        values = self._collected(&failed)
        if failed and not self.is_attempt:
            return self.delegate((<CallerState>self.options.shared).runner.finish_batch(self, values), result)
        Py_INCREF(values)
        result[0] = <PyObject*>values
        return RETURNED

    def _packed(self):
        """Those of its calls whose answers are not decompressed yet."""
        cdef BatchMember member
        cdef list found = []
        for member in self.members or ():
            if member.answer_compressor and member.failure is None:
                found.append(member)
        return found

    def _collect(self):
        """Return what its calls stand for, errors in place of values; once."""
        cdef bint failed = False
        if self.members is None or self.missing:
            raise RuntimeError(f"the answers of {self.route.method} are not there, or were collected")
        return self._collected(&failed)

    cdef list _collected(self, bint* failed):
        cdef BatchMember member
        cdef list values = []
        for member in self.members:
            if member.failure is not None:
                failed[0] = True
                values.append(member.failure)
                continue
            try:
                values.append(member.value())
            except FastRPCError as error:
                failed[0] = True
                mark_own(error)
                values.append(error)
        member = None
        (<CallerState>self.options.shared).take_back(self.members)
        self.members = None
        return values

    cdef int abandon(self, int reason) except -1:
        cdef BatchMember member
        self.session.loop_state.stop_timer(self)
        if self.endpoint_state is not None:
            self.leave(asyncio.CancelledError(), now_ns())
        for member in self.members:
            if not member.is_settled:
                member.forget()
                self.session.abandon(member, reason)
        self.members = None
        return 0

    @property
    def arguments(self):
        """Those of its first call, which stand for the batch where it is placed by them."""
        return self.argument_tuples[0] if self.argument_tuples else ()

    def _start_clock(self):
        """Give the batch its deadline before there is a connection; raises when no time is left."""
        self.options.apply_options(self, self.route, now_ns())

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings, as a call does."""
        return (
            self.options.compressor is not None
            or self.route.marshal.codec_id >= FIRST_OWN_NUMBER
            or over_floor(self.options.sent_metadata)
        )

    @property
    def _size(self):
        """How many calls it is."""
        return len(self.argument_tuples)

    @property
    def _returns_errors(self):
        """Whether errors are results."""
        return self.return_exceptions

    def _single(self, Py_ssize_t index):
        """Return a coroutine that makes one of the calls by itself, within the batch's deadline."""
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.route = self.route
        call.options = self.options
        call.hash_key = self.hash_key
        call.args = checked_item(self.argument_tuples, index)
        call.deadline_ns = self.deadline_ns
        return call

    def _attempted(self, Py_ssize_t index):
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.args = checked_item(self.argument_tuples, index)
        self.options.copy_options(call, self)
        call.options = self.options
        call.hash_key = self.hash_key
        call.session = self.session
        # It was awaited already, as part of the batch.
        call.close()
        return call

    def _attempt_on(self, ClientSession session not None):
        """Return a coroutine that makes the whole batch on a connection and gives errors in place of values."""
        cdef BatchCall attempt = BatchCall.__new__(BatchCall)
        attempt.route = self.route
        attempt.options = self.options
        attempt.hash_key = self.hash_key
        attempt.argument_tuples = self.argument_tuples
        attempt.session = session
        attempt.deadline_ns = self.deadline_ns
        attempt.is_attempt = True
        self.session = session
        return attempt


make_awaitable(ClientCall)
make_awaitable(BatchCall)
