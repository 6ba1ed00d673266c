"""The serving part of a connection: of a server, or of a client that also serves.

::

    complete REQUEST ──► ServedCalls ──► Gate.pass_in ──► handler
                                                            │ answer, fail, refuse
    RESPONSE ◄── Connection ◄── ServedCalls ◄── NativeOutcomes

The module has the callee's side of the wire: memory for the pieces of a request, and frames for decisions of the gate.

The most frequent calls avoid objects of the general case: the gate passes a raw payload to its handler without a tuple
around it, the handler runner fetches an exception from the thread state instead of catching it, and a small answer is
written into the write buffer without a `Frame` (`WireProtocol.write_answer`).
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport Py_REFCNT, PyObject
from libc.stdint cimport uint8_t, uint32_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_ASSEMBLING, STATE_CANCELLED, STATE_GONE
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.native.send_queue cimport SMALL_MESSAGE
from fastrpc._core.payload.metadata cimport has_any_key
from fastrpc._core.server.connection_life cimport new_life
from fastrpc._core.server.http_answer cimport told_with
from fastrpc._core.server.native_flow cimport NATIVE_GROUPS, engine_behind
from fastrpc._core.server.served_connection cimport HOLD_DRAIN, HOLD_OUTPUT, HOLD_QUEUE, HOLD_STALL, process_held
from fastrpc._core.server.stopped_handlers cimport cancel_in_read
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, CANCEL_LOCAL_LIMIT, CONT, HEADER_SIZE, ONE_WAY, Frame
from fastrpc._core.wire.frame cimport OUTCOME_NOT_STARTED, OUTCOME_RAN, OUTCOME_UNKNOWN
from fastrpc._core.wire.frame cimport PUSHBACK_NEVER, REQUEST, STREAM_IN, STREAM_OUT
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER
from fastrpc._core.wire.window cimport placed

from fastrpc._core.base.histogram import count_refusal

cdef enum:
    # Requests that wait for their start may hold a quarter of `Memory.request_bytes` before credit is withheld. Together
    # with one window of bytes in flight they stay below the limit.
    PART_THAT_WAITS = 4

# The metadata key with which a gateway asks for the status and fields of the HTTP answer (PROTOCOL.md, "Metadata").
cdef frozenset ASKING_KEY = frozenset({b"frpc-http"})


@cython.final
cdef class NativeServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks the native protocol."""

    @property
    def engine(self):
        """The native connection, or None after it was freed."""
        return None if self._engine is NULL else <Connection>self._engine

    def describe_peer(self):
        """Return a description of the peer, which remains available after the connection has ended."""
        if self.peer_info is None and self._engine is not NULL:
            self.peer_info = self.gate.dispatcher.describe_peer(<Connection>self._engine)
        return self.peer_info

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        """Store the status and fields of an answer if a gateway asked for them."""
        cdef bytes asked = call.received_metadata
        if asked is not None and not call.route.gives_stream and has_any_key(asked, ASKING_KEY):
            (<ServerCall>call).head = told_with(<list>(<ServerCall>call).head, status, fields, compress)
            # Create the answer's metadata, with which the fields are sent.
            call.reply_metadata
        return 0

    def note_probe(self):
        """Note a health probe, which does not count as use of the connection."""
        if self._engine is not NULL:
            (<Connection>self._engine).liveness.probes += 1

    cdef list streams_under_way(self):
        cdef Call call
        cdef Connection engine = engine_behind(self)
        calls = [] if engine is None else engine.callee.calls.entries()
        return [call for call in calls if call.flags & (STREAM_IN | STREAM_OUT) and call.state != STATE_CANCELLED]

    cdef uint64_t most_message(self) noexcept:
        return self.max_message if self._engine is NULL else (<Connection>self._engine).peer.max_message

    cdef uint32_t most_metadata(self) noexcept:
        return self.max_metadata if self._engine is NULL else (<Connection>self._engine).peer.max_metadata

    cdef bint takes_codec(self, Call call) except -1:
        cdef Connection engine = engine_behind(self)
        if engine is None or call.flags & ONE_WAY:
            return True
        return engine.peer.codec_number(call.codec, self.gate.codecs[call.codec]) >= 0

    cdef int64_t cut_bytes(self) except? -1:
        # The rest of long messages that are sent in pieces.
        return 0 if self._engine is NULL else (<Connection>self._engine).sender.cut_bytes

    cdef int weigh_answer(self) except -1:
        cdef Connection engine = engine_behind(self)
        return 0 if engine is None else (<ServedCalls>engine.serving).weigh_output()

    def note_drain(self):
        """Notify handlers of the drain. Calls are served until GOAWAY FINAL, which names the last accepted call."""
        EngineServedConnection.note_drain(self)
        self.holding &= ~HOLD_DRAIN

    cpdef int return_credit(self) except -1:
        cdef Connection engine = engine_behind(self)
        return 0 if engine is None else (<ServedCalls>engine.serving).return_credit()

    cdef int end_turn(self) except -1:
        cdef Connection engine = engine_behind(self)
        return 0 if engine is None or engine._stream is NULL else (<ByteStream>engine._stream).flush()


@cython.final
cdef class NativeOutcomes(Outcomes):
    """Sends the outcomes of calls on native connections. All connections share one object."""

    @cython.nonecheck(False)
    cdef int answer(self, Call call, bytes payload) except -1:
        assert call is not None
        cdef NativeServedConnection connection = <NativeServedConnection>(<ServerCall>call).connection
        cdef Connection engine = engine_behind(connection)
        if engine is None:
            return 0
        # If the loop was closed, the garbage collector may have cleared the fields of the connection.
        if engine.is_closed or engine.serving is None:
            return 0
        if call.codec >= FIRST_OWN_NUMBER:
            call.codec = <uint8_t>engine.peer.codec_number(call.codec, connection.gate.codecs[call.codec])
        engine.sender.send_response(
            call, payload, <uint32_t>min((connection.stepped_ns - call.started_ns) // 1000, <uint64_t>0xFFFFFFFF)
        )
        if <int64_t>engine.sender.unsent_bytes() > (<ServedCalls>engine.serving).gate.send_soft:
            (<ServedCalls>engine.serving).weigh_output()
        return connection.flush_early(engine)

    cdef int fail(self, Call call, Failure failure) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        cdef Outgoing answer
        if engine is None or engine.is_closed:
            return 0
        cdef int outcome = OUTCOME_UNKNOWN if failure.goes_on else OUTCOME_RAN if failure.has_run else OUTCOME_NOT_STARTED
        answer = new_failure(failure.status, outcome, failure.text)
        answer.payload = failure.details
        answer.pushback_ms = failure.pushback_ms
        return engine.sender.send_failure(call, answer)

    cdef bint is_unanswered(self, Call call) except -1:
        # True even if pieces of an answer were sent: a failure can still replace the rest.
        return call.state != STATE_GONE

    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        if engine is None or engine.is_closed:
            return 0
        try:
            return (<ServedCalls>engine.serving).send_refusal(call, status, text, is_faulty)
        except BaseException:
            if call.state == STATE_GONE:
                # The call is over here, and no refusal was sent. Close the connection, as the caller would wait forever.
                (<ServerCall>call).connection.abandon()
            raise

    cdef int hold(self, Call call) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        return 0 if engine is None else engine.callee.hold(call)

    cdef int release(self, Call call) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        if engine is not None:
            engine.callee.one_way_calls -= 1
        return 0


cdef NativeOutcomes NATIVE_OUTCOMES = NativeOutcomes.__new__(NativeOutcomes)


@cython.final
cdef class ServedCalls(ServingPart):
    """The peer's calls on one connection, and the served connection that the gate uses for them."""

    cdef inline Connection engine(self):
        # Never NULL here, because the caller of this method is the connection or holds it.
        return <Connection>self.owner

    cdef object connection_of(self):
        return self.connection

    # Requests to the gate. Calls, routes and payloads are checked for None when they are created, not at each use.

    cdef Call new_call(self):
        return call_of(self.gate, self.connection)

    cdef int on_begun(self, Call call, Frame* frame) except -1:
        # Needed for the counters if the call is refused while its request is incomplete.
        call.route = self.gate.routes.find(frame.method, frame.method_size)
        return 0

    @cython.nonecheck(False)
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        cdef Connection engine = self.engine()
        assert call is not None
        assert payload is not None
        self.connection.now = engine.now
        self.connection.received_ns = engine.received_ns
        self.connection.is_reading = engine.is_reading
        if frame.method_size and frame.method[0] == c"." and not engine.is_client:
            # A name that begins with a dot is a bare function, which only Go callers may call.
            (<ServerCall>call).route = None
            self.gate.refuse_unknown(<ServerCall>call, frame.method[:frame.method_size], frame.names, payload)
        else:
            self.gate.pass_in(<ServerCall>call, frame.method, frame.method_size, frame.names, payload)
        if self.connection.ended_ns > engine.turn_ends_ns:
            engine.messages_left = 0
        if Py_REFCNT(call) == 1 and (<ServerCall>call).head is None and (<ServerCall>call).make_new():
            # The call was answered, and only our caller refers to it. The next request reuses the object.
            self.gate.spare = <ServerCall>call
        else:
            # The handler may continue in the next turn of the loop.
            engine.woke = True
        return 0

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        if call.stream is None:
            # The handler reads no more messages, and its answer was not sent yet. Drop the message.
            return self.engine().assembler.message_taken(call, cost)
        if PyBytes_GET_SIZE(payload) <= SMALL_MESSAGE:
            (<Connection>self.owner).woke = True
        return (<StreamChannel>call.stream).put(frame, payload, cost)

    cdef int on_end(self, Call call) except -1:
        return 0 if call.stream is None else (<StreamChannel>call.stream).end_input(None)

    cdef int on_sendable(self, Call call) except -1:
        return 0 if call.stream is None else (<StreamChannel>call.stream).wake_sender()

    cdef int on_cancel(self, Call call, int reason) except -1:
        self.connection.now = self.engine().now
        # Both sides watch the deadline. If the caller's CANCEL is first, the reason is the deadline all the same.
        return cancel_in_read(self.engine(), self.gate, <ServerCall>call, reason == CANCEL_DEADLINE)

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        self.connection.now = self.engine().now
        return self.gate.note_answered(<ServerCall>call, status, text)

    @cython.nonecheck(False)
    cdef int on_read(self) except -1:
        self.connection.received_ns = (<Connection>self.owner).received_ns
        self.connection.read_ended()
        return self.gate.runner.leave_task()

    cdef int on_stall(self) except -1:
        cdef Connection engine = self.engine()
        return self.life.note_stall(engine.now, engine.came_ns)

    # Refusals to the wire

    cdef int on_refused(self, Call call, int status, str text) except -1:
        # The call exceeds a limit of the connection, so it was not passed to the gate.
        self.gate.refusals.note(<ServerCall>call, status, text)
        return _free_one_way(self, call)

    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1:
        """Answer that a call was not started. With `is_faulty`, the caller is at fault and its budget is charged."""
        cdef Connection engine = self.engine()
        cdef uint32_t pushback_ms = (<ServerCall>call).pushback_ms
        _free_one_way(self, call)
        if status == DEADLINE_EXCEEDED:
            # Honest callers send such requests, too, so no budget of the wire is charged for them.
            engine.note_unanswered()
        if call.state == STATE_CANCELLED:
            # On the wire a cancelled call ends with CANCELLED, whatever the reason of its refusal (PROTOCOL.md, "Calls").
            status = CANCELLED
        if is_faulty and status == RESOURCE_EXHAUSTED:
            # Any other pushback would suggest that the same call could succeed later.
            pushback_ms = PUSHBACK_NEVER
        engine.callee.send_refusal(call, status, text, pushback_ms)
        return engine.callee.spend_idle_work(call) if is_faulty else 0

    # Deadlines of incomplete requests

    cdef int on_cut_request(self) except -1:
        cdef FrameReader reader = self.engine().reader
        cdef uint64_t timeout = self.gate.timeout_of(reader.cut_timeout_us, reader.cut_flags)
        # No check for a one-way call, which has no answer.
        return _await_rest(self, reader.cut_at + timeout) if timeout and not reader.cut_flags & ONE_WAY else 0

    # Memory

    @cython.nonecheck(False)
    cdef int on_flushed(self) except -1:
        cdef Connection engine = <Connection>self.owner
        if (
            self.connection.output_held or engine.sender.queued_bytes or self.connection.holding & HOLD_OUTPUT
            or (engine._stream is not NULL and (<ByteStream>engine._stream).is_stuck())
        ):
            self.weigh_output()
        if self.withheld and not _keeps_credit(self):
            self.return_credit()
        return self.gate.runner.tell_watcher() if self.gate.runner.is_watched else 0

    cdef int on_tail(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)

    cdef int weigh_output(self) except -1:
        """Count the output that the peer has not accepted."""
        cdef Connection engine = self.engine()
        self.life.weigh(engine.sender.untaken_bytes(), engine.now)
        if self.connection.holding & HOLD_OUTPUT:
            engine.schedule_check(engine.liveness.note_blocked(engine.now))
        return 0

    cdef int on_piece(self, Call call) except -1:
        """Count the received part of a request. If a budget is exceeded, refuse the request before its rest arrives."""
        cdef ServerCall served = <ServerCall>call
        cdef Py_ssize_t size
        cdef str problem
        if call.state != STATE_ASSEMBLING:
            problem = self.gate.memory.count_part(self.connection, 0, False)
            if problem is not None:
                count_refusal("memory")
                _end_cut(self, call.id, problem)
            return 0
        size = (<Assembly>call.incoming.assembly).filled
        # At the first piece the whole request must fit into the budgets, at later pieces the bytes received so far.
        problem = self.gate.admission.over_budget(
            served,
            size - served.charge if served.charge else (<Assembly>call.incoming.assembly).total,
            served.charge == 0,
        )
        if problem is not None:
            count_refusal("memory")
            return _drop_request(self, call, RESOURCE_EXHAUSTED, problem)
        if served.charge == 0:
            self.gate.await_rest(served)
            if served.deadline_ns != NO_DEADLINE:
                _await_rest(self, served.deadline_ns)
        return self.gate.memory.charge(served, max(size, <Py_ssize_t>1))

    cdef int on_cut(self, Py_ssize_t change) except -1:
        self.connection.stream_held += change
        return self.gate.memory.count(change)

    cdef str on_part(self, Frame* frame, Py_ssize_t size):
        """Count the received part of a frame. If memory is full, refuse or end its call and return the reason, else None.
        """
        cdef str problem = self.gate.memory.count_part(self.connection, size, frame.kind == REQUEST)
        if problem is not None:
            count_refusal("memory")
            if frame.flags & CONT:
                # Drop the earlier pieces of the message, too.
                _end_cut(self, frame.id, problem)
        return problem

    cdef int on_part_ended(self, bint is_over) except -1:
        return self.gate.memory.end_part(self.connection, is_over)

    cdef bint on_stuck(self, Call call, str text) except -1:
        if self.withheld:
            # The caller may wait for credit that we withhold.
            call.incoming.seen_ns = 0
            return True
        if call.state == STATE_ASSEMBLING:
            _drop_request(self, call, DEADLINE_EXCEEDED, text)
            return True
        return False

    cdef int on_ended(self, Call call) except -1:
        return self.gate.memory.charge(<ServerCall>call, 0) if (<ServerCall>call).charge else 0

    cdef bint withholds(self, Frame* frame) noexcept:
        # Called for each frame. Usually nothing waits, which is checked first.
        if not (self.gate.memory.is_full or self.connection.holding & (HOLD_STALL | HOLD_QUEUE)) or not _keeps_credit(self):
            return False
        self.withheld += HEADER_SIZE + <int64_t>frame.length
        return True

    cdef bint may_lend(self) noexcept:
        return process_held < self.gate.memory.lend_below

    cdef int return_credit(self) except -1:
        """Return the withheld connection credit."""
        cdef Connection engine = self.engine()
        cdef int64_t credit
        if self.withheld:
            credit = placed(&engine.reader.received, self.withheld)
            self.withheld = 0
            if credit and not engine.is_closed:
                engine.sender.send_credit(0, <uint32_t>credit)
        return 0

    # Its life

    cdef int on_made(self) except -1:
        self.gate.engines.add(self.engine())
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef Connection engine = self.engine()
        cdef uint64_t due = _check_rest(self, now)
        # A connection to a client that accepts calls is never idle.
        cdef bint is_busy = engine.liveness.was_used() or not engine.settled or engine.peer.max_calls != 0
        return due if engine.is_closed else earlier(due, self.life.look(now, is_busy, engine.sender.untaken_bytes()))

    cdef int end_calls(self, str text) except -1:
        cdef Call call
        cdef Connection engine = self.engine()
        for call in engine.callee.calls.entries():
            if call.state == STATE_ASSEMBLING:
                _drop_request(self, call, UNAVAILABLE, text)
            else:
                self.gate.end_call(<ServerCall>call, text)
        # Write the answers now, because the connection closes next.
        return engine.sender.pump(0, False)

    cdef int on_drain(self) except -1:
        self.connection.note_drain()
        return 0

    cdef int on_closed(self) except -1:
        self.engine().reader.drop_part()
        return self.gate.leave(self.connection)

    cdef int on_lost(self, object error) except -1:
        """Stop the calls of a lost connection, and uncount the memory of their incomplete messages."""
        cdef Call call
        self.gate.leave(self.connection)
        for call in self.engine().callee.calls.entries():
            if call.state == STATE_ASSEMBLING:
                self.gate.memory.charge(<ServerCall>call, 0)
            elif call.incoming is not None:
                self.on_cut(-call.incoming.cost)
                call.incoming.cost = 0
        self.engine().reader.drop_part()
        return self.life.count_out(error)


cdef int _drop_request(ServedCalls calls, Call call, int status, str text) except -1:
    """Refuse an incomplete request; its later frames are discarded."""
    if call.flags & ONE_WAY:
        calls.engine().callee.one_way_calls -= 1
    return calls.engine().callee.refuse(call, status, text)


cdef int _await_rest(ServedCalls calls, uint64_t due_ns) except -1:
    """Schedule a check at the deadline of an incomplete request."""
    if calls.rest_due_ns == 0 or due_ns < calls.rest_due_ns:
        calls.rest_due_ns = due_ns
        return calls.engine().schedule_check(due_ns)
    return 0


cdef uint64_t _check_rest(ServedCalls calls, uint64_t now) except? 0:
    """Refuse incomplete requests whose deadline has passed; return the next deadline, 0 = none."""
    cdef Connection engine = calls.engine()
    cdef Call call
    if calls.rest_due_ns == 0 or now < calls.rest_due_ns:
        return calls.rest_due_ns
    calls.rest_due_ns = 0
    for call in engine.callee.calls.entries() if engine.callee.open_requests else ():
        if call.state != STATE_ASSEMBLING or call.deadline_ns == NO_DEADLINE:
            continue
        if now < call.deadline_ns:
            _await_rest(calls, call.deadline_ns)
        else:
            _refuse_rest(calls, call, now)
    if engine.reader.cut_id > engine.callee.highest_seen:
        calls.on_cut_request()
        if calls.rest_due_ns and calls.rest_due_ns <= now:
            calls.rest_due_ns = 0
            call = engine.callee.take_cut()
            if call is not None:
                _refuse_rest(calls, call, now)
    return calls.rest_due_ns


cdef int _refuse_rest(ServedCalls calls, Call call, uint64_t now) except -1:
    if call.flags & ONE_WAY:
        calls.engine().callee.one_way_calls -= 1
    calls.connection.now = now
    return calls.gate.refuse_rest(<ServerCall>call)


cdef int _end_cut(ServedCalls calls, uint64_t id, str text) except -1:
    """End a call with an incomplete message. Drop the message, and discard later frames of the call."""
    cdef Connection engine = calls.engine()
    cdef Call call = engine.callee.find(id)
    if call is None:
        call = engine.slots.find(id)
    if call is None or call.incoming is None:
        return 0
    if call.state == STATE_ASSEMBLING:
        return _drop_request(calls, call, RESOURCE_EXHAUSTED, text)
    return engine.assembler.end_locally(call, RESOURCE_EXHAUSTED, text, CANCEL_LOCAL_LIMIT)


cdef bint _keeps_credit(ServedCalls calls) noexcept:
    """Return whether to withhold credit: memory is full, or large requests arrive faster than they start."""
    cdef int holding = calls.connection.holding
    if calls.gate.memory.is_full:
        return True
    return (
        holding & (HOLD_STALL | HOLD_QUEUE) != 0
        and holding & HOLD_OUTPUT == 0
        and calls.connection.request_held > calls.gate.memory.request_bytes // PART_THAT_WAITS
    )


cdef int _free_one_way(ServedCalls calls, Call call) except -1:
    # A one-way call counts in `one_way_calls` when it is complete. Its state is STATE_GONE from then on.
    if call.flags & ONE_WAY and call.state == STATE_GONE:
        calls.engine().callee.one_way_calls -= 1
    return 0


def serve_on(Connection engine not None, Gate gate not None):
    """Make a connection serve calls through a gate, as its SETTINGS announce. Return the served connection."""
    cdef ServedCalls part
    if engine.serving is not None:
        raise RuntimeError("a connection serves one gate")
    part = ServedCalls.__new__(ServedCalls)
    part.owner = <PyObject*>engine
    part.gate = gate
    part.connection = NativeServedConnection(gate, "native")
    part.connection.outcomes = NATIVE_OUTCOMES
    part.connection.groups = NATIVE_GROUPS
    part.connection.join(engine)
    part.connection.piece_bytes = engine.ours.max_frame
    part.connection.grace_bytes = part.gate.memory.credit_grace
    if engine.calling is not None:
        part.connection.takes_values = (<CallingPart>engine.calling).takes_values
    part.life = new_life(engine, part.connection)
    engine.liveness.send_hard = gate.send_hard
    engine.serving = part
    return part.connection
