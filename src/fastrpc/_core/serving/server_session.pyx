"""A connection of a server on asyncio: from a request to its handler, and back.

::

    REQUEST whole ──► gate: method, shape, admission, deadline, codec, arguments ──► run
                        │ refused: RESPONSE, not started                ├── async def: first step now, in a HandlerTask
                                                                        ├── inline def: called now
                                                                        └── def: the dispatcher's thread pool
    value  ──► finish ──► RESPONSE OK
    error  ──► fail ────► RESPONSE with a status (the dispatcher says which)
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.contextvars cimport PyContextVar_Set
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_REFCNT
from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastrpc._core.serving.admission cimport AdmittedCall, process_held
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_ASSEMBLING, STATE_GONE, STYLE_ASYNC, STYLE_INLINE
from fastrpc._core.calls.call cimport scope_variable
from fastrpc._core.framing.frame cimport CANCEL_DEADLINE, OUTCOME_NOT_STARTED, OUTCOME_RAN, PUSHBACK_NEVER, TIMEOUT_NONE
from fastrpc._core.framing.frame cimport ONE_WAY, STREAM_IN, STREAM_OUT
from fastrpc._core.loop.handler_task cimport IDLE, LONG_STEP_NS, is_coroutine, take_raised
from fastrpc._core.calls.invocation cimport call_handler, start_handler
from fastrpc._core.loop.loop_state cimport STALL_NS
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.payload.metadata cimport check_metadata, encode_metadata
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.payload.parameter_names cimport refusal_text, told_count
from fastrpc._core.serving.served_call cimport report_long_step
from fastrpc._core.framing.settings cimport FIRST_OWN_NUMBER
from fastrpc._core.base.status cimport CANCELLED, DEADLINE_EXCEEDED, INTERNAL, INVALID_ARGUMENT, OK, RESOURCE_EXHAUSTED
from fastrpc._core.base.status cimport UNAVAILABLE, UNIMPLEMENTED
from fastrpc._core.base.wire cimport now_ns

from fastrpc.errors import CallError, DecodeError
from fastrpc.status import Status

cdef enum:
    # References to the current task: the state's, asyncio's, and that of the function that began it.
    CURRENT_REFERENCES = 3
    CODEC_RAW = 0
    CODEC_MSGPACK = 1

logger = logging.getLogger("fastrpc.server")

# Handlers of one read run so long before the first answers leave, then each time twice as long as they have till then.
cdef uint64_t FIRST_FLUSH_NS = 4_000
cdef uint64_t LONGEST_NS = <uint64_t>1 << 62


def _raise_again(error):
    raise error


cdef class ServerSession(GuardedSession):
    """One connection of one client."""

    def __init__(self, *, ServerState state not None, **options):
        GuardedSession.__init__(self, admission=state, **options)
        self.state = state

    def describe_peer(self):
        """Who is on the other side."""
        if self.peer_info is None:
            self.peer_info = self.state.dispatcher.describe_peer(self)
        return self.peer_info

    cdef int on_read(self) except -1:
        self.flush_due_ns = 0
        if self.is_opening:
            GuardedSession.on_read(self)
        return self.state.leave_task()

    cdef int tell_watcher(self) except -1:
        if self.state.is_watched:
            self.loop_state.call_soon(self.state.dispatcher.changed)
        return 0

    # From the request to the handler. What each call goes through is checked for None where a call, a route or a payload
    # is made, not at every use of it.

    cdef Call new_call(self):
        cdef ServerCall call = self.state.spare
        self.state.spare = None
        if call is None:
            call = ServerCall.__new__(ServerCall)
        call.session = self
        return call

    cdef int on_begun(self, Call call, Frame* frame) except -1:
        # For the counters, should it be refused before it is whole.
        call.route = self.state.routes.find(frame.method, frame.method_size)
        return 0

    @cython.nonecheck(False)
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        assert call is not None and payload is not None
        self._gate(<ServerCall>call, frame, payload)
        if Py_REFCNT(call) == 1 and (<ServerCall>call).make_new():
            # Answered already, and only the function that called us knows it: the next request gets the same object.
            self.state.spare = <ServerCall>call
        return 0

    @cython.nonecheck(False)
    cdef int _gate(self, ServerCall call, Frame* frame, bytes payload) except -1:
        """Refuse what must not start, in the order of PROTOCOL.md; start the rest."""
        cdef Route route = self.state.routes.find(frame.method, frame.method_size)
        cdef uint64_t timeout
        if route is None:
            return self._refuse_unknown(call, frame, PyBytes_GET_SIZE(payload))
        call.route = route
        route.counters.moved(PyBytes_GET_SIZE(payload), 0)
        if route.flags & (STREAM_IN | STREAM_OUT):
            return self.callee.refuse_faulty(
                call, UNIMPLEMENTED, f"{route.method} is {route.kind}: this server serves unary calls only"
            )
        if (call.flags ^ route.flags) & (STREAM_IN | STREAM_OUT):
            return self.callee.refuse_faulty(
                call, INVALID_ARGUMENT, f"{route.method} is {route.kind}; use stream() or open() for streams, call() else"
            )
        if frame.names and not route.names.accepts(frame.names):
            return self._refuse_names(call, told_count(frame.names))
        timeout = self.state.default_timeout_ns
        if frame.timeout_us == TIMEOUT_NONE:
            timeout = 0
        elif frame.timeout_us:
            timeout = frame.timeout_us * 1000 if frame.timeout_us < LONGEST_NS // 1000 else 0
        if route.timeout_ns and (timeout == 0 or timeout > route.timeout_ns):
            timeout = route.timeout_ns
        if timeout:
            call.deadline_ns = call.started_ns + timeout
        if self.holding or process_held > self.admission.refuse_above:
            return self.slow_start(call, payload)
        return self.let_in(call, payload)

    @cython.nonecheck(False)
    cdef int let_in(self, AdmittedCall admitted, bytes payload) except -1:
        """Nothing holds the call back: what is left of the gate."""
        assert admitted is not None and payload is not None
        cdef ServerCall call = <ServerCall>admitted
        cdef Route route = call.route
        if call.deadline_ns <= self.now or call.deadline_ns <= self.stepped_ns:
            self.state.expired_unstarted += 1
            return self.callee.refuse(call, DEADLINE_EXCEEDED, f"{route.method}: its time was over before it started")
        if not self.state.takes_codec[call.codec] or (call.codec >= FIRST_OWN_NUMBER and not self._may_answer(call)):
            return self.callee.refuse_faulty(call, UNIMPLEMENTED, self.state.dispatcher.unknown_codec(call))
        if call.compressor and call.compressor not in self.state.numbers.compressors:
            text = self.state.dispatcher.unknown_compressor(call.compressor)
            return self.callee.refuse_faulty(call, UNIMPLEMENTED, text)
        if not call.compressor:
            return self._admit(call, payload)
        # It may take a while: the dispatcher does it in slices and goes on with `unpacked`.
        call.weight = PyBytes_GET_SIZE(payload)
        self.watch(call)
        self.state.dispatcher.unpack(call, self.state.numbers.compressors[call.compressor], payload)
        return 0

    cdef bint _may_answer(self, ServerCall call) except -1:
        """Whether the client announced the installed codec of its request as well: the answer comes in it."""
        if call.flags & ONE_WAY:
            return True
        return self.peer.codec_number(call.codec, self.state.numbers.codecs[call.codec]) >= 0

    def unpacked(self, ServerCall call not None, bytes payload not None, error):
        """A compressed request is whole again, or cannot be; called by the dispatcher."""
        if call.session is not self or not call.is_held or call.given is not None:
            raise ValueError("this call does not wait here for its arguments")
        self.now = self.turn_ns = now_ns()
        self.unwatch(call)
        if self.is_closed:
            return
        if call.was_cancelled:
            self.callee.refuse(call, CANCELLED, f"{call.route.method} was cancelled before it started")
        elif call.is_expired:
            self.state.expired_unstarted += 1
            self.callee.refuse(call, DEADLINE_EXCEEDED, f"{call.route.method}: its time was over before it started")
        elif error is not None:
            self._reject(call, error)
        else:
            self._admit(call, payload)

    @cython.nonecheck(False)
    cdef int _admit(self, ServerCall call, bytes payload) except -1:
        """Decode the arguments and start the handler."""
        assert call is not None and call.route is not None and payload is not None
        cdef Route route = call.route
        cdef uint64_t before = self.stepped_ns
        if call.codec == CODEC_RAW and route.marshal._takes_bytes:
            call.given = payload
            call.weight = PyBytes_GET_SIZE(payload)
        elif not self._decode(call, payload):
            return 0
        route.counters.started()
        self.state.running += 1
        self.run(call)
        if self.stepped_ns > max(self.received_ns, self.turn_ns) + STALL_NS:
            # The handler, or those before it, kept the loop: what came meanwhile is read before more start.
            self.hold_for_stall(self.received_ns)
            before = max(before, max(self.received_ns, self.turn_ns))
            if self.stepped_ns > before + LONG_STEP_NS:
                report_long_step(route, self.stepped_ns - before)
        return 0

    cdef bint _decode(self, ServerCall call, bytes payload) except -1:
        """Decode the arguments; False: they were refused."""
        cdef Outgoing failure
        cdef Marshal marshal = call.route.marshal
        try:
            if call.codec != marshal.codec_id:
                marshal = <Marshal>self.state.dispatcher.marshal_of(call.route, call.codec)
            call.given = marshal.decode_arguments(payload)
        except (CallError, DecodeError) as error:
            self._reject(call, error)
            return False
        except BaseException as error:
            # The user's own type raised something else: a mistake over here, but only this call's.
            call.never_started = True
            failure = self._failure_of(call, error)
            self.callee.refuse_faulty(call, failure.status, failure.text.decode())
            self._pass_interrupt(error)
            return False
        call.weight = marshal.charge
        return True

    cdef int _refuse_unknown(self, ServerCall call, Frame* frame, Py_ssize_t size) except -1:
        self.admission.unknown_method.moved(size, 0)
        method = frame.method[:frame.method_size].decode("ascii", "backslashreplace")
        return self.callee.refuse_faulty(call, UNIMPLEMENTED, self.state.dispatcher.unknown_method(method, self))

    cdef int _refuse_names(self, ServerCall call, Py_ssize_t count) except -1:
        """Refuse a call whose arguments would arrive under other names than they were given."""
        cdef Route route = call.route
        if count > len(route.names.names):
            text = f"{route.method}: {route.marshal.shape.arity_text(count)}"
            return self.callee.refuse_faulty(call, INVALID_ARGUMENT, text)
        return self.callee.refuse_faulty(call, INVALID_ARGUMENT, refusal_text(route.method, route.names.names))

    cdef int _reject(self, ServerCall call, object error) except -1:
        """Refuse what is wrong with the request itself: the same again, here or elsewhere, would fare no better."""
        cdef Outgoing failure
        cdef int status = error.status
        if isinstance(error, DecodeError) and status != RESOURCE_EXHAUSTED:
            status = INVALID_ARGUMENT
        text = f"{call.route.method}: {error.message if isinstance(error, CallError) else error}"
        if status != RESOURCE_EXHAUSTED or call.flags & ONE_WAY:
            return self.callee.refuse_faulty(call, status, text)
        self.count_refused(call, status)
        failure = new_failure(status, OUTCOME_NOT_STARTED, text)
        failure.pushback_ms = PUSHBACK_NEVER
        self.callee.ended(call)
        self.sender.send_failure(call, failure)
        return self.callee.spend_idle_work(call)

    @cython.nonecheck(False)
    cdef int run(self, ServerCall call) except -1:
        """Start the handler: everything that can go wrong from here on has run."""
        assert call is not None
        cdef Route route = call.route
        cdef object value
        cdef PyObject* made
        if self.state.has_interceptors:
            call.never_started = True
            return self._run_task(call, self.state.dispatcher.intercepted(call))
        if route.style == STYLE_ASYNC:
            made = start_handler(route.handler, call.given)
            if made is NULL:
                return self.fail(call, take_raised())
            value = <object>made
            Py_DECREF(value)
            return self._run_task(call, value)
        self.state.leave_task()
        if route.style == STYLE_INLINE:
            token = PyContextVar_Set(scope_variable, call)
            try:
                value = call_handler(route.handler, call.given)
            except BaseException as error:
                return self.fail(call, error)
            finally:
                scope_variable.reset(token)
            return self.finish(call, value)
        call.is_running = True
        self.watch(call)
        self.state.dispatcher.run_in_thread(call, route.handler)
        return 0

    @cython.nonecheck(False)
    cdef int _run_task(self, ServerCall call, object coroutine) except -1:
        """Take the first step now; a handler that never suspends is answered in this very turn."""
        cdef bint has_ended, stays = False
        cdef ServerTask task = self.state.current
        cdef object context = None
        try:
            # A handler can make somebody read from inside its first step: that is not the task for another one.
            stays = self._is_reading and is_coroutine(coroutine) and (task is None or task._phase == IDLE)
            if not stays:
                task = self.state.acquire()
            elif task is None:
                task = self.state.current_task()
            context = self.state.contexts.take(call)
            task.call = call
            call.task = task
            has_ended = task.step_as_current(coroutine, context) if stays else task.begin(coroutine, context)
        except BaseException as failure:
            # It is no coroutine, cannot run here, or leaves the loop as from any task: the caller gets its answer first.
            return self._fail_start(call, task, context, failure)
        return self._end_first_step(call, task, context) if has_ended else self._go_on(call, context)

    cdef int _fail_start(self, ServerCall call, ServerTask task, object context, object failure) except -1:
        """Answer a handler whose first step could not be taken, and use nothing of it again."""
        self.state.contexts.drop(context)
        call.task = None
        if task is not None:
            task.call = None
            if task is self.state.current:
                self.state.leave_task()
        return self.fail(call, failure)

    cdef int _go_on(self, ServerCall call, object context) except -1:
        """The handler was suspended: task and context are its own."""
        self.state.contexts.drop(context)
        self.state.leave_task()
        return self.watch(call)

    @cython.nonecheck(False)
    cdef int _end_first_step(self, ServerCall call, ServerTask task, object context) except -1:
        """Answer a handler that ended in its first step; task and context serve the next one, if nobody holds them."""
        assert task is not None
        cdef object error = task.error, value = task.value
        call.task = None
        task.call = None
        if task is not self.state.current:
            self.state.tasks.release(task)
        elif task.is_reusable(CURRENT_REFERENCES):
            task.rearm()
        else:
            self.state.leave_task()
        self.state.contexts.give_back(context)
        if error is not None:
            return self.fail(call, error)
        return self.finish(call, value)

    cdef int watch(self, ServerCall call) except -1:
        """The handler goes on: list the call, and watch its deadline."""
        if not call.flags & ONE_WAY:
            self.callee.hold(call)
        if call.deadline_ns != NO_DEADLINE:
            self.loop_state.start_timer(call, call.deadline_ns)
        if self.held is None:
            self.held = set()
        self.held.add(call)
        call.is_held = True
        self.charge(call, max(call.weight, <Py_ssize_t>1))
        self.loop_state.handlers += 1
        self.stepped_ns = now_ns()
        return 0

    cdef int unwatch(self, ServerCall call) except -1:
        """The handler is through."""
        self.loop_state.stop_timer(call)
        self.held.discard(call)
        call.is_held = False
        self.charge(call, 0)
        self.loop_state.handlers -= 1
        return 0

    cdef int task_finished(self, HandlerTask ended) except -1:
        """A handler that had suspended ended."""
        cdef ServerTask task = <ServerTask>ended
        cdef ServerCall call = task.call
        cdef object error = task.error
        cdef object value = task.value
        task.call = None
        call.task = None
        self.state.tasks.release(task)
        self.now = now_ns()
        if error is not None:
            # The task itself lets an interrupt leave the loop.
            return self._answer_failure(call, error)
        return self.finish(call, value)

    def thread_finished(self, ServerCall call not None, value, error):
        """A handler that ran in a thread ended; called on the loop."""
        if call.session is not self or not call.is_running:
            raise ValueError("this call does not run in a thread of this connection")
        self.now = now_ns()
        if error is not None:
            self.fail(call, error)
        else:
            self.finish(call, value)

    # From the handler to the answer

    @cython.nonecheck(False)
    cdef int finish(self, ServerCall call, object value) except -1:
        """Answer with a value."""
        assert call is not None and call.route is not None
        cdef bytes payload
        cdef uint32_t elapsed_us
        if call.flags & ONE_WAY:
            return self._count_end(call, OK)
        if (
            call.codec == CODEC_RAW and type(value) is bytes and call._reply_metadata is None and not call.compressor
            and <uint64_t>PyBytes_GET_SIZE(<bytes>value) <= min(self.ours.max_message, self.peer.max_message)
        ):
            payload = <bytes>value
        else:
            payload = self._encoded(call, value)
            if payload is None:
                return 0
        call.route.counters.moved(0, PyBytes_GET_SIZE(payload))
        self._count_end(call, OK)
        if self.is_closed or call.state == STATE_GONE:
            return 0
        elapsed_us = <uint32_t>min((self.stepped_ns - call.started_ns) // 1000, <uint64_t>0xFFFFFFFF)
        self.sender.send_response(call, payload, elapsed_us)
        if <int64_t>self.sender.unsent_bytes() > self.admission.send_soft:
            self.weigh_output()
        if self._is_reading and self.stepped_ns > self.now + FIRST_FLUSH_NS and self.stepped_ns > self.flush_due_ns:
            return self._flush_early()
        return 0

    cdef bytes _encoded(self, ServerCall call, object value):
        """Return the payload of an answer; None: it has none, and the caller was told."""
        cdef Marshal marshal = call.route.marshal
        cdef bytes payload
        try:
            if call.codec != marshal.codec_id:
                marshal = <Marshal>self.state.dispatcher.marshal_of(call.route, call.codec)
            payload = <bytes>marshal.encode_result(value)
            if self.state.checks_results:
                marshal.check_result(value, payload)
            if call._reply_metadata is not None:
                self._send_metadata(call)
            if call.compressor:
                payload = self._packed(call, payload)
            if call.codec >= FIRST_OWN_NUMBER:
                call.codec = <uint8_t>self.peer.codec_number(call.codec, self.state.numbers.codecs[call.codec])
            self._check_size(call, payload)
        except BaseException as error:
            call.compressor = 0
            # Something answered, the handler or an interceptor in its place: the call ran, whoever is to blame.
            call.never_started = False
            self.fail(call, error)
            return None
        return payload

    cdef int _flush_early(self) except -1:
        """Let answers go while further requests of the same read are handled."""
        self.flush_due_ns = self.stepped_ns + 2 * (self.stepped_ns - self.now)
        # A transport that collects what is written would send it no sooner.
        return self.flush() if self.descriptor >= 0 else 0

    cdef bytes _packed(self, ServerCall call, bytes payload):
        """Compress an answer as its request was, if that pays."""
        cdef bytes smaller = None
        cdef uint8_t number = 0
        if PyBytes_GET_SIZE(payload) > self.state.compress_above:
            compressor = self.state.numbers.compressors[call.compressor]
            smaller = self.peer.compressed(compressor, call.compressor, payload, &number)
        call.compressor = number
        return payload if smaller is None else smaller

    cdef int _check_size(self, ServerCall call, bytes payload) except -1:
        cdef uint64_t limit = min(self.ours.max_message, self.peer.max_message)
        if <uint64_t>PyBytes_GET_SIZE(payload) > limit:
            who = "the client takes" if limit == self.peer.max_message else "the server sends"
            raise CallError(
                Status.RESOURCE_EXHAUSTED,
                f"the answer of {call.route.method} has {len(payload)} bytes, {who} at most {limit} "
                "(Limits.message_bytes)",
            )
        return 0

    cdef int fail(self, ServerCall call, object error) except -1:
        """Answer with what the handler's error stands for; an interrupt then ends the loop."""
        self._answer_failure(call, error)
        return self._pass_interrupt(error)

    cdef int _pass_interrupt(self, object error) except -1:
        # Not from in here: for some loops an error that leaves a protocol is the end of the connection and no more.
        if isinstance(error, KeyboardInterrupt):
            self.loop_state.loop.call_soon(_raise_again, error)
        return 0

    cdef int _answer_failure(self, ServerCall call, object error) except -1:
        cdef Outgoing failure = self._failure_of(call, error)
        self._count_end(call, failure.status)
        if not (call.flags & ONE_WAY or self.is_closed or call.state == STATE_GONE):
            if call._reply_metadata is not None:
                try:
                    self._send_metadata(call)
                except CallError:
                    # It is logged; the handler's own error says more to the caller.
                    call.sent_metadata = None
                except (Exception, SystemExit) as problem:
                    logger.error("%s: its reply metadata is left out: %s", call.route.method, problem)
            self.sender.send_failure(call, failure)
        return 0

    cdef Outgoing _failure_of(self, ServerCall call, object error):
        """Make the answer to what a handler raised; one is made whatever its error does when it is looked at."""
        cdef Outgoing failure
        try:
            status, text, details, pushback, has_run = self.state.dispatcher.failure_of(call, error)
            failure = new_failure(status, OUTCOME_RAN if has_run else OUTCOME_NOT_STARTED, text)
            failure.payload = self._fitting(call, details)
            failure.pushback_ms = pushback
            if call.codec >= FIRST_OWN_NUMBER:
                # Details are plain values: no installed codec carries them.
                call.codec = CODEC_MSGPACK
        except (Exception, SystemExit) as problem:
            logger.error("fastrpc: the error of %s cannot be told", call.route.method, exc_info=problem)
            outcome = OUTCOME_NOT_STARTED if call.never_started else OUTCOME_RAN
            failure = new_failure(INTERNAL, outcome, f"{call.route.method} failed, and so did its error")
        return failure

    cdef bytes _fitting(self, ServerCall call, bytes details):
        """Return the details of an error, or none where they are over a limit: status and text have to arrive."""
        cdef uint64_t limit = min(self.ours.max_message, self.peer.max_message)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(details)
        if size == 0 or call.flags & ONE_WAY:
            return details
        if <uint64_t>size > limit:
            problem = f"they have {size} bytes, {limit} are allowed (Limits.message_bytes)"
        elif not call.route.marshal.takes_details(details, call.codec):
            problem = "they are nested too deep, hold too many items (Limits.depth, Memory.items) or keys that collide"
        else:
            return details
        logger.error("%s: the details of its error are left out: %s", call.route.method, problem)
        return b""

    cdef int _send_metadata(self, ServerCall call) except -1:
        """Let what the handler put into `reply_metadata` go with the answer; what cannot go is tried once."""
        cdef object metadata = call._reply_metadata
        cdef bytes sent
        call._reply_metadata = None
        sent = encode_metadata(metadata)
        if check_metadata(PyBytes_AS_STRING(sent), PyBytes_GET_SIZE(sent), self.peer.max_metadata):
            text = (
                f"{call.route.method}: the metadata of its answer is over the {self.peer.max_metadata} bytes that the "
                "client takes (Limits.metadata_bytes)"
            )
            logger.error("%s", text)
            raise CallError(Status.INTERNAL, text)
        call.sent_metadata = sent
        return 0

    @cython.nonecheck(False)
    cdef int _count_end(self, ServerCall call, int status) except -1:
        assert call is not None
        self.stepped_ns = now_ns()
        if self.stepped_ns > self.turn_ends_ns:
            self.reader.frames_left = 0
        call.route.counters.ended(status, self.stepped_ns - call.started_ns)
        self.state.running -= 1
        call.is_running = False
        if call.is_held:
            self.unwatch(call)
        # Whoever keeps the call, such as the context that it was current in, need not keep all it brought.
        call.given = None
        if call.flags & ONE_WAY:
            self.callee.one_way_calls -= 1
        return self.tell_watcher() if self.state.is_watched else 0

    # What else the peer says

    cdef int on_cancel(self, Call call, int reason) except -1:
        (<ServerCall>call).was_cancelled = True
        # Both sides watch the deadline; whoever is first, it is the same reason.
        (<ServerCall>call).is_expired |= reason == CANCEL_DEADLINE
        if (<ServerCall>call).waiting_payload is not None:
            self.drop_waiting(<ServerCall>call)
            return self.callee.refuse(call, CANCELLED, f"{call.route.method} was cancelled before it started")
        return (<ServerCall>call).stop()

    cpdef int end_calls(self, str text) except -1:
        """Answer every call that is still under way, and stop its handler."""
        cdef ServerCall call
        for call in self.callee.calls.entries():
            if call.state == STATE_ASSEMBLING:
                self.drop_request(call, UNAVAILABLE, text)
            elif call.waiting_payload is not None:
                self.drop_waiting(call)
                self.callee.refuse(call, UNAVAILABLE, text)
            else:
                # Also where no handler saw it yet: an interceptor may go on whatever it is told.
                self.sender.send_failure(call, new_failure(UNAVAILABLE, OUTCOME_RAN, text))
                call.was_cancelled = True
                call.stop()
        return 0

    cdef int on_stranger(self, str text) except -1:
        self.state.dispatcher.stranger(self, text)
        return 0

    cdef int on_closed(self) except -1:
        self._stop_all()
        return GuardedSession.on_closed(self)

    cdef int on_lost(self, object error) except -1:
        """The client is gone: nobody waits for these answers."""
        GuardedSession.on_lost(self, error)
        self._stop_all()
        self.state.dispatcher.session_lost(self, error)
        return 0

    def _stop_all(self):
        cdef ServerCall call
        for call in list(self.held or ()):
            call.was_cancelled = True
            call.stop()

    def stats(self):
        """What is under way on this connection, as plain data."""
        return {
            "calls": self.callee.calls.size,
            "one_way": self.callee.one_way_calls,
            "buffered": self.untaken_bytes(),
            "credit": self.sender.send_left,
        }
