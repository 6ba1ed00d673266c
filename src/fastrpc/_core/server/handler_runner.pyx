"""The handler runner: it runs the handler of a decoded call, and turns the handler's result into the answer.

::

    run ──┬── async def: first step now, in a reused task
          ├── inline def: called now
          └── def: the dispatcher's thread pool
    value ──► encode ──► compress, a long one in slices ──► room? ──► ServedConnection.answer
    error ──► ServedConnection.fail (the dispatcher chooses the status)

A step longer than a second is logged. The duration of the first step is known from the clock, which is read at the end
of each call. Later steps use the system's coarse clock, which costs a fraction of the exact one.
"""

import logging
from asyncio import CancelledError

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint8_t

from fastrpc._core.base.codec_numbers cimport CODEC_RAW
from fastrpc._core.base.raised cimport take_raised
from fastrpc._core.base.status cimport OK, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_GONE, STYLE_ASYNC, STYLE_INLINE, STYLE_THREAD, MethodRoute
from fastrpc._core.calls.call_log cimport report_long_step
from fastrpc._core.calls.invocation cimport call_handler, start_handler
from fastrpc._core.limiting.limiters cimport END_FAILED, END_GOOD, END_LATE, leave_all
from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.loop.handler_task cimport IDLE, is_coroutine
from fastrpc._core.loop.turns cimport SLICED_ABOVE
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.output_room cimport LARGE_OUTPUT, needs_room
from fastrpc._core.server.served_call cimport keep_identity
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.served_connection cimport pass_interrupt as raise_later
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.wire.frame cimport ONE_WAY, PUSHBACK_NEVER, STREAM_IN, STREAM_OUT
from fastrpc._core.wire.settings cimport smaller_of

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.server.served_stream import drive
from fastrpc.errors import CallError
from fastrpc.user_code import as_error, plain_error

cdef enum:
    # The number of references to the current task: by the runner, by asyncio, by the function that started the task.
    CURRENT_REFERENCES = 3

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class ServerTask(HandlerTask):
    """The task of a handler."""

    cdef int finished(self) except -1:
        return self.runner.task_finished(self)

    cdef int held_loop(self, uint64_t nanoseconds) except -1:
        return report_long_step(self.call.route, nanoseconds)

    cdef bint is_deferred(self, object error) except -1:
        cdef ServerCall call = self.call
        cdef bint gives
        if not self.runner.room.defers():
            return False
        gives = (
            call.flags & (STREAM_IN | STREAM_OUT) == STREAM_OUT and call.stream is not None
            and not (<ServedStream>call.stream).counts_ahead and not call._is_stopped()
        )
        self.runner.room.defer(self, error, call if gives else None)
        return True

    cdef object make_name(self):
        return "rpc" if self.call is None else f"rpc:{self.call.route.method}#{self.call.id}"


# A step that must not raise: it returns -1, and `take_raised` fetches the error. A `try` would cost 2 % of a call.
ctypedef int (*Step)(HandlerRunner runner, ServerCall call, bytes payload) noexcept


@cython.nonecheck(False)
cdef inline int send_answer(HandlerRunner runner, ServerCall call, bytes payload) except -1:
    cdef Outcomes outcomes
    call.counters.moved(0, PyBytes_GET_SIZE(payload))
    call.moved_bytes += PyBytes_GET_SIZE(payload)
    _count_end(runner, call, OK)
    if call.connection.is_closed or call.was_ended or call.state == STATE_GONE:
        return 0
    call.was_ended = True
    outcomes = call.connection.outcomes
    # If the loop was closed, the garbage collector may have cleared the fields of the connection.
    return 0 if outcomes is None else outcomes.answer(call, payload)


cdef inline int answer(HandlerRunner runner, ServerCall call, bytes payload) except -1:
    """Count the end of a call and send its answer. Inlined, because every call needs this."""
    if (<Step>send_answer)(runner, call, payload) < 0:
        return _answer_last(runner, call, take_raised())
    return 0


cdef object judged(ServerCall call, object error):
    """Return the error of a handler. A CancelledError of user code, without a cancellation, becomes another error."""
    if isinstance(error, CancelledError) and not call._is_stopped():
        return as_error(error, call.route.method)
    return error


@cython.final
cdef class HandlerRunner:
    """Runs the handlers of one server, and sends their results."""

    def __init__(self, OutputRoom room not None, dispatcher, dict compressors not None):
        self.room = room
        self.memory = room.memory
        self.loop_state = room.memory.loop_state
        self.dispatcher = dispatcher
        self.compressors = compressors
        self.compress_above = 1024
        self.failures = HandlerFailures(dispatcher, room)
        self.plain_bytes = min(room.sent_bytes, <uint64_t>LARGE_OUTPUT)
        self.tasks = TaskPool(self.loop_state.loop, ServerTask)
        self.contexts = HandlerContexts()

    # Tasks

    cdef ServerTask _acquire(self):
        cdef ServerTask task = <ServerTask>self.tasks.acquire()
        task.runner = self
        return task

    cdef ServerTask _current_task(self):
        """Return an idle task that is the loop's current task until `leave_task`."""
        cdef ServerTask task = self.current
        if task is None:
            task = self._acquire()
            task.become_current()
            self.current = task
        return task

    cdef int leave_task(self) except -1:
        """Make no task the current one."""
        cdef ServerTask task = self.current
        if task is not None:
            self.current = None
            task.stop_being_current()
            if task._phase == IDLE:
                self.tasks.release(task)
        return 0

    # Running the handler of a call

    @cython.nonecheck(False)
    cdef int run(self, ServerCall call) except -1:
        """Start the handler. From now on the call counts as processed, even if it fails."""
        assert call is not None
        cdef MethodRoute route = call.route
        cdef object value
        cdef PyObject* made
        if self.call_log is not None:
            call.is_logged = 1 if self.call_log.makes_ids else 2
        if self.chain is not None and self._intercepts(call):
            return 0
        if call.stream is not None:
            return self._run_stream(call)
        if route.style == STYLE_ASYNC:
            made = start_handler(route.handler, call.given)
            if made is NULL:
                return self.fail(call, take_raised())
            value = <object>made
            Py_DECREF(value)
            return self._run_task(call, value)
        self.leave_task()
        if route.style == STYLE_INLINE:
            return self._run_inline(call)
        call.is_running = True
        self.watch(call)
        self.dispatcher.run_in_thread(call, route.handler)
        return 0

    @cython.nonecheck(False)
    cdef int _run_inline(self, ServerCall call) except -1:
        """Call the handler now, in a separate context because later calls use the connection's context."""
        cdef object context = self.contexts.take(call), value = None, error = None
        PyContext_Enter(context)
        try:
            value = call_handler(call.route.handler, call.given)
        except BaseException as failure:
            error = failure
        PyContext_Exit(context)
        self.contexts.give_back(context)
        return self._finish(call, value) if error is None else self.fail(call, error)

    cdef bint _intercepts(self, ServerCall call) except -1:
        """Start the interceptors around a call; return False if none applies."""
        cdef bint is_concerned
        if call.route.is_application:
            return False
        call.never_started = True
        try:
            is_concerned = self.chain.concerns(call)
        except BaseException as error:
            # The call fails as after an error of an interceptor.
            self.fail(call, error)
            return True
        if is_concerned:
            self._run_task(call, self.dispatcher.intercepted(call))
        else:
            call.never_started = False
        return is_concerned

    @cython.nonecheck(False)
    cdef int _run_task(self, ServerCall call, object coroutine) except -1:
        """Run the first step of a handler now. A handler that never suspends is answered in this turn."""
        cdef bint has_ended, stays = False
        cdef ServerTask task = self.current
        cdef object context = None
        try:
            # A handler's first step can cause a nested read; its calls must not use this handler's task.
            stays = call.connection.is_reading and is_coroutine(coroutine) and (task is None or task._phase == IDLE)
            if not stays:
                task = self._acquire()
            elif task is None:
                task = self._current_task()
            context = self.contexts.take(call)
            task.call = call
            call.task = task
            has_ended = task.step_as_current(coroutine, context) if stays else task.begin(coroutine, context)
        except BaseException as failure:
            # The handler returned no coroutine, the coroutine cannot run here, or an interrupt will end the loop. Answer
            # the caller first.
            return self._fail_start(call, task, context, failure)
        if has_ended:
            return self._end_first_step(call, task, context)
        # The suspended handler keeps its task and context.
        self.contexts.drop(context)
        self.leave_task()
        return self.watch(call)

    cdef int _fail_start(self, ServerCall call, ServerTask task, object context, object failure) except -1:
        """Answer a call whose handler could not run its first step. Task and context are not reused."""
        self.contexts.drop(context)
        call.task = None
        if task is not None:
            task.call = None
            if task is self.current:
                self.leave_task()
        return self.fail(call, failure)

    @cython.nonecheck(False)
    cdef int _end_first_step(self, ServerCall call, ServerTask task, object context) except -1:
        """Answer a call whose handler ended in its first step. Reuse task and context if nothing else refers to them."""
        assert task is not None
        cdef object error = task.error, value = task.value
        if error is not None:
            error = judged(call, error)
        call.task = None
        task.call = None
        if task is not self.current:
            self.tasks.release(task)
        elif task.is_reusable(CURRENT_REFERENCES):
            task.rearm()
        else:
            self.leave_task()
        self.contexts.give_back(context)
        if error is not None:
            return self.fail(call, error)
        return self._finish(call, value)

    cdef int watch(self, ServerCall call) except -1:
        """Add the call of a suspended handler to the calls in progress, and start the timer of its deadline."""
        cdef ServedConnection connection = call.connection
        if not call.flags & ONE_WAY:
            connection.outcomes.hold(call)
        if call.deadline_ns != NO_DEADLINE:
            self.loop_state.start_timer(call, call.deadline_ns)
        if connection.held is None:
            connection.held = set()
        connection.held.add(call)
        call.is_held = True
        self.memory.charge(call, max(call.weight, <Py_ssize_t>1))
        self.loop_state.handlers += 1
        connection.stepped_ns = now_ns()
        return 0

    cdef int unwatch(self, ServerCall call) except -1:
        """Remove a call from the calls in progress, and stop the timer of its deadline."""
        self.loop_state.stop_timer(call)
        call.connection.held.discard(call)
        call.is_held = False
        self.memory.charge(call, 0)
        self.loop_state.handlers -= 1
        return 0

    cdef int task_finished(self, ServerTask task) except -1:
        """Answer a call whose handler had been suspended and has ended."""
        cdef ServerCall call = task.call
        cdef object error = task.error
        cdef object value = task.value
        if error is not None:
            error = judged(call, error)
        task.call = None
        call.task = None
        self.tasks.release(task)
        call.connection.now = now_ns()
        if error is not None:
            # No `pass_interrupt` here: the task itself passes on an interrupt.
            return _answer_failure(self, call, error)
        return self._finish(call, value)

    def thread_finished(self, ServerCall call not None, value, error):
        """Answer a call whose handler ran in a thread. Called on the loop."""
        if not call.is_running:
            raise ValueError("this call does not run in a thread")
        call.connection.now = now_ns()
        if error is not None:
            self.fail(call, error)
        else:
            self._finish(call, value)

    # Answering with the result of a handler

    @cython.nonecheck(False)
    cdef int _finish(self, ServerCall call, object value) except -1:
        """Answer with a value."""
        assert call is not None and call.route is not None
        cdef bytes payload
        if call.flags & (ONE_WAY | STREAM_OUT):
            return self._finish_bare(call, value)
        if (
            call.codec == CODEC_RAW and type(value) is bytes and call._reply_metadata is None and not call.compressor
            and <uint64_t>PyBytes_GET_SIZE(<bytes>value) <= min(self.plain_bytes, call.connection.most_message())
        ):
            payload = <bytes>value
        else:
            payload = self._encoded(call, value)
            if payload is None:
                return 0
        if needs_room(call, PyBytes_GET_SIZE(payload)):
            return self._finish_weighed(call, payload)
        return answer(self, call, payload)

    # Room for answers

    cdef int _finish_weighed(self, ServerCall call, bytes payload) except -1:
        """Answer with a payload whose memory is counted. A long payload is first compressed in slices."""
        if not self.room.takes(call, PyBytes_GET_SIZE(payload)):
            return _drop_result(self, call, PyBytes_GET_SIZE(payload))
        if packs_later(call, payload):
            if not (call.was_cancelled or call.was_ended or call.connection.is_closed):
                return self._pack_later(call, payload)
            # The call was abandoned. A compression would not be stopped any more.
            call.compressor = 0
        return self._answer_weighed(call, payload)

    cdef int _answer_weighed(self, ServerCall call, bytes payload) except -1:
        cdef ServedConnection connection = call.connection
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        answer(self, call, payload)
        if not connection.is_reading:
            if size > LARGE_OUTPUT:
                # Large answers are flushed one by one, so that the transport's copy of each is freed when it was sent.
                connection.end_turn()
            self.room.spend(connection.now, size > LARGE_OUTPUT)
        # Count the output before the next answer is made, even if this answer is flushed later.
        return connection.weigh_answer()

    cdef int _pack_later(self, ServerCall call, bytes payload) except -1:
        """Compress an answer in slices. Meanwhile its call counts as running and can be cancelled or expire."""
        # Drop the arguments. None would mean that the handler has not started.
        call.given = ()
        call.weight = 0
        if call.is_held:
            self.memory.charge(call, 1)
        else:
            self.watch(call)
        call.is_running = True
        self.dispatcher.pack(call, self.compressors[call.compressor], payload)
        return 0

    def packed(self, ServerCall call not None, bytes payload, bint is_smaller, error):
        """Answer with a payload that was compressed in slices, or with the error. Called by the dispatcher."""
        if not call.is_running or call.given is None:
            raise ValueError("no answer of this call is compressed")
        cdef ServedConnection connection = call.connection
        cdef int number = call.compressor
        connection.now = now_ns()
        call.compressor = 0
        # The handler, or an interceptor in its place, returned a value: the call has run.
        call.never_started = False
        if error is None:
            try:
                call.connection.check_size(call, "the answer", payload, self.room.sent_bytes)
            except CallError as refusal:
                error = refusal
        if error is not None:
            self.fail(call, error)
            return
        if is_smaller:
            call.compressor = <uint8_t>call.groups.dialect.compressor(call, number)
        self._answer_weighed(call, payload)

    @cython.nonecheck(False)
    cdef bytes _encoded(self, ServerCall call, object value):
        """Return the payload of an answer; None after an encoding error, whose failure was sent."""
        assert call is not None and call.route is not None
        cdef Marshal marshal = call.route.marshal
        cdef Py_ssize_t size
        cdef bytes payload
        if self.room.is_over() or type(value) is str or type(value) is bytes:
            # If there is no memory for the result, do not encode it, as encoding is slow.
            size = self.room.lack_before(call, value)
            if size >= 0:
                _drop_result(self, call, size)
                return None
        try:
            if call.codec != marshal.codec_id or call.groups.forms is not None:
                marshal = call.marshal()
            payload = <bytes>marshal.encode_result(value)
            if self.checks_results:
                marshal.check_result(value, payload)
            if call._reply_metadata is not None:
                call.pack_metadata()
            if call.compressor:
                payload = self._packed(call, payload)
            if (
                <uint64_t>PyBytes_GET_SIZE(payload) > min(self.room.sent_bytes, call.connection.most_message())
                and not packs_later(call, payload)
            ):
                call.connection.check_size(call, "the answer", payload, self.room.sent_bytes)
        except BaseException as error:
            call.compressor = 0
            # The handler, or an interceptor in its place, returned a value: the call has run.
            call.never_started = False
            self.fail(call, error)
            return None
        return payload

    cdef bytes _packed(self, ServerCall call, bytes payload):
        """Compress an answer with the compressor of its request if that makes it smaller. Skip a long one for later."""
        cdef bytes smaller = None
        cdef int number = 0
        compressor = self.compressors[call.compressor]
        if PyBytes_GET_SIZE(payload) > self.compress_above:
            number = call.groups.dialect.compressor(call, call.compressor)
        if number and PyBytes_GET_SIZE(payload) > SLICED_ABOVE:
            return payload
        if number:
            smaller = smaller_of(compressor, payload)
        call.compressor = 0 if smaller is None else <uint8_t>number
        return payload if smaller is None else smaller

    cdef int fail(self, ServerCall call, object error) except -1:
        """Send the failure for a handler's error. A KeyboardInterrupt then ends the loop, as Ctrl-C does."""
        _answer_failure(self, call, judged(call, error))
        return self.pass_interrupt(error)

    cdef int pass_interrupt(self, object error) except -1:
        return raise_later(self.loop_state.loop, error)

    cdef int tell_watcher(self) except -1:
        """Notify a draining server of the end of a call."""
        if self.is_watched:
            self.loop_state.call_soon(self.dispatcher.changed)
        return 0

    cdef int _run_stream(self, ServerCall call) except -1:
        """Start the handler of a stream: the coroutine of the handler, or a coroutine that drives its generator."""
        try:
            if not call.route.gives_stream:
                coroutine = call_handler(call.route.handler, (<ServedStream>call.stream).bound())
            elif call.route.style == STYLE_THREAD:
                coroutine = self.dispatcher.drive_in_thread(call)
            else:
                coroutine = drive(call)
        except BaseException as error:
            return self.fail(call, error)
        return self._run_task(call, coroutine)

    cdef int _finish_bare(self, ServerCall call, object value) except -1:
        """End a call whose answer is empty, or was a stream."""
        if not call.flags & ONE_WAY:
            try:
                if value is not None:
                    kind = type(value).__name__
                    raise TypeError(f"{call.route.method} answers by its messages, an interceptor returned a {kind}")
                if call._reply_metadata is not None:
                    call.pack_metadata()
            except BaseException as error:
                call.never_started = False
                return self.fail(call, error)
        if call.flags & ONE_WAY:
            return _count_end(self, call, OK)
        call.compressor = 0
        return answer(self, call, b"")


cdef int _answer_failure(HandlerRunner runner, ServerCall call, object error) except -1:
    try:
        _send_failure(runner, call, runner.failures.of(call, error))
    except BaseException as problem:
        return _answer_last(runner, call, problem)
    return 0 if call.connection.is_reading else runner.room.spend(call.connection.now, False)


cdef int _answer_last(HandlerRunner runner, ServerCall call, object error) except -1:
    """Answer a call after an error while it was answered, its error was described or its end was counted."""
    cdef bint is_unanswered = not call.was_ended or call.connection.outcomes.is_unanswered(call)
    call.was_ended = True
    return call.connection.answer_last(call, error, is_unanswered, not call.never_started)


cdef int _send_failure(HandlerRunner runner, ServerCall call, Failure failure) except -1:
    cdef ServedConnection connection = call.connection
    _count_end(runner, call, failure.status)
    if not (call.flags & ONE_WAY or connection.is_closed or call.was_ended or call.state == STATE_GONE):
        if call._reply_metadata is not None:
            try:
                call._pack_fitting()
            except CallError:
                # The metadata do not fit, and are dropped silently: the handler's error matters more to the caller.
                call.sent_metadata = None
            except BaseException as problem:
                plain = plain_error(problem, "the metadata")
                logger.error("%s: its reply metadata is left out: %s", call.route.method, plain)
        call.was_ended = True
        connection.tell_failure(call, failure)
        return runner.room.weigh(connection, PyBytes_GET_SIZE(failure.details) + len(failure.text))
    return 0


@cython.nonecheck(False)
cdef int _count_end(HandlerRunner runner, ServerCall call, int status) except -1:
    assert call is not None
    cdef uint64_t now = now_ns(), elapsed = now - call.started_ns
    cdef int told = call.told_status or status
    call.connection.stepped_ns = call.connection.ended_ns = now
    call.counters.ended(told, elapsed)
    if call.is_logged:
        runner.call_log.ended(call, told, elapsed)
    runner.running -= 1
    call.is_running = False
    if call.permit is not None:
        leave_all(
            call.permit,
            elapsed,
            now,
            END_LATE if call.is_expired else END_GOOD if status == OK else END_FAILED,
        )
        call.permit = None
    if call.is_held:
        runner.unwatch(call)
    if call.stream is not None:
        (<ServedStream>call.stream).end()
    # A context may keep the call alive. Free its payload and arguments; keep its identity.
    call.given = None
    keep_identity(call)
    if call.flags & ONE_WAY and call.connection.outcomes is not None:
        call.connection.outcomes.release(call)
    return runner.tell_watcher() if runner.is_watched else 0


cdef int _drop_result(HandlerRunner runner, ServerCall call, Py_ssize_t size) except -1:
    """Answer that there is no memory for the result. `size` is 0 if the result was not encoded."""
    count_refusal("memory")
    call.compressor = 0
    failure = Failure(RESOURCE_EXHAUSTED, runner.room.lack_text(call, size), pushback_ms=PUSHBACK_NEVER)
    return _send_failure(runner, call, failure)


cdef inline bint packs_later(ServerCall call, bytes payload) noexcept:
    """Return whether an answer still has to be compressed, as a compressed answer never has this size here."""
    return call.compressor != 0 and PyBytes_GET_SIZE(payload) > SLICED_ABOVE
