"""A client's call that a task awaits. `client.call`, `request` and `notify` return it; a stream has one per attempt.

::

    await …              AwaitedCall.begin   route → encoded arguments → OwnCalls.start → future
      (the answer comes) OwnCalls.on_response → settle → the future wakes the task
    …                    AwaitedCall.resume  decodes the answer in the caller's own turn

It is a compiled object in place of a coroutine: it has no frame, and the task waits for one C future, for which tasks
have a fast path. The type slot of `PyIter_Send` steps the object, so awaiting it raises no StopIteration. The class is
registered as `collections.abc.Coroutine`, so `TaskGroup.create_task` accepts its objects.

The call of a stream is never stepped. The stream (`client_stream`) starts its attempts.
"""

import asyncio
import collections.abc
import warnings
from asyncio import InvalidStateError

cimport cython
from cpython.object cimport PyObject_Call

from fastrpc._core.base.coroutine cimport PYGEN_NEXT, YIELDED, PyIter_Send, PySendResult, install_coroutine
from fastrpc._core.base.coroutine cimport shorten_errors
from fastrpc._core.base.status cimport CANCELLED, UNKNOWN
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.batch_call cimport BatchCall
from fastrpc._core.client.call_errors cimport mark_own
from fastrpc._core.client.caller_state cimport CallerState
from fastrpc._core.client.caller_view cimport VERB_NOTIFY, VERB_REQUEST, ViewOptions, route_on, sends_stream
from fastrpc._core.client.client_stream cimport new_streaming
from fastrpc._core.client.encoded_request cimport EncodedRequest, new_encoded
from fastrpc._core.client.own_calls cimport next_usable
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, CANCEL_LOST_HEDGE, CANCEL_USER, ONE_WAY, STREAM_OUT

from fastrpc._core.client.client_call import made_by
from fastrpc._core.loop.loop_state import slept
from fastrpc.errors import FastRPCError
from fastrpc.tracebacks import shortened

cdef enum:
    PHASE_NEW = 0
    PHASE_WAITING = 1
    PHASE_DELEGATING = 2
    PHASE_CLOSED = 3
    # `_start` sent the call, and no task awaits it. `inner` is the function to call if its answer needs more
    # work.
    PHASE_STARTED = 4

cdef object Future = asyncio.Future


@cython.final
cdef class AwaitedCall(ClientCall):
    """A call that a task awaits. The first step sends it."""

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception where the task awaits the call: the handler is cancelled, and the exception propagates."""
        if self.phase == PHASE_DELEGATING:
            if value is None and isinstance(kind, BaseException):
                return _thrown(self, kind)
            return self.inner.throw(kind, value, traceback)
        if self.phase == PHASE_WAITING:
            self.abandon(CANCEL_USER, None)
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
        """End without a result; cancel a running call on the server."""
        if self.phase == PHASE_DELEGATING:
            self.inner.close()
        elif self.phase == PHASE_WAITING or self.phase == PHASE_STARTED:
            self.abandon(CANCEL_USER, None)
            if not self.future.get_loop().is_closed():
                self.future.cancel()
            self.inner = None
        self.phase = PHASE_CLOSED

    def __dealloc__(self):
        if self.phase == PHASE_NEW and self.route is not None:
            warn_unawaited(verb_of(self))

    cdef str stage(self):
        if self.phase == PHASE_NEW:
            return "not awaited"
        return "over" if self.phase == PHASE_CLOSED else ClientCall.stage(self)

    @property
    def __name__(self):
        return "call"

    @property
    def __qualname__(self):
        return verb_of(self)

    @property
    def cr_await(self):
        """The future or coroutine that the call waits on, or None."""
        return self.inner if self.phase == PHASE_DELEGATING else self.future

    cdef int step(self, object value, PyObject** result) except -1:
        if self.phase == PHASE_NEW:
            if value is not None:
                raise TypeError("can't send non-None value to a just-started coroutine")
            self.phase = PHASE_CLOSED
            return self.begin(result)
        if self.phase == PHASE_WAITING:
            if not self.is_settled and not self.future.done():
                raise RuntimeError("await wasn't used with future")
            self.phase = PHASE_CLOSED
            self.future = None
            return self.resume(result)
        if self.phase == PHASE_DELEGATING:
            return self._delegated(value, result)
        raise RuntimeError("cannot reuse already awaited coroutine")

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
        except BaseException as error:
            self.phase = PHASE_CLOSED
            self.inner = None
            mark_own(error)
            raise
        if sent == PYGEN_NEXT:
            return YIELDED
        self.phase = PHASE_CLOSED
        self.inner = None
        return RETURNED

    # A unary call

    cdef int begin(self, PyObject** result) except -1:
        if self.batch is not None:
            return (<BatchCall>self.batch).begin(self, result)
        inner = self._sent()
        if inner is not None:
            return self.delegate(inner, result)
        if self.verb == VERB_NOTIFY:
            # A notification has no answer, so it says nothing about the health of its endpoint.
            self.drop()
            return give(None, result)
        return self.wait(result)

    @cython.final
    cdef object _sent(self):
        """Send the request and return None; if it cannot be sent yet, return the coroutine of the runner."""
        cdef ViewOptions options = self.options
        cdef CallerState state = <CallerState>options.shared
        cdef Engine session = self.session
        cdef uint64_t now
        state.check_use()
        now = now_ns()
        if sends_stream(self.route, self.args, self.kwargs):
            return state.runner.run_streamed(self)
        if session is None and not options.needs_runner and not state.takes_slow_path():
            session = state.pick() if state.endpoint_set is None else self.place(now)
        if session is None or (not (<CallingPart>session.calling).is_settled and not self.is_attempt and self._needs_ready):
            self.undo()
            return state.runner.run(self)
        if state.bounds_output and not self.is_attempt and (<CallingPart>session.calling).output_waits():
            return state.runner.run_later(self)
        try:
            if not self.send_on(session, now):
                self.undo()
                return state.runner.pack(self) if self.is_attempt else state.runner.run_packed(self)
        except BaseException as error:
            self.undo()
            mark_own(error)
            raise
        return None

    def _start(self, rest):
        """Send the request now; return the future of its answer (`_take`), or None if a task has to await the call."""
        if self.phase != PHASE_NEW:
            raise RuntimeError("cannot start a call twice")
        self.phase = PHASE_CLOSED
        inner = self._sent()
        if inner is None:
            self.phase = PHASE_STARTED
            self.inner = rest
            return self.future
        self.inner = inner
        self.phase = PHASE_DELEGATING
        return None

    def _take(self):
        """Return the answer to a call that `_start` sent."""
        if self.phase != PHASE_STARTED or not self.is_settled:
            raise RuntimeError(f"the answer of {self.route.method} is missing, or was taken")
        self.phase = PHASE_CLOSED
        self.future = None
        return self.finish()

    @cython.final
    @cython.nonecheck(False)
    cdef Engine place(self, uint64_t now):
        """Return the session of the endpoint picked for the call; None if the runner has to connect first."""
        self.endpoint_set = (<CallerState>self.options.shared).endpoint_set
        self.endpoint_state = self.endpoint_set.choose(self, self.hash_key, self.route.method, None, now, &self.ticket)
        if self.endpoint_state is None:
            return None
        return next_usable(self.endpoint_state.connections, &self.endpoint_state.turn)

    cdef bytes prepare(self, uint64_t now):
        """Give the call its options and encode its arguments."""
        cdef EncodedRequest encoded = <EncodedRequest>self.prepared
        cdef bytes payload
        if encoded is None or encoded.route is not self.route:
            payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        else:
            payload = encoded.payload
            self.names = encoded.names
        self.apply_options(self.route, now)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        return payload

    @cython.nonecheck(False)
    cdef bint send_on(self, Engine session, uint64_t now) except -1:
        """Send the call on a connection; return False if its arguments have to be compressed first.

        The call keeps its data for another attempt."""
        cdef CallingPart part = <CallingPart>session.calling
        cdef bytes payload
        cdef EncodedRequest encoded
        self.route = route_on(self.route, session)
        payload = self.prepare(now)
        self.session = session
        encoded = <EncodedRequest>self.prepared
        if self.options.compressor is not None and (encoded is None or not encoded.is_packed):
            if self.options.packs_later(payload, part.peer, part.is_settled):
                self.prepared = new_encoded(self.route, self.names, payload)
                return False
        if not self.is_attempt:
            (<CallerState>self.options.shared).budget.count_call(self.started_ns)
        if self.verb != VERB_NOTIFY:
            self.future = PyObject_Call(Future, (), (<CallerState>self.options.shared).future_options)
        try:
            if encoded is None or not encoded.is_packed:
                payload = self.options.pack(self, payload, part.peer, part.is_settled)
            else:
                self.options.take_packed(self, part.peer, encoded.is_smaller)
            self.count_start(payload)
            session.now = self.started_ns
            part.start(self, payload)
        except BaseException as error:
            self.forget(error.status if isinstance(error, FastRPCError) else UNKNOWN)
            raise
        if self.verb == VERB_NOTIFY:
            self.is_settled = True
            self._count(0, self.started_ns)
        return True

    cdef int settle(self) except -1:
        if self.streaming is not None:
            return self._settle_stream()
        if self.batch is not None:
            return (<BatchCall>self.batch).settle(self)
        # The outcome is reported here: the task may never continue.
        try:
            if self.endpoint_state is not None:
                self.leave(self.failure, self.ended_ns)
        finally:
            self.wake()
        return 0

    @cython.final
    cdef int wake(self) except -1:
        """Wake the task."""
        if self.phase == PHASE_STARTED:
            rest, self.inner = self.inner, None
            if self.failure is not None or self.answer_compressor:
                self.phase = PHASE_WAITING
                # The function is called later: a pointer into the receive buffer may be held now.
                (<CallerState>self.options.shared).loop.call_soon(rest)
                return 0
        if self.future is not None:
            try:
                self.future.set_result(None)
            except InvalidStateError:
                # The task was cancelled in this turn of the loop: the cancellation comes first.
                pass
        return 0

    cdef int resume(self, PyObject** result) except -1:
        cdef object value
        if self.batch is not None:
            return (<BatchCall>self.batch).resume(self, result)
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
        return give(value, result)

    cdef object finish(self):
        value = self.value()
        if self.verb == VERB_REQUEST:
            return (<CallerState>self.options.shared).runner.reply(self, value)
        return value

    cdef int abandon(self, int reason, object error) except -1:
        """Give the call up: notify the server, and drop later input for the call."""
        if self.batch is not None:
            return (<BatchCall>self.batch).abandon(self, reason)
        if self.streaming is not None:
            if self.is_settled or self.session is None:
                return 0
            self.streaming.detach(self)
        self.forget(error.status if isinstance(error, FastRPCError) else CANCELLED)
        if error is None:
            error = asyncio.CancelledError()
        if self.streaming is not None:
            self.end_pick(error)
        elif self.endpoint_state is not None:
            self.leave(error, self.ended_ns)
        return (<CallingPart>self.session.calling).abandon(self, CANCEL_LOST_HEDGE if self.has_lost else reason)

    cdef int on_timer(self) except -1:
        """The deadline passed."""
        if self.batch is not None:
            return (<BatchCall>self.batch).expire(self)
        return 0 if self.is_settled else expire(self, self.session)

    cdef int may_send(self) except -1:
        if self.streaming is not None:
            return ClientCall.may_send(self)
        if self.future is not None and not self.future.done():
            self.future.set_result(None)
        return 0

    def sleep(self, seconds):
        """Sleep, for an interceptor."""
        return slept(seconds)

    # For the runner

    def _await_output(self, Engine session not None, future not None):
        """Complete a future when all output of a connection is sent; return False if there is no output."""
        cdef CallingPart part = <CallingPart>session.calling
        if not part.output_waits():
            return False
        self.future = future
        part.await_output(self)
        return True

    @property
    def _streamed(self):
        """The positional and keyword arguments if one of them is a stream of messages, else None."""
        return (self.args, self.kwargs) if sends_stream(self.route, self.args, self.kwargs) else None

    def _finish_unpacked(self):
        """Return the result of an answer whose decompression has ended."""
        if self.answer is None or self.answer_compressor:
            raise RuntimeError(f"the answer of {self.route.method} is missing, or still compressed")
        return self.finish()

    def _attempt_on(self, Engine session not None, int number):
        """Return attempt `number` as a coroutine or, for a stream, as the argument of `_begin`. It may run now."""
        cdef AwaitedCall attempt = AwaitedCall.__new__(AwaitedCall)
        attempt.become_attempt(self, session, number)
        self._may_have_run = True
        if self.streaming is not None:
            attempt.streaming = new_streaming(NULL)
            attempt.phase = PHASE_CLOSED
        elif isinstance(self.prepared, EncodedRequest):
            # The first attempt becomes the owner of the prepared arguments.
            attempt.prepared, self.prepared = self.prepared, None
        return attempt

    # Arguments that are compressed in slices

    @property
    def _to_pack(self):
        """The compressor and the encoded arguments."""
        return self.options.compressor, (<EncodedRequest?>self.prepared).payload

    def _stream_to_pack(self):
        """Return what `_to_pack` returns, for the attempt of a stream; None if `_begin` compresses its arguments."""
        cdef CallingPart part = <CallingPart>self.session.calling
        cdef bytes payload
        if self.options.compressor is None:
            return None
        payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        if not self.options.packs_later(payload, part.peer, part.is_settled):
            return None
        self.prepared = new_encoded(self.route, self.names, payload)
        return self._to_pack

    def _not_packed(self, error):
        """Return the error of an attempt whose arguments were not compressed in time, or failed to be compressed."""
        if isinstance(error, TimeoutError):
            return self.overdue(self.session, False)
        return self.options.unpackable(self.route, error)

    def _take_packed(self, bytes payload not None, bint is_smaller):
        """Take the compressed arguments of a stream; raise if its connection takes no more calls."""
        self._check_connection()
        self.prepared = new_encoded(self.route, self.names, payload, True, is_smaller)

    def _with_packed(self, bytes payload not None, bint is_smaller):
        """Return the attempt that sends the compressed arguments; raise if its connection takes no more calls."""
        cdef AwaitedCall sending
        self._check_connection()
        sending = self._attempt_on(self.session, self.attempt_number)
        sending.began_ns = self.began_ns or self.started_ns
        sending.prepared = new_encoded(self.route, self.names, payload, True, is_smaller)
        sending.has_lost = self.has_lost
        self.prepared = sending
        return sending

    def _check_connection(self):
        """Raise if the connection closed or stopped taking calls while the arguments were compressed."""
        cdef Engine session = self.session
        if session.is_closed:
            why = "it closed while the arguments were compressed"
            raise (<CallingPart>session.calling).error_of_end(self, False, why)
        if not session.is_usable:
            raise (<CallingPart>session.calling).error_of_end(self, False, None)

    # The attempt of a stream

    cdef bint choose(self) except -1:
        """Handle the server's first sign: return whether the stream uses this attempt; cancel the attempt otherwise."""
        if self.streaming.is_chosen:
            return True
        if not (<ClientStream>self.streaming.stream).take_attempt(self):
            self.has_lost = True
            self.abandon(CANCEL_LOST_HEDGE, None)
            return False
        self.streaming.is_chosen = True
        return True

    def _begin(self, ClientStream stream not None, sign=None, pick=None):
        """Send the attempt. From now on it notifies the stream. The server's first sign completes the future `sign`.

        Raises:
            TypeError: the arguments do not fit the method.
            EncodeError: they cannot be encoded.
        """
        cdef uint64_t now = now_ns()
        cdef EncodedRequest encoded = <EncodedRequest>self.prepared
        cdef CallingPart part = <CallingPart>self.session.calling
        cdef bytes payload = self.prepare(now)
        if encoded is None or not encoded.is_packed:
            payload = self.options.pack_for_stream(self, payload, part.peer, part.is_settled)
        else:
            self.options.take_packed(self, part.peer, encoded.is_smaller)
        self.prepared = None
        self.count_start(payload)
        self.streaming.sign = sign
        self.streaming.stream = <PyObject*>stream
        stream.attach(self)
        try:
            # Set before the attempt is sent: sending may end the attempt, which then reports to the endpoint set.
            self.streaming.pick = pick
            self.session.now = now
            part.start(self, payload)
        except BaseException as error:
            # The caller gives the pick back.
            self.streaming.pick = None
            self.streaming.detach(self)
            self.forget(error.status if isinstance(error, FastRPCError) else CANCELLED)
            raise

    def _give_up(self, error=None):
        """Cancel the attempt, which is no longer wanted, unless it has ended."""
        self.abandon(CANCEL_USER, error)

    @property
    def _is_over(self):
        """Whether the attempt has ended, with an answer or without one."""
        return bool(self.is_settled)

    @property
    def _is_chosen(self):
        """Whether the stream uses this attempt and receives its messages."""
        return self.streaming is not None and bool(self.streaming.is_chosen)

    cdef int _settle_stream(self) except -1:
        cdef ClientStream stream = None
        if self.streaming.stream is not NULL:
            # The last other reference to the stream may be dropped meanwhile.
            stream = <ClientStream>self.streaming.stream
        # Decoding an unread message may still fail; `_count_end` counts the stream then.
        if self.failure is None and self.flags & STREAM_OUT and (stream is None or not stream.waiting):
            self.count_outcome(0)
        try:
            self.end_pick(self.failure)
        finally:
            if stream is not None:
                stream.attempt_over(self)
        return 0


cdef object _thrown(AwaitedCall call, object error):
    """Raise an exception in the coroutine that finishes this call. The coroutine may convert the exception."""
    try:
        return call.inner.throw(error)
    except FastRPCError as raised:
        mark_own(raised)
        raise shortened(raised)


cdef AwaitedCall new_stream_call(ClientStream stream):
    """Return the call of a stream for interceptors, which nothing awaits."""
    cdef AwaitedCall call = AwaitedCall.__new__(AwaitedCall)
    call.phase = PHASE_CLOSED
    call.streaming = new_streaming(<PyObject*>stream)
    return call


cdef int expire(ClientCall call, Engine session) except -1:
    """Fail a client's call whose deadline has passed, and notify the server."""
    # `was_handed` would be wrong here: bytes that are written and not flushed are still sent, before the CANCEL.
    cdef bint handed = (<CallingPart>session.calling).was_written(call)
    (<CallingPart>session.calling).abandon(call, CANCEL_DEADLINE)
    return call.failed(call.overdue(session, handed))


cdef int step_of(PyObject* call, PyObject* value, PyObject** result) except -1:
    # The interpreter holds references to both during the step.
    return (<AwaitedCall>call).step(<object>value, result)


cdef object unawaited_name(PyObject* call):
    # The interpreter holds a reference during the operation.
    return verb_of(<AwaitedCall>call) if (<AwaitedCall>call).phase == PHASE_NEW else None


cdef str verb_of(AwaitedCall call):
    """Return the text of a call as a program writes it, for messages."""
    verb = "call_many" if call.batch is not None else made_by(call)
    return f"Client.{verb}({'…' if call.route is None else call.route.method})"


cdef int warn_unawaited(str name) except -1:
    """Warn that a call was made and never awaited, as Python does for any coroutine."""
    warnings.warn(f"coroutine '{name}' was never awaited", RuntimeWarning, stacklevel=2)
    return 0


install_coroutine(AwaitedCall, step_of, unawaited_name)
shorten_errors(shortened)
collections.abc.Coroutine.register(AwaitedCall)
