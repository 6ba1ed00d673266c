"""One call of a client on asyncio: what `client.call`, `request` and `notify` return.

::

    await …              ClientCall.begin    route → encoded arguments → OwnCalls.start → future
      (the answer comes) OwnCalls.on_response → settle → the future wakes the task
    …                    ClientCall.resume   decodes the answer in the caller's own turn

A loop's own C future is what the task waits on: tasks have a fast path for it.
"""

import asyncio

cimport cython
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.calling.caller_view cimport (
    VERB_CALL,
    VERB_NOTIFY,
    VERB_REQUEST,
    count_start,
    metadata_of,
    route_on,
    sends_stream,
)
from fastrpc._core.calling.own_calls cimport next_usable, output_waits
from fastrpc._core.calling.coroutine_call cimport RETURNED, make_awaitable
from fastrpc._core.calling.pending_call cimport lost_error, mark_own, overdue_error, unstarted_error
from fastrpc._core.base.status cimport UNKNOWN
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.framing.frame cimport CANCEL_DEADLINE, CANCEL_LOST_HEDGE, ONE_WAY

from fastrpc.errors import FastRPCError

cdef extern from "Python.h":
    object PyObject_Call(object function, object arguments, object options)

cdef object Future = asyncio.Future

cdef double LONGEST_SLEEP = 1e9


async def slept(seconds):
    """Sleep for no less than so many seconds."""
    cdef uint64_t until, now
    if not 0 < seconds < LONGEST_SLEEP:
        await asyncio.sleep(seconds)
        return
    until = now_ns() + <uint64_t>(<double>seconds * 1e9)
    # uvloop counts whole milliseconds from the start of its turn: its timers may be early.
    while True:
        await asyncio.sleep(seconds)
        now = now_ns()
        if now >= until:
            return
        seconds = <double>(until - now) / 1e9


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
    cdef Connection place(self, EndpointSet endpoint_set, uint64_t now):
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
cdef class EncodedRequest:
    """The arguments of a call, encoded, and compressed once that is done."""


@cython.final
cdef class ClientCall(PickedCall):
    """What `client.call`, `request` and `notify` return: awaiting it makes the call."""

    cdef int begin(self, PyObject** result) except -1:
        cdef ViewOptions options = self.options
        cdef CallerState state = <CallerState>options.shared
        cdef Connection session = self.session
        cdef uint64_t now
        state.check_use()
        now = now_ns()
        if sends_stream(self.route, self.args, self.kwargs):
            return self.delegate(state.runner.run_streamed(self), result)
        if session is None and not options.needs_runner and not state.takes_slow_path():
            session = state.pick() if state.endpoint_set is None else self.place(state.endpoint_set, now)
        if session is None or (not session.settled and not self.is_attempt and self._needs_ready):
            self.undo()
            return self.delegate(state.runner.run(self), result)
        if state.bounds_output and not self.is_attempt and output_waits(session):
            return self.delegate(state.runner.run_later(self), result)
        try:
            if not self.send_on(session, now):
                self.undo()
                return self.delegate(state.runner.pack(self) if self.is_attempt else state.runner.run_packed(self), result)
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
        cdef EncodedRequest encoded = <EncodedRequest>self.prepared
        cdef bytes payload
        if encoded is None or encoded.route is not self.route:
            payload = <bytes>self.route.marshal.encode_call(self.args, self.kwargs, &self.names)
        else:
            payload = encoded.payload
            self.names = encoded.names
        self.options.apply_options(self, self.route, now)
        if self.verb == VERB_NOTIFY:
            self.flags |= ONE_WAY
        return payload

    cdef bint send_on(self, Connection session, uint64_t now) except -1:
        """Send on a connection; the call keeps what it needs for another attempt. False: its arguments are packed before."""
        cdef bytes payload
        cdef EncodedRequest encoded
        self.route = route_on(self.route, session)
        payload = self.prepare(now)
        self.session = session
        encoded = <EncodedRequest>self.prepared
        if self.options.compressor is not None and (encoded is None or not encoded.is_packed):
            if self.options.packs_later(payload, session.peer, session.settled):
                self.prepared = new_encoded(self, payload)
                return False
        if not self.is_attempt:
            (<CallerState>self.options.shared).budget.count_call(self.started_ns)
        if self.verb != VERB_NOTIFY:
            self.future = PyObject_Call(Future, (), (<CallerState>self.options.shared).future_options)
        try:
            if encoded is None or not encoded.is_packed:
                payload = self.options.pack(self, payload, session.peer, session.settled)
            else:
                self.options.take_packed(self, session.peer, encoded.is_smaller)
            count_start(self, payload)
            session.now = self.started_ns
            session.calling.start(self, payload)
        except BaseException as error:
            self.forget(error.status if isinstance(error, FastRPCError) else UNKNOWN)
            raise
        if self.verb == VERB_NOTIFY:
            self.is_settled = True
            self._count(0, self.started_ns)
        return True

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
        return self.session.calling.abandon(self, CANCEL_LOST_HEDGE if self.has_lost else reason)

    cdef int on_timer(self) except -1:
        """The deadline passed."""
        if not self.is_settled:
            expire(self, self.session)
        return 0

    cdef int may_send(self) except -1:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)
        return 0

    def sleep(self, seconds):
        """Wait, in an interceptor."""
        return slept(seconds)

    # For the runner

    def _await_output(self, Connection session not None, future not None):
        """Have a future done once the output of a connection has left; return whether there is anything to wait for."""
        if not output_waits(session):
            return False
        self.future = future
        session.await_output(self)
        return True

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

    def _attempt_on(self, Connection session not None, int number):
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
        attempt.sent_metadata = metadata_of(self)
        if isinstance(self.prepared, EncodedRequest):
            # Its first attempt takes it over.
            attempt.prepared, self.prepared = self.prepared, None
        if self._on_attempt is not None:
            self._on_attempt(number, session.calling.endpoint)
        return attempt

    # Arguments that are compressed in slices

    @property
    def _to_pack(self):
        """The compressor and the encoded arguments."""
        return self.options.compressor, (<EncodedRequest?>self.prepared).payload

    def _with_packed(self, bytes payload not None, bint is_smaller):
        """Return the attempt that sends the arguments as they are now; raise if its connection takes no calls any more."""
        cdef ClientCall sending
        cdef EncodedRequest encoded
        cdef Connection session = self.session
        if session.is_closed:
            raise lost_error(session, session.calling.endpoint, self, False, "it closed while the arguments were compressed")
        if not session.is_usable:
            raise unstarted_error(session, session.calling.endpoint, self)
        sending = self._attempt_on(session, self.attempt_number)
        sending.began_ns = self.began_ns or self.started_ns
        encoded = sending.prepared = new_encoded(self, payload)
        encoded.is_packed = True
        encoded.is_smaller = is_smaller
        sending.has_lost = self.has_lost
        self.prepared = sending
        return sending

    def _overdue(self):
        """Return the error of an attempt whose deadline passed before it was sent."""
        return overdue_error(self, self.session.calling.endpoint, False)

    def _unpackable(self, error):
        """Return the error of arguments that cannot be compressed."""
        return self.options.unpackable(self, error)

    def _lose(self):
        """Note that another attempt was faster: when this one is cancelled, the server is told why."""
        self.has_lost = True
        if isinstance(self.prepared, ClientCall):
            (<ClientCall>self.prepared).has_lost = True

    def _adopt(self, ClientCall attempt not None):
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
        return None if self.session is None else self.session.calling.endpoint

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

        Nobody would hear that a notification was refused.
        """
        return self.verb == VERB_NOTIFY or self.options.needs_settings(self.route, metadata_of(self))


cdef EncodedRequest new_encoded(ClientCall call, bytes payload):
    cdef EncodedRequest encoded = EncodedRequest.__new__(EncodedRequest)
    encoded.route = call.route
    encoded.names = call.names
    encoded.payload = payload
    return encoded


cdef int expire(PendingCall call, Connection session) except -1:
    """The deadline of a call of ours passed: the caller is told at once, the server too."""
    # Not `was_handed`: what is written and not flushed goes out all the same, in front of the CANCEL.
    cdef bint handed = session.was_written(call)
    session.calling.abandon(call, CANCEL_DEADLINE)
    return call.failed(overdue_error(call, session.calling.endpoint, handed))


make_awaitable(ClientCall)
