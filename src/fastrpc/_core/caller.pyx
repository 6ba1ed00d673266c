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
import collections.abc
import os
import types
import warnings

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t

from fastrpc._core.call cimport NO_DEADLINE, Scope, current_scope
from fastrpc._core.frame cimport CANCEL_DEADLINE, CANCEL_USER, IDEMPOTENT, ONE_WAY
from fastrpc._core.metadata cimport encode_metadata
from fastrpc._core.wire cimport now_ns

from fastrpc.errors import DeadlineExceededError, FastRPCError

cdef extern from *:
    """
    /* Awaiting a call costs no StopIteration object: its types answer PyIter_Send directly. */
    static int (*fastrpc_step)(PyObject *, PyObject *, PyObject **);

    static PySendResult fastrpc_send(PyObject *self, PyObject *value, PyObject **result)
    {
        int done;
        *result = NULL;
        done = fastrpc_step(self, value, result);
        return done < 0 ? PYGEN_ERROR : done == 1 ? PYGEN_RETURN : PYGEN_NEXT;
    }

    static int fastrpc_install_send(PyObject *type, int (*step)(PyObject *, PyObject *, PyObject **))
    {
        PyTypeObject *object = (PyTypeObject *)type;
        if (object->tp_as_async == NULL) {
            PyErr_SetString(PyExc_SystemError, "the type has no async slots");
            return -1;
        }
        fastrpc_step = step;
        object->tp_as_async->am_send = fastrpc_send;
        PyType_Modified(object);
        return 0;
    }
    """
    int install_send "fastrpc_install_send"(object type, int (*step)(PyObject*, PyObject*, PyObject**) except -1) except -1

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    object PyObject_Call(object function, object arguments, object options)
    unsigned long PyThread_get_thread_ident()
    PySendResult PyIter_Send(object iterator, object value, PyObject** result) except PYGEN_ERROR

cdef enum:
    # What became of one step.
    RETURNED = 1
    YIELDED = 2

cdef enum:
    PHASE_NEW = 0
    PHASE_WAITING = 1
    PHASE_DELEGATING = 2
    PHASE_CLOSED = 3

cdef enum:
    VERB_CALL = 0
    VERB_REQUEST = 1
    VERB_NOTIFY = 2

cdef enum:
    # A compressed answer above this is decompressed in slices, so that other tasks get their turn.
    UNPACKED_AT_ONCE = 4096

cdef object Future = asyncio.Future
cdef object get_running_loop = asyncio._get_running_loop
cdef object MethodType = types.MethodType

# Raised in a child by each fork; what was used before refuses to be used after.
cdef uint64_t fork_generation = 1


def _forked():
    global fork_generation
    fork_generation += 1


os.register_at_fork(after_in_child=_forked)


@cython.final
cdef class CallerState:
    """What a client and its views share."""

    def __init__(self, runner, resolve):
        self.runner = runner
        self.resolve = resolve
        self.compressors = {}
        self.sessions = []
        self.routes = {}

    cdef ClientSession pick(self):
        """The next connection in turn that takes calls, or None."""
        cdef ClientSession session
        cdef Py_ssize_t count = len(self.sessions), i
        for i in range(count):
            self.turn += 1
            if self.turn >= count:
                self.turn = 0
            session = <ClientSession>self.sessions[self.turn]
            if session.is_usable:
                return session
        return None

    def set_sessions(self, sessions):
        """Replace the connections that calls may go out on."""
        self.sessions = list(sessions)

    cdef int check_use(self) except -1:
        # Only one loop runs in a thread, so ours runs here exactly when it runs and the thread is its own. Asking for
        # the running loop instead costs a system call on Python 3.11.
        if (
            self.fork_generation == fork_generation
            and self.thread == PyThread_get_thread_ident()
            and self.is_running()
        ):
            return 0
        loop = get_running_loop()
        if loop is None:
            raise RuntimeError("a Client needs a running event loop; use SyncClient without one")
        if self.fork_generation == 0:
            self.fork_generation = fork_generation
            self.thread = PyThread_get_thread_ident()
            self.loop = loop
            self.is_running = loop.is_running
            self.future_options = {"loop": loop}
            self.runner.first_use(loop)
            return 0
        if self.fork_generation != fork_generation:
            raise RuntimeError("this Client was used before the fork; create it in the child")
        if self.loop is loop:
            self.thread = PyThread_get_thread_ident()
            return 0
        raise RuntimeError(f"this Client belongs to {self.loop!r} and was used from {loop!r}")

    def use(self):
        """Bind to the running loop, or refuse another one.

        Raises:
            RuntimeError: the client was used in another loop, or before a fork.
        """
        self.check_use()

    def routes_of(self, codec):
        """The {method: Route} of a codec; it fills as methods are called."""
        return self.routes.setdefault(codec, {})


cdef class Caller:
    """The compiled part of Client: the verbs whose every call counts."""

    def __cinit__(self, *arguments, **options):
        self.timeout_ns = 0

    def share(self, CallerState state not None, str codec not None):
        """Become the front of a state, with no options of its own."""
        self.state = state
        self.codec = codec
        self.routes = state.routes_of(codec)

    def derive(self, Caller base not None, dict options):
        """Become a view of `base`: what `options` leaves out is inherited."""
        self.state = base.state
        self.codec = options.get("codec") or base.codec
        self.routes = self.state.routes_of(self.codec)
        self.has_timeout = base.has_timeout
        self.timeout_ns = base.timeout_ns
        if "timeout" in options:
            self.has_timeout = True
            seconds = options["timeout"]
            self.timeout_ns = 0 if seconds is None else max(1, int(seconds * 1e9))
        self.metadata = base.metadata
        if options.get("metadata"):
            self.metadata = {**(base.metadata or {}), **options["metadata"]}
        elif "metadata" in options and options["metadata"] is None:
            self.metadata = None
        self.sent_metadata = encode_metadata(self.metadata) if self.metadata else None
        self.compressor = options.get("compressor", base.compressor)
        self.priority = options.get("priority", base.priority)
        self.idempotent = options.get("idempotent", base.idempotent)
        self.wait_for_ready = options.get("wait_for_ready", base.wait_for_ready)
        self.fail_mode = options.get("fail_mode", base.fail_mode)
        self.hash_key = options.get("hash_key", base.hash_key)
        self.endpoint = options.get("endpoint", base.endpoint)
        self.needs_runner = (
            self.wait_for_ready or self.fail_mode is not None or self.hash_key is not None or self.endpoint is not None
        )

    cdef Route route_of(self, object method):
        cdef PyObject* found
        if type(method) is MethodType:
            method = method.__func__
        found = PyDict_GetItem(self.routes, method)
        if found is not NULL:
            return <Route>found
        route = self.state.resolve(method, self.codec)
        self.routes[method] = route
        return <Route>route

    cdef ClientCall new_call(self, object method, tuple args, dict kwargs, int verb):
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.route = self.route_of(method)
        call.caller = self
        call.args = args
        call.kwargs = kwargs
        call.verb = verb
        return call

    cdef int dress(self, PendingCall call, Route route, uint64_t now) except -1:
        """Give a call its options and its deadline; raises when nothing of its time is left."""
        cdef Scope scope
        cdef uint64_t timeout
        call.route = route
        call.is_local = True
        call.flags = route.flags
        if self.idempotent is not None:
            call.flags = (call.flags & ~IDEMPOTENT) | (IDEMPOTENT if self.idempotent else 0)
        call.codec = <uint8_t>route.marshal.codec_id
        call.priority = self.priority
        if call.sent_metadata is None:
            call.sent_metadata = self.sent_metadata
        call.started_ns = now
        call.compressors = self.state.compressors
        call.message_limit = self.state.message_limit
        if self.has_timeout:
            timeout = self.timeout_ns
        elif route.timeout_ns:
            timeout = route.timeout_ns
        else:
            timeout = self.state.default_timeout_ns
        # Attempts of one call share its deadline, which stands there already.
        if timeout and now + timeout < call.deadline_ns:
            call.deadline_ns = now + timeout
        scope = current_scope()
        if scope is not None:
            if scope.deadline_ns < call.deadline_ns:
                call.deadline_ns = scope.deadline_ns
                if call.deadline_ns <= now:
                    raise DeadlineExceededError(
                        f"{route.method}: nothing is left of the surrounding deadline; the call was not sent",
                        processed="no",
                    )
        if scope is not None and scope.attempt_number:
            call.is_inside_retry = True
        return 0

    cdef bytes pack(self, PendingCall call, bytes payload, ClientSession session):
        """Compress a payload when the view asks for it, the peer takes it and it pays."""
        cdef int wire_id
        if self.compressor is None or PyBytes_GET_SIZE(payload) <= self.state.compress_above or not session.is_ready:
            return payload
        wire_id = self.compressor.wire_id
        if not session.peer.takes_compressor(wire_id):
            return payload
        smaller = self.compressor.compress(payload)
        if len(smaller) >= len(payload):
            return payload
        call.compressor = <uint8_t>wire_id
        return <bytes>smaller

    # The verbs

    def call(self, method, /, *args, **kwargs):
        return self.new_call(method, args, kwargs, VERB_CALL)

    def request(self, method, /, *args, **kwargs):
        return self.new_call(method, args, kwargs, VERB_REQUEST)

    def notify(self, method, /, *args, **kwargs):
        return self.new_call(method, args, kwargs, VERB_NOTIFY)

    def call_many(self, method, arguments, /, *, bint return_exceptions=False):
        cdef BatchCall batch = BatchCall.__new__(BatchCall)
        batch.route = self.route_of(method)
        batch.caller = self
        batch.argument_tuples = [tuple(given) for given in arguments]
        batch.return_exceptions = return_exceptions
        return batch


cdef class CoroutineCall(PendingCall):
    """The coroutine face of a call, or of a batch of them: nothing is sent before the first step."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return take_step(self, None)

    def send(self, value):
        """Take one step, as a coroutine does."""
        return take_step(self, value)

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception where the call waits: the handler is cancelled, the exception goes on."""
        if self.phase == PHASE_DELEGATING:
            if value is None and isinstance(kind, BaseException):
                return self.inner.throw(kind)
            return self.inner.throw(kind, value, traceback)
        if self.phase == PHASE_WAITING:
            self.abandon(CANCEL_USER)
            self.future.cancel()
        self.phase = PHASE_CLOSED
        if isinstance(kind, BaseException):
            raise kind
        if value is None:
            value = kind()
        elif not isinstance(value, BaseException):
            value = kind(value)
        raise value.with_traceback(traceback) if traceback is not None else value

    def close(self):
        """End without a result: what is under way is cancelled on the server."""
        if self.phase == PHASE_DELEGATING:
            self.inner.close()
        elif self.phase == PHASE_WAITING:
            self.abandon(CANCEL_USER)
            self.future.cancel()
        self.phase = PHASE_CLOSED

    def __dealloc__(self):
        if self.phase == PHASE_NEW and self.caller is not None:
            warn_unawaited(self.route)

    @property
    def __name__(self):
        return "call"

    @property
    def __qualname__(self):
        return f"Client.call({self.method})"

    @property
    def cr_await(self):
        """What it waits on, or None."""
        return self.inner if self.phase == PHASE_DELEGATING else self.future

    @property
    def cr_running(self):
        return False

    @property
    def cr_frame(self):
        return None

    @property
    def cr_code(self):
        return None

    cdef int step(self, object value, PyObject** result) except -1:
        if self.phase == PHASE_NEW:
            if value is not None:
                raise TypeError("can't send non-None value to a just-started coroutine")
            self.phase = PHASE_CLOSED
            self.caller.state.check_use()
            return self.begin(result)
        if self.phase == PHASE_WAITING:
            if not self.future.done():
                raise RuntimeError("await wasn't used with future")
            self.phase = PHASE_CLOSED
            self.future = None
            return self.resume(result)
        if self.phase == PHASE_DELEGATING:
            return self._delegated(value, result)
        raise RuntimeError("cannot reuse already awaited coroutine")

    cdef int begin(self, PyObject** result) except -1:
        """Hook: the first step."""
        raise NotImplementedError

    cdef int resume(self, PyObject** result) except -1:
        """Hook: the future is done."""
        raise NotImplementedError

    cdef int abandon(self, int reason) except -1:
        """Hook: nobody waits any more."""
        return 0

    cdef int wait(self, PyObject** result) except -1:
        """Let the task wait for `settle`."""
        self.phase = PHASE_WAITING
        self.future._asyncio_future_blocking = True
        Py_INCREF(self.future)
        result[0] = <PyObject*>self.future
        return YIELDED

    cdef int delegate(self, object inner, PyObject** result) except -1:
        """Let another coroutine finish this call."""
        self.inner = inner
        self.phase = PHASE_DELEGATING
        return self._delegated(None, result)

    cdef int _delegated(self, object value, PyObject** result) except -1:
        cdef PySendResult sent
        try:
            sent = PyIter_Send(self.inner, value, result)
        except BaseException:
            self.phase = PHASE_CLOSED
            self.inner = None
            raise
        if sent == PYGEN_NEXT:
            return YIELDED
        self.phase = PHASE_CLOSED
        self.inner = None
        return RETURNED

    cdef int settle(self) except -1:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)
        return 0


@cython.final
cdef class ClientCall(CoroutineCall):
    """What `client.call`, `request` and `notify` return: awaiting it makes the call."""

    cdef int begin(self, PyObject** result) except -1:
        cdef Caller caller = self.caller
        cdef ClientSession session = self.session
        if session is None and not caller.needs_runner and not caller.state.needs_runner:
            session = caller.state.pick()
        if session is None or (self.verb == VERB_NOTIFY and not session.is_ready):
            return self.delegate(caller.state.runner.run(self), result)
        self.send_on(session)
        if self.verb == VERB_NOTIFY:
            Py_INCREF(None)
            result[0] = <PyObject*>None
            return RETURNED
        return self.wait(result)

    cdef bytes prepare(self, uint64_t now):
        """Give the call its options and encode its arguments."""
        cdef bytes payload = <bytes>self.route.marshal.encode_arguments(self.args, self.kwargs)
        self.caller.dress(self, self.route, now)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        return payload

    cdef int send_on(self, ClientSession session) except -1:
        """Send on a connection; the call keeps what it needs for another attempt."""
        cdef bytes payload = self.prepare(now_ns())
        self.session = session
        if self.verb != VERB_NOTIFY:
            self.future = PyObject_Call(Future, (), self.caller.state.future_options)
        try:
            payload = self.caller.pack(self, payload, session)
            count_start(self, payload)
            session.now = self.started_ns
            session.start(self, payload)
        except BaseException:
            self.forget()
            raise
        if self.verb == VERB_NOTIFY:
            self.is_settled = True
            self._count(0, self.started_ns)
        return 0

    cdef int resume(self, PyObject** result) except -1:
        cdef object value
        if self.failure is not None:
            inner = None if self.is_attempt else self.caller.state.runner.retry(self, self.failure)
            if inner is not None:
                return self.delegate(inner, result)
            try:
                raise self.failure
            finally:
                self.failure = None
        if self.answer_compressor and PyBytes_GET_SIZE(self.answer) > UNPACKED_AT_ONCE:
            return self.delegate(self.caller.state.runner.unpack(self), result)
        value = self.finish()
        Py_INCREF(value)
        result[0] = <PyObject*>value
        return RETURNED

    cdef object finish(self):
        value = self.value()
        if self.verb == VERB_REQUEST:
            return self.caller.state.runner.reply(self, value)
        return value

    cdef int abandon(self, int reason) except -1:
        self.forget()
        return self.session.abandon(self, reason)

    cdef int on_timer(self) except -1:
        """The deadline passed."""
        if not self.is_settled:
            expire(self, self.session)
        return 0

    # For the runner

    @property
    def packed_answer(self):
        """The compressor and the payload of an answer that is not decompressed yet."""
        return self.compressor_of_answer(), self.answer

    def finish_unpacked(self, bytes payload not None):
        """Return what the answer stands for, now that it is decompressed."""
        self.answer = payload
        self.answer_compressor = 0
        return self.finish()

    def start_clock(self):
        """Give the call its options and deadline before any attempt; raises when no time is left."""
        self.caller.dress(self, self.route, now_ns())

    def attempt_on(self, ClientSession session not None, int number):
        """Return a coroutine that makes attempt `number` of this call on a connection, within the call's deadline."""
        cdef ClientCall attempt = ClientCall.__new__(ClientCall)
        attempt.route = self.route
        attempt.caller = self.caller
        attempt.args = self.args
        attempt.kwargs = self.kwargs
        attempt.verb = self.verb
        attempt.session = session
        attempt.is_attempt = True
        attempt.deadline_ns = self.deadline_ns
        attempt.attempt_number = <uint8_t>min(number, 255)
        attempt.sent_metadata = self.sent_metadata if self._metadata is None else encode_metadata(self._metadata)
        return attempt

    def adopt(self, ClientCall attempt not None):
        """Take over what an attempt learned: the answer's metadata, where it came from, when it ended."""
        self.received_metadata = attempt.received_metadata
        self._reply_metadata = None
        self.session = attempt.session
        self.attempt_number = attempt.attempt_number
        self.ended_ns = attempt.ended_ns

    def note_outcome(self, status, error):
        """Keep what became of the call for the interceptors around it."""
        self.outcome_status = status
        self.outcome_error = error

    @property
    def status(self):
        """What became of it; set before an interceptor's `proceed` returns."""
        return self.outcome_status

    @property
    def error(self):
        """What it failed with, or None."""
        return self.outcome_error

    @property
    def arguments(self):
        """The arguments as they were given."""
        return (*self.args, *self.kwargs.values()) if self.kwargs else self.args

    @property
    def endpoint(self):
        """Where it went last, or None."""
        return None if self.session is None else self.session.endpoint

    @property
    def is_notification(self):
        """Whether no answer is wanted."""
        return self.verb == VERB_NOTIFY

    @property
    def is_idempotent(self):
        return bool(self.flags & IDEMPOTENT)

    @property
    def inside_retry(self):
        """Whether it is made by a handler that serves a retry: then it is not retried itself."""
        return self.is_inside_retry

    @property
    def seconds(self):
        """How long the call took, once it ended."""
        return (self.ended_ns - self.started_ns) / 1e9


@cython.final
cdef class BatchMember(PendingCall):
    """One call of a batch."""

    cdef int settle(self) except -1:
        cdef BatchCall batch = self.batch
        batch.missing -= 1
        if batch.missing == 0:
            batch.settle()
        return 0

    cdef int on_timer(self) except -1:
        if not self.is_settled:
            expire(self, self.batch.session)
        return 0


@cython.final
cdef class BatchCall(CoroutineCall):
    """What `client.call_many` returns: many calls, one write, one wake-up."""

    cdef int begin(self, PyObject** result) except -1:
        cdef Caller caller = self.caller
        cdef ClientSession session = self.session
        if not self.argument_tuples:
            value = []
            Py_INCREF(value)
            result[0] = <PyObject*>value
            return RETURNED
        if session is None and not caller.needs_runner and not caller.state.needs_runner:
            session = caller.state.pick()
        if session is None:
            return self.delegate(caller.state.runner.run_batch(self), result)
        self.session = session
        self.future = PyObject_Call(Future, (), self.caller.state.future_options)
        self._send()
        return self.wait(result)

    def _send(self):
        cdef BatchMember member
        cdef Caller caller = self.caller
        cdef bytes payload
        cdef uint64_t now = now_ns()
        cdef list payloads = [self.route.marshal.encode_arguments(given, None) for given in self.argument_tuples]
        self.members = []
        self.missing = len(payloads)
        for payload in payloads:
            member = BatchMember.__new__(BatchMember)
            member.batch = self
            caller.dress(member, self.route, now)
            payload = caller.pack(member, payload, self.session)
            count_start(member, payload)
            self.members.append(member)
            self.session.now = now
            self.session.start(member, payload)

    cdef int resume(self, PyObject** result) except -1:
        cdef BatchMember member
        cdef list values = []
        cdef bint failed = False
        for member in self.members:
            if member.failure is not None:
                failed = True
                values.append(member.failure)
                continue
            try:
                values.append(member.value())
            except FastRPCError as error:
                failed = True
                values.append(error)
            member.batch = None
        self.members = None
        if failed and not self.is_attempt:
            return self.delegate(self.caller.state.runner.finish_batch(self, values), result)
        Py_INCREF(values)
        result[0] = <PyObject*>values
        return RETURNED

    cdef int abandon(self, int reason) except -1:
        cdef BatchMember member
        for member in self.members:
            if not member.is_settled:
                member.forget()
                self.session.abandon(member, reason)
        return 0

    def single(self, Py_ssize_t index):
        """Return a coroutine that makes one of the calls by itself."""
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        call.route = self.route
        call.caller = self.caller
        call.args = self.argument_tuples[index]
        return call

    def attempt_on(self, ClientSession session not None):
        """Return a coroutine that makes the whole batch on a connection and gives errors in place of values."""
        cdef BatchCall attempt = BatchCall.__new__(BatchCall)
        attempt.route = self.route
        attempt.caller = self.caller
        attempt.argument_tuples = self.argument_tuples
        attempt.session = session
        attempt.is_attempt = True
        return attempt


cdef inline int count_start(PendingCall call, bytes payload) noexcept:
    call.route.counters.started()
    call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
    call.is_counted = True
    return 0


cdef int expire(PendingCall call, ClientSession session) except -1:
    """The deadline of a call of ours passed: the caller is told at once, the server too."""
    cdef bint handed = session.was_handed(call)
    seconds = (call.deadline_ns - call.started_ns) / 1e9
    session.abandon(call, CANCEL_DEADLINE)
    return call.failed(
        DeadlineExceededError(
            f"{call.route.method}: no answer from {session.endpoint} within {seconds:.3g} s",
            processed="unknown" if handed else "no",
        )
    )


cdef object take_step(CoroutineCall call, object value):
    cdef PyObject* produced = NULL
    cdef int done = call.step(value, &produced)
    result = <object>produced
    Py_DECREF(result)
    if done == YIELDED:
        return result
    raise StopIteration(result)


cdef int step_of(PyObject* call, PyObject* value, PyObject** result) except -1:
    # The interpreter holds references to both for the length of the step.
    return (<CoroutineCall>call).step(<object>value, result)


cdef int warn_unawaited(Route route) except -1:
    """Say that a call was made and never awaited, as Python does for any coroutine."""
    method = "…" if route is None else route.method
    warnings.warn(f"coroutine 'Client.call({method})' was never awaited", RuntimeWarning, stacklevel=2)
    return 0


install_send(ClientCall, step_of)
install_send(BatchCall, step_of)
collections.abc.Coroutine.register(CoroutineCall)
