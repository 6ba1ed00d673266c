"""A call of a client, for tasks or threads: its request, its answer, and its counters.

::

    Call
    └── ClientCall        options, arguments, endpoint, answer; a stream or None
        ├── AwaitedCall   (awaited_call) awaited by a task
        ├── BlockingCall  (blocking_call) awaited by a thread
        └── BatchMember   one call of a batch

An answer is decoded where it is awaited, not where it arrives: no Python code of a decoder runs while a pointer into
the receive buffer is held, and an answer that is no longer awaited is never decoded.

A streaming call and its attempts point to the stream without a reference. The table of calls holds the attempt, so a
reference would keep a stream alive that the program has dropped, and that has to be cancelled. Interceptors, and the
task that sends an iterable, hold the call, and reach the stream through it while it exists.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.status cimport CANCELLED, DEADLINE_EXCEEDED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Draining, current_scope
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.call_errors cimport (
    error_of_answer,
    hint_at_token,
    mark_own,
    overdue_error,
    overdue_stream_error,
    seconds_between,
)
from fastrpc._core.client.caller_view cimport VERB_CALL, VERB_NOTIFY, VERB_REQUEST, route_on
from fastrpc._core.payload.metadata cimport encode_metadata
from fastrpc._core.wire.frame cimport IDEMPOTENT, STREAM_OUT

from fastrpc._core.base.histogram import count_unstarted
from fastrpc._core.loop.drain_event import DrainEvent
from fastrpc.errors import DeadlineExceededError, DecodeError, EncodeError

# By the number of a verb (VERB_CALL …).
cdef tuple VERBS = ("call", "request", "notify")

cdef enum:
    # The remaining time is sent in microseconds, rounded down; a call with less than one microsecond is not sent.
    LEAST_NS = 1_000


cdef class Streaming:
    """The state of a streaming call, separate because most calls have none, and the link to its stream."""

    cdef int message_came(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        """Handle a message of the stream, which took `cost` bytes of its window."""
        raise NotImplementedError

    cdef int head_came(self, Call call, bytes metadata) except -1:
        """Handle the initial metadata of the stream."""
        raise NotImplementedError

    cdef int may_send(self) except -1:
        """Note that all messages which the stream sent so far have been written out."""
        raise NotImplementedError

    cdef int detach(self, Call call) noexcept:
        """Detach the stream, which gets no further events."""
        return 0

    cdef int wrap(self, Call call, object function, bint sent) except -1:
        """Make a function replace each message that is sent or, if `sent` is False, received."""
        raise NotImplementedError

    cdef str stage(self, Call call):
        """Return the stage of the stream, or of this attempt of it."""
        raise NotImplementedError


cdef class ClientCall(Call):
    """A call of a client. Its connection settles it exactly once."""

    def __dealloc__(self):
        # The answer was never read, as its reader was interrupted. The collector may have cleared fields already.
        if self.is_counted and self.is_settled and self.route is not None:
            if self.route.counters is not None and self.route.totals is not None:
                self.count_outcome(0)

    # From the connection

    cdef int settle(self) except -1:
        """Wake the waiting task or thread: the answer or the failure is here. Subclasses implement this."""
        return 0

    cdef object endpoint_on(self, Engine session):
        """Return the endpoint of a connection in the form of the client's service, which errors name."""
        endpoint = (<CallingPart>session.calling).endpoint
        record_of = None if self.options is None else self.options.shared.record_of
        return endpoint if record_of is None else record_of(endpoint)

    cdef str stage(self):
        """Return the stage of a unary call. Subclasses may override this."""
        return "over" if self.is_settled or self.outcome_status is not None else "waiting"

    cdef int answer_came(self, Frame* frame, bytes payload, uint64_t now) except -1:
        if self.is_settled:
            return 0
        # A call is settled once it has its outcome: if memory runs out before that, the call can still be failed.
        if frame.status == 0:
            self.answer = payload
            self.answer_codec = frame.codec
            self.answer_compressor = frame.compressor
        else:
            # A call of a batch has no `session`.
            leaves = self.session is not None and (<CallingPart>self.session.calling).peer_leaves
            self.failure = error_of_answer(self, leaves, frame, payload)
            hint_at_token(self.failure, self.options, self.sent_metadata)
            mark_own(self.failure)
        self.is_settled = True
        try:
            self.ended_ns = now
            if frame.status:
                self.count_outcome(frame.status)
            self.route.counters.moved(PyBytes_GET_SIZE(payload), 0)
            self.moved_bytes += PyBytes_GET_SIZE(payload)
            self.route.totals.received(PyBytes_GET_SIZE(payload))
        finally:
            self.settle()
        return 0

    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        self.route.counters.moved(size, 0)
        self.moved_bytes += size
        self.route.totals.received(size)
        if self.streaming is None:
            return (<CallingPart>self.session.calling).message_taken(self, cost)
        return self.streaming.message_came(self, frame, payload, cost)

    cdef int head_came(self, bytes metadata) except -1:
        return 0 if self.streaming is None else self.streaming.head_came(self, metadata)

    cdef int may_send(self) except -1:
        return 0 if self.streaming is None else self.streaming.may_send()

    cdef int failed(self, object error) except -1:
        if self.is_settled:
            return 0
        self.is_settled = True
        self._count(error.status, now_ns())
        if error.processed == "no" and not isinstance(error, EncodeError):
            # The call ended before it was sent. A message that cannot be encoded is the caller's fault.
            count_unstarted(error.status)
        self.failure = error
        mark_own(error)
        return self.settle()

    # Counting

    cdef int count_start(self, bytes payload) noexcept:
        """Count a call that is sent now."""
        self.route.counters.started()
        self.route.counters.moved(0, PyBytes_GET_SIZE(payload))
        self.moved_bytes += PyBytes_GET_SIZE(payload)
        self.route.totals.started(self.attempt_number != 0, PyBytes_GET_SIZE(payload))
        self.is_counted = True
        return 0

    cdef int _count(self, int status, uint64_t now) except -1:
        self.ended_ns = now
        return self.count_outcome(status)

    cdef int count_outcome(self, int status) except -1:
        """Count the outcome of the call, once. A count never falls, so this waits for the final outcome."""
        if self.is_counted:
            self.is_counted = False
            self.route.counters.ended(status, self.ended_ns - self.started_ns)
            self.route.totals.ended(status)
        return 0

    cdef int forget(self, int status=CANCELLED) except -1:
        """Ignore later input for the call, as nothing waits for its answer any more."""
        if self.is_settled:
            # The answer came and is not read.
            return self.count_outcome(0)
        self.is_settled = True
        return self._count(status, now_ns())

    # The answer

    cdef object value(self):
        """Decode the answer, and count the call by the result."""
        cdef bytes payload
        cdef object value
        try:
            payload = self.decompressed(self.answer) if self.answer_compressor else self.answer
            if self.answer_codec != self.route.marshal.codec_id:
                raise DecodeError(
                    f"{self.route.method} answered in codec {self.numbers.codec_label(self.answer_codec)}, asked was codec "
                    f"{self.route.marshal.coders.codec!r}"
                )
            value = self.route.marshal.decode_result(payload)
        except DecodeError as error:
            self.count_outcome(error.status)
            raise
        self.count_outcome(0)
        return value

    def _count_end(self, error):
        """Count the ended attempt of a stream after its messages were read or dropped.

        A message that cannot be decoded counts as a failure here, although the server ended the attempt with OK. A
        single answer is counted when it is decoded.
        """
        if self.is_settled and self.flags & STREAM_OUT:
            self.count_outcome(error.status if isinstance(error, DecodeError) else 0)

    def _count_undecoded(self, error):
        """Count a call as failed: its answer came with status OK but cannot be decoded."""
        self.count_outcome(error.status)

    @property
    def _packed_answer(self):
        """The compressor and the payload of an answer that is not decompressed yet."""
        return self.compressor_of_answer(), self.answer

    def _take_unpacked(self, bytes payload not None):
        """Take the decompressed payload as the answer."""
        self.answer = payload
        self.answer_compressor = 0

    def _take_failure(self, error not None):
        """Take an error in place of the answer, which cannot be decompressed."""
        self.failure = error

    def _unpacking_failed(self, error):
        """Return the error of a decompression, naming the method of the answer."""
        if not isinstance(error, DecodeError):
            return DecodeError(f"the answer of {self.route.method} cannot be decompressed: {error!r}")
        return DecodeError(f"the answer of {self.route.method}: {error.message}", status=error.status, hint=error.hint)

    cdef bytes decompressed(self, bytes payload):
        """Return an answer, or a message of a stream, without the compression `answer_compressor`."""
        compressor = self.compressor_of_answer()
        try:
            return compressor.decompress(payload, self.message_limit)
        except Exception as error:  # An installed compressor may raise anything.
            raise self._unpacking_failed(error)

    cdef object compressor_of_answer(self):
        compressor = None if self.numbers is None else self.numbers.compressors.get(self.answer_compressor)
        if compressor is None:
            raise DecodeError(
                f"{self.route.method} answered with compressor number {self.answer_compressor}, unknown here"
            )
        return compressor

    cdef object overdue(self, Engine session, bint handed):
        """Return the error of a deadline that passed here."""
        endpoint = self.endpoint_on(session)
        if self.streaming is not None:
            return overdue_stream_error(self, endpoint, handed, self.began_ns)
        return overdue_error(self, endpoint, handed, self.began_ns)

    # The options

    @cython.final
    cdef int apply_options(self, MethodRoute route, uint64_t now, Py_ssize_t unsent=1) except -1:
        """Apply the options and set the deadline; raise if the deadline has passed.

        A failure counts `unsent` calls as not sent; pass 0 if the code that makes the attempt counts them.
        """
        cdef ViewOptions options = self.options
        cdef Call scope
        cdef bytes entry
        cdef uint64_t timeout
        self.route = route
        self.is_local = True
        self.flags = route.flags
        if options.idempotent is not None:
            self.flags = (self.flags & ~IDEMPOTENT) | (IDEMPOTENT if options.idempotent else 0)
        self.codec = <uint8_t>route.marshal.codec_id
        self.priority = options.priority
        if self.sent_metadata is None:
            self.sent_metadata = options.sent_metadata
        self.started_ns = now
        self.numbers = options.shared.numbers
        self.message_limit = options.shared.message_limit
        timeout = options.timeout_of(route)
        # All attempts of a call share its deadline, which is already set.
        if timeout and now + timeout < self.deadline_ns:
            self.deadline_ns = now + timeout
        scope = current_scope()
        if scope is not None:
            self.deadline_ns = min(self.deadline_ns, scope.deadline_ns)
            if scope.attempt_number:
                self.is_inside_retry = True
            entry = scope.get_request_entry()
            if entry is not None:
                self.request_entry = entry
                self.sent_metadata = with_entry(self.sent_metadata, entry)
        if self.deadline_ns < now + LEAST_NS:
            count_unstarted(DEADLINE_EXCEEDED, unsent)
            raise DeadlineExceededError(
                f"{route.method}: the deadline has passed; the call was not sent", processed="no"
            )
        return 0

    @cython.final
    cdef int copy_options(self, ClientCall other) noexcept:
        """Copy the options and the deadline of another call of the same batch."""
        self.route = other.route
        self.is_local = True
        self.flags = other.flags
        self.codec = other.codec
        self.priority = other.priority
        self.sent_metadata = other.sent_metadata
        self.request_entry = other.request_entry
        self.started_ns = other.started_ns
        self.numbers = other.numbers
        self.message_limit = other.message_limit
        self.deadline_ns = other.deadline_ns
        self.is_inside_retry = other.is_inside_retry
        return 0

    # Its attempts

    def _start_clock(self):
        """Give the call its options and deadline before any attempt; raises if no time is left."""
        if self.batch is None:
            self.apply_options(self.route, now_ns())
            self.options.shared.budget.count_call(self.started_ns)
        else:
            # The runner counts its calls, and their attempts count for the budget.
            self.apply_options(self.route, now_ns(), 0)

    cdef int become_attempt(self, ClientCall call, Engine session, int number) except -1:
        """Become attempt `number` of another call on a connection, within that call's deadline."""
        if session.calling is None:
            raise TypeError(f"{session!r} makes no calls")
        self.set_request(route_on(call.route, session), call.options, call.hash_key, call.args, call.kwargs)
        # The answer is wrapped once, around all attempts and interceptors.
        self.verb = <uint8_t>VERB_CALL if call.verb == VERB_REQUEST else call.verb
        self.session = session
        self.is_attempt = True
        self.deadline_ns = call.deadline_ns
        self.began_ns = call.started_ns
        self.attempt_number = <uint8_t>min(number, 255)
        self.sent_metadata = metadata_of(call)
        if call._on_attempt is not None:
            call._on_attempt(number, self.endpoint_on(session))
        return 0

    def _adopt(self, ClientCall attempt not None, may_have_run=None):
        """Take over the results of an attempt; after a failure, also whether a handler may have run in any attempt."""
        if may_have_run is not None:
            self._may_have_run = bool(may_have_run)
        self.received_metadata = attempt.received_metadata
        self._reply_metadata = None
        self.session = attempt.session
        self.attempt_number = attempt.attempt_number
        self.ended_ns = attempt.ended_ns
        # An attempt that is adopted twice counts once.
        self.moved_bytes += attempt.moved_bytes
        attempt.moved_bytes = 0

    def _lose(self):
        """Record that another attempt was faster; if this attempt is given up, the server gets this as the reason."""
        self.has_lost = True
        if isinstance(self.prepared, ClientCall):
            (<ClientCall>self.prepared).has_lost = True

    @property
    def _failure(self):
        """The error of an attempt that is over, or None."""
        return self.failure

    def _count_unsent(self, status):
        """Count a call that failed before an attempt could be made."""
        count_unstarted(status)
        self.route.counters.started()
        self.route.totals.started(False, 0)
        self.is_counted = True
        self._count(status, now_ns())

    # The endpoint that the set picked

    @cython.final
    @cython.nonecheck(False)
    cdef int leave(self, object error, uint64_t ended_ns) except -1:
        """Report the outcome of the attempt to the endpoint set, if the set knows the attempt."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        return self.endpoint_set.conclude(
            endpoint_state, self.route.method, self.ticket, self.started_ns, ended_ns, error
        )

    @cython.final
    cdef int drop(self) except -1:
        """Withdraw the attempt, if the endpoint set knows it."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        return self.endpoint_set.drop(endpoint_state, self.route.method, self.ticket)

    @cython.final
    cdef int undo(self) except -1:
        """Undo the pick, which led to no connection or no attempt."""
        cdef EndpointState endpoint_state = self.endpoint_state
        if endpoint_state is None:
            return 0
        self.endpoint_state = None
        return self.endpoint_set.undo(endpoint_state, self.route.method, self.ticket)

    # Its stream

    cdef bint choose(self) except -1:
        """Handle the server's first sign; return whether the stream uses this attempt."""
        return True

    cdef int end_pick(self, object error) except -1:
        """Report the outcome of an attempt that streams to the endpoint set, once."""
        pick, self.streaming.pick = self.streaming.pick, None
        if pick is not None:
            pick.ended(error)
        return 0

    def _answer(self):
        """Return the one answer of a method that streams its input only."""
        return self.value()

    @property
    def _stream(self):
        """The stream of this call, or None."""
        if self.streaming is None or self.streaming.stream is NULL:
            return None
        return <object>self.streaming.stream

    def wrap_sent(self, function):
        """Let a function replace each sent message; the first given function is called first."""
        if self.streaming is None:
            return Call.wrap_sent(self, function)
        self.streaming.wrap(self, function, True)

    def wrap_received(self, function):
        """Let a function replace each received message; the first given function is called last."""
        if self.streaming is None:
            return Call.wrap_received(self, function)
        self.streaming.wrap(self, function, False)

    # Views

    def __repr__(self):
        stage = self.stage() if self.streaming is None else self.streaming.stage(self)
        return f"<{'ClientCall' if self.batch is None else 'BatchCall'} of {self.method}, {stage}>"

    @property
    def arguments(self):
        """The arguments as they were given, without a stream."""
        return (*self.args, *self.kwargs.values()) if self.kwargs else self.args

    @property
    def endpoint(self):
        """The endpoint of the last attempt, or None."""
        return None if self.session is None else self.endpoint_on(self.session)

    cdef object get_peer(self):
        return self.options.shared.runner.peer(self)

    @property
    def retry_policy(self):
        """The rules and the budget of its client."""
        return self.options.shared.runner.policy

    @property
    def draining(self):
        """Return an awaitable that never completes. Its counterpart in a handler completes when the server drains."""
        return Draining(DrainEvent())

    @property
    def cancelled(self):
        """Whether the caller gave it up or its time ran out."""
        return self.outcome_status in (CANCELLED, DEADLINE_EXCEEDED)

    @property
    def is_idempotent(self):
        """Whether the server may run it twice."""
        return bool(self.flags & IDEMPOTENT)

    @property
    def inside_retry(self):
        """Whether a handler makes the call while it serves a retry. Such a call is not retried."""
        return bool(self.is_inside_retry)

    @property
    def _options(self):
        """The options of the client or view that made it."""
        return self.options

    @property
    def _selecting_metadata(self):
        """The metadata of the request for selectors, which only read it, or None."""
        return self.options.metadata if self._metadata is None else self._metadata

    @property
    def _batch(self):
        """The calls of the batch that this call represents, or None."""
        return self.batch

    @property
    def _is_attempt(self):
        """Whether it is an attempt of another call."""
        return bool(self.is_attempt)

    @property
    def _is_one_way(self):
        return self.verb == VERB_NOTIFY

    @property
    def _needs_ready(self):
        """Whether it waits for the peer's settings.

        The caller of a notification would not learn of a refusal.
        """
        return self.verb == VERB_NOTIFY or self.options.needs_settings(self.route, metadata_of(self))

    @property
    def _seconds(self):
        """The seconds that the call took, or has taken so far."""
        # An end before the start is the end of an attempt: the call is still in progress.
        return seconds_between(self.started_ns, self.ended_ns if self.ended_ns > self.started_ns else now_ns())

    @property
    def _elapsed(self):
        """The seconds since the call began, for all of its attempts."""
        return seconds_between(self.started_ns, now_ns())


def made_by(ClientCall call not None):
    """Return the verb of the client that made a call: "call", "request" or "notify"."""
    return VERBS[call.verb]


cdef bytes with_entry(bytes sent, bytes entry):
    """Return metadata with the id of the surrounding request as its last entry."""
    if sent is None:
        return entry
    # An attempt may have copied the entry from its call.
    return sent if sent.endswith(entry) else sent + entry


cdef bytes metadata_of(ClientCall call):
    """Return the encoded metadata of a call: its own, or its options' metadata."""
    return call.sent_metadata if call._metadata is None else encode_metadata(call._metadata)
