"""The gate: the steps of a call on its way to its handler, in every protocol.

::

    method ──► authenticate ──► authorise ──► limit ──► shape ──► names ──► admission ──► deadline ──► codec
                                                                   ──► compressor ──► arguments ──► handler
           each step refuses the call or passes it on

PROTOCOL.md, "Start", fixes the order. The gate holds a part for each group of steps: `guards` for callers, `admission`
for budgets, `turns` for calls that wait for their start, `runner` for handlers; `refusals` ends the calls that do not
start. A part that makes a call wait continues it through `LaterSteps`.

An engine passes a method name or the route of the method, a timeout, metadata, a codec and a payload. The answer is
passed to its `ServedConnection`.
"""

import logging
from asyncio import tasks

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit

from fastrpc._core.base.codec_numbers cimport CODEC_RAW
from fastrpc._core.base.priority_queue cimport PRIORITY_HIGH, PRIORITY_NORMAL
from fastrpc._core.base.status cimport CANCELLED, DEADLINE_EXCEEDED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.base.status cimport UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, ROUTE_WITHDRAWN, MethodRoute
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.loop.loop_state cimport STALL_NS, loop_state
from fastrpc._core.payload.arguments cimport refusal_text, told_count
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.payload.metadata cimport METADATA_TOO_LARGE, check_metadata, encode_metadata
from fastrpc._core.server.deadlines cimport set_deadline, stated_timeout
from fastrpc._core.server.handler_runner cimport ServerTask
from fastrpc._core.server.output_room cimport OutputRoom
from fastrpc._core.server.served_call cimport has_lapsed
from fastrpc._core.server.served_connection cimport HOLD_LATE, process_held
from fastrpc._core.server.served_stream cimport ServedStream, new_served_stream
from fastrpc._core.wire.frame cimport ONE_WAY, STREAM_IN, STREAM_OUT, TIMEOUT_NONE
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER

from fastrpc._core.base.histogram import count_refusal
from fastrpc.assigned_numbers import VALUE_CODECS
from fastrpc.errors import CallError, DecodeError

logger = logging.getLogger("fastrpc.server")

# Whether and when requests may use a codec.
cdef enum Taken:
    TAKEN_NOT = 0
    TAKEN = 1
    # Requests may use an installed codec only if the peer accepts answers in it.
    TAKEN_IF_ANSWERED = 2
    # A codec of protocols that carry all arguments as one value: requests may use it only in these protocols.
    TAKEN_BY_VALUE = 3

# A longer timeout in `begin` means no timeout.
cdef double LONGEST_SECONDS = 1e9


# The steps of every call, inlined by the compiler.

@cython.nonecheck(False)
cdef inline bint is_late(ServerCall call) noexcept:
    """Return whether the deadline has passed, without a read of the clock, which is read between handlers."""
    return call.deadline_ns <= call.connection.now or call.deadline_ns <= call.connection.stepped_ns


@cython.nonecheck(False)
cdef inline int start_now(Gate gate, ServerCall call, bytes payload) except -1:
    """Run the steps that follow admission."""
    if is_late(call):
        return _refuse_late(gate, call)
    if gate.takes_codec[call.codec] != TAKEN and not _may_answer(gate, call):
        return 0
    return _unpack(gate, call, payload) if call.compressor else _begin(gate, call, payload)


@cython.nonecheck(False)
cdef inline int go_on(Gate gate, ServerCall call, uint64_t names, bytes payload) except -1:
    """Run the steps that follow the guards."""
    if call.priority == PRIORITY_HIGH and not gate.guards.asks_access():
        # Only a rule of a policy allows high priority.
        call.priority = PRIORITY_NORMAL
    if (call.flags ^ call.route.flags) & (STREAM_IN | STREAM_OUT | ROUTE_WITHDRAWN):
        return _refuse_shape(gate, call)
    if names and not call.route.names.accepts(names):
        return _refuse_names(gate, call, told_count(names))
    if call.flags & (STREAM_IN | STREAM_OUT) and call.stream is None:
        new_served_stream(call)
    set_deadline(gate.default_timeout_ns, call, call.route.timeout_ns)
    if (call.connection.holding or process_held > gate.memory.shed_above) and not gate.admission.may_start(call, payload):
        return 0
    return start_now(gate, call, payload)


@cython.nonecheck(False)
cdef inline int pass_routed(Gate gate, ServerCall call, uint64_t names, bytes payload) except -1:
    """Run all steps of a call whose method is known."""
    if call.connection.counters is not None:
        call.counters = gate.counters.of(call, call.route)
    elif call.counters is not call.route.counters:
        # A reused call object has the counters of its last method, which is often the same.
        call.counters = call.route.counters
    call.counters.moved(PyBytes_GET_SIZE(payload), 0)
    call.moved_bytes = PyBytes_GET_SIZE(payload)
    if gate.guards.has_guards and not gate.guards.passes(call, names, payload):
        return 0
    return go_on(gate, call, names, payload)


@cython.final
cdef class Gate(LaterSteps):
    """The gate that all connections of one server share, on one loop."""

    def __init__(self, *, loop, dispatcher, numbers, call_timeout, limits, memory, admission):
        self.loop_state = loop_state(loop)
        self.engines = set()
        self.routes = RouteTable()
        self.dispatcher = dispatcher
        self.default_timeout_ns = 0 if call_timeout is None else int(call_timeout * 1e9)
        self._take_numbers(numbers)
        self._take_bounds(limits, memory)
        self.memory = MemoryBudget(loop, self.engines, limits, memory)
        self.counters = CallCounters()
        self.refusals = RefusedCalls(self.counters)
        self.admission = CallAdmission(self.memory, self.refusals, admission)
        self.turns = StartTurns(self.admission, self.refusals, self.send_soft)
        room = OutputRoom(self.memory, limits._sent_bytes)
        self.runner = HandlerRunner(room, dispatcher, self.compressors)
        self.guards = Guards(self.runner, self.admission, self.refusals, self.default_timeout_ns)

    def _take_numbers(self, numbers):
        self.codecs = numbers.codecs
        self.compressors = numbers.compressors
        for number in self.codecs:
            self.takes_codec[number] = TAKEN if number < FIRST_OWN_NUMBER else TAKEN_IF_ANSWERED
        for number, name in VALUE_CODECS.items():
            if name in self.codecs.values():
                self.takes_codec[number] = TAKEN_BY_VALUE

    def _take_bounds(self, limits, memory):
        self.connections = limits.connections
        self.concurrent_calls = limits.concurrent_calls
        self.metadata_bytes = limits.metadata_bytes
        self.message_bytes = limits.message_bytes
        # The hard limit of output is at least the size of the largest message.
        self.send_hard = max(memory.send_hard, limits.message_bytes)
        self.send_soft = memory.send_soft

    # Connections

    cdef bint add_engine(self, object engine) except -1:
        """Count an accepted connection; return whether it exceeds the limit."""
        cdef Py_ssize_t count = len(self.engines)
        self.engines.add(engine)
        if count < self.connections:
            return False
        if count == self.connections:
            logger.warning("there are %d connections: further ones are refused (Limits.connections)", count)
        self.refused_connections += 1
        return True

    # The interface for engines

    def begin(self, ServedConnection connection not None, *, str method not None, bytes payload not None, str codec not None,
              timeout=None, metadata=None, bint one_way=False):
        """Serve a complete call; return it, for `cancel_call`."""
        cdef ServerCall call
        cdef bytes name = method.encode()
        numbers = [number for number, known in self.codecs.items() if known == codec]
        if not numbers:
            raise ValueError(f"codec {codec!r} is not taken here, only {', '.join(self.codecs.values())}")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout is {timeout!r}, it must be a number of seconds from 0 on")
        call = self._new_call(connection, metadata)
        call.codec = numbers[0]
        call.flags = ONE_WAY if one_way else 0
        if timeout is not None:
            call.stated_timeout_us = max(1, int(timeout * 1e6)) if timeout < LONGEST_SECONDS else TIMEOUT_NONE
            if timeout == 0:
                call.deadline_ns = call.started_ns
        if not self.refuses_early(call, name, PyBytes_GET_SIZE(payload)):
            self.pass_in_alone(call, name, payload)
        return call

    def delivery(self, ServedConnection connection not None, MethodRoute route not None, bytes metadata=None):
        """Return a call for a broker's message, to be passed to `deliver`. Its route has no method name."""
        cdef ServerCall call = self._new_call(connection, None)
        call.received_metadata = metadata
        call.route = route
        call.codec = route.marshal.codec_id
        call.stated_timeout_us = TIMEOUT_NONE
        return call

    def deliver(self, ServerCall call not None, bytes payload not None):
        """Serve a message of a broker, without the steps that check callers."""
        if not call.connection.delivers:
            raise ValueError("deliver() needs a call of a DeliveringConnection")
        if not self.refuses_early(call, b"", PyBytes_GET_SIZE(payload)):
            self.pass_in_alone(call, b"", payload)

    cdef ServerCall _new_call(self, ServedConnection connection, object metadata):
        """Return a new call for an engine in Python."""
        # Not a reused call, which would keep fields that a REQUEST of the native protocol sets.
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        call.connection = connection
        call.groups = connection.groups
        if metadata:
            call.received_metadata = encode_metadata(metadata)
        connection.begun += 1
        call.id = connection.begun
        connection.now = connection.received_ns = now_ns()
        call.started_ns = connection.dated_ns if connection.holding & HOLD_LATE else connection.now
        return call

    cdef bint refuses_early(self, ServerCall call, bytes name, Py_ssize_t size) except -1:
        """Refuse a call over a limit of its connection, or only count it if the connection was lost.

        Return whether this was done. `CalleeStates` does this for the native protocol.
        """
        cdef ServedConnection connection = call.connection
        cdef Py_ssize_t calls = connection.calls_under_way()
        cdef bytes metadata = call.received_metadata
        if not connection.delivers:
            call.route = self.routes.find(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if connection.is_closed:
            self.refusals.note(call, CANCELLED, f"{call.method} came after its connection was lost")
        elif calls >= self.concurrent_calls:
            text = f"this connection has {calls} calls in progress, the limit is {self.concurrent_calls}"
            self.refusals.refuse(call, RESOURCE_EXHAUSTED, f"{text} (Limits.concurrent_calls)")
        elif metadata is not None and check_metadata(
            PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), self.metadata_bytes
        ) == METADATA_TOO_LARGE:
            text = f"the metadata of the call is over the limit of {self.metadata_bytes} bytes (Limits.metadata_bytes)"
            self.refusals.refuse(call, RESOURCE_EXHAUSTED, text, True)
        elif <uint64_t>size > self.message_bytes:
            text = f"the request has {size} bytes, the limit is {self.message_bytes} (Limits.message_bytes)"
            self.refusals.refuse(call, RESOURCE_EXHAUSTED, text, True)
        else:
            return False
        return True

    cdef int pass_in_alone(self, ServerCall call, bytes name, bytes payload) except -1:
        """Run the steps without a current task, because the handler gets a separate task even if the engine runs in one.

        The engine may run inside the first step of another handler, of this server or another one on this loop. The task of
        that handler is not the current task meanwhile.
        """
        cdef ServerTask kept = self.runner.current
        loop = self.loop_state.loop
        task = tasks.current_task(loop)
        self.runner.current = None
        if task is not None:
            tasks._leave_task(loop, task)
        try:
            if call.connection.delivers:
                return self.pass_unjudged(call, payload)
            if name.startswith(b"."):
                # A name that begins with a dot is a bare function, which only Go callers may call.
                call.route = None
                return self.refuse_unknown(call, name, 0, payload)
            return self.pass_in(call, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0, payload)
        finally:
            self.runner.leave_task()
            self.runner.current = kept
            if task is not None:
                tasks._enter_task(loop, task)

    def cancel_call(self, ServerCall call not None, *, bint is_late=False):
        """Stop a call that its caller cancelled, or with `is_late` a call whose deadline passed."""
        call.connection.now = now_ns()
        self.cancel(call, is_late)

    def end_calls(self, ServedConnection connection not None, str text not None, calls=None):
        """Answer every call in flight, or only `calls`, and stop their handlers."""
        cdef ServerCall call
        connection.now = now_ns()
        for call in [*(connection.queue or ()), *(connection.held or ())]:
            if calls is None or call in calls:
                self.end_call(call, text)

    def weigh_output(self, ServedConnection connection not None, Py_ssize_t size):
        """Report the bytes of output that the peer has not accepted; above `Memory.send_soft` no call starts."""
        connection.now = now_ns()
        # The output of a lost connection does not count.
        self.turns.weigh(connection, 0 if connection.is_closed else size)

    def connection_lost(self, ServedConnection connection not None):
        """Stop the calls of a lost connection, without answers."""
        self.leave(connection)
        self.turns.weigh(connection, 0)

    def engine_lost(self, engine not None, error):
        """Stop the calls of a lost connection and uncount it. `error` is the error that ended it, or None."""
        cdef ServedConnection connection = engine.connection
        self.connection_lost(connection)
        self.engines.discard(engine)
        self.dispatcher.connection_lost(connection, error)

    cdef int cancel(self, ServerCall call, bint is_late) except -1:
        """Stop a cancelled call once: a second stop, for example after the deadline, would interrupt its cleanup."""
        cdef bint was_stopped = call.was_cancelled or call.is_expired
        call.was_cancelled = True
        call.is_expired |= is_late
        if call.waiting_payload is not None:
            self.admission.drop_waiting(call)
            if is_late:
                return _refuse_late(self, call)
            return self.refusals.refuse(call, CANCELLED, f"{call.route.method} was cancelled before it started")
        return 0 if was_stopped else call.stop()

    cdef int end_call(self, ServerCall call, str text) except -1:
        """Answer a call in flight, and stop its handler."""
        if call.waiting_payload is not None:
            self.admission.drop_waiting(call)
            return self.refusals.refuse(call, UNAVAILABLE, text)
        if not (call.was_ended or call.flags & ONE_WAY):
            # Set even if no handler has started, because an interceptor may continue in spite of its cancellation.
            call.was_ended = True
            call.told_status = UNAVAILABLE
            # A call without decoded arguments waits for a verdict or for decompression, so it has not run.
            call.connection.tell_failure(call, Failure(UNAVAILABLE, text, has_run=call.given is not None))
        call.was_cancelled = True
        return call.stop()

    cdef int note_answered(self, ServerCall call, int status, str text) except -1:
        """Stop the handler of a call that its connection has answered because of its input. Drop the handler's answer."""
        call.was_ended = call.was_cancelled = True
        call.told_status = status
        if call.waiting_payload is not None:
            self.admission.drop_waiting(call)
            self.refusals.note(call, status, text)
            if call.stream is not None:
                (<ServedStream>call.stream).end()
        return call.stop()

    cdef int leave(self, ServedConnection connection) except -1:
        """Stop all calls of a lost connection."""
        cdef ServerCall call
        cdef bint was_stopped
        connection.is_closed = True
        self.admission.drop_all_waiting(connection)
        if connection.held:
            for call in list(connection.held):
                # A call that was already stopped may finish its cleanup.
                was_stopped = call.was_cancelled or call.is_expired
                call.was_cancelled = True
                if not was_stopped:
                    call.stop()
        return 0

    # The steps

    @cython.nonecheck(False)
    cdef int pass_in(self, ServerCall call, const char* method, Py_ssize_t size, uint64_t names, bytes payload) except -1:
        """Run the steps in the order of PROTOCOL.md: refuse the call or start it."""
        assert call is not None
        assert payload is not None
        cdef MethodRoute route = self.routes.find(method, size)
        if route is None:
            return self.refuse_unknown(call, method[:size], names, payload)
        call.route = route
        if self.guards.asks_access() and call.sent_name is None:
            call.note_name(method, size)
        return pass_routed(self, call, names, payload)

    cdef int pass_known(self, ServerCall call, bytes payload) except -1:
        """Run the steps of a call whose route its engine has found."""
        return pass_routed(self, call, 0, payload)

    cdef int pass_unjudged(self, ServerCall call, bytes payload) except -1:
        """Run the steps of a call without access rules: of a mounted application, or for a broker's message."""
        call.counters = self.counters.of(call, call.route)
        call.counters.moved(PyBytes_GET_SIZE(payload), 0)
        call.moved_bytes = PyBytes_GET_SIZE(payload)
        return go_on(self, call, 0, payload) if self.guards.limits is None or self.guards.is_within_limits(call) else 0

    cdef int start(self, ServerCall call, bytes payload) except -1:
        """Continue an admitted call that waited."""
        return start_now(self, call, payload)

    cdef int let_in(self, ServerCall call, uint64_t names, bytes payload) except -1:
        """Continue a call that waited for the guards and has passed them."""
        return go_on(self, call, names, payload)

    cdef uint64_t timeout_of(self, uint64_t stated_us, int flags) noexcept:
        """Return the caller's stated timeout or the default, in nanoseconds; 0 = none."""
        return stated_timeout(self.default_timeout_ns, stated_us, flags)

    cdef bint await_rest(self, ServerCall call) except -1:
        """Set the deadline of a call with an incomplete request; return whether its sender has to be judged first.

        The connection checks the call at its deadline. The timeout of the method is a cap only if callers need no rights:
        otherwise it would show whether the method exists.
        """
        cdef bint is_judged = self.guards.asks_access()
        set_deadline(self.default_timeout_ns, call, 0 if is_judged or call.route is None else call.route.timeout_ns)
        if call.deadline_ns != NO_DEADLINE:
            call.connection.look_by(call.deadline_ns)
        return is_judged

    cdef int refuse_rest(self, ServerCall call) except -1:
        """Refuse a call whose deadline passed before its request was complete."""
        return self.refusals.refuse_late_in(call, "its request came in")

    cdef int refuse_unknown(self, ServerCall call, bytes method, uint64_t names, bytes payload) except -1:
        """Refuse a call of a method that the server does not have."""
        cdef str name = method.decode("ascii", "backslashreplace")
        self.counters.of(call, None).moved(PyBytes_GET_SIZE(payload), 0)
        if self.guards.asks_access():
            # The caller gets the same answer as for a method that it may not call, so it does not learn which exist.
            self.guards.has_access(call, name, names, payload)
            return 0
        status, text = self.dispatcher.unknown_method(name, call)
        if status == UNAVAILABLE:
            return self.refusals.refuse_absent(call, text)
        return self.refusals.refuse(call, status, text, status == UNIMPLEMENTED)

    def unpacked(self, ServerCall call not None, bytes payload not None, error):
        """Continue with a decompressed request, whose memory is counted already; refuse it if there is an error."""
        if not call.is_held or call.given is not None:
            raise ValueError("this call does not wait for its arguments")
        context = call.waiting_context
        if not self.guards.is_still_wanted(call, call.route.method, "its request was unpacked"):
            return
        if has_lapsed(call, now_ns()):
            self.refusals.refuse(call, UNAUTHENTICATED, f"{call.route.method}: the credential has expired", True)
        elif isinstance(error, str):
            self.refusals.refuse(call, RESOURCE_EXHAUSTED, error)
        elif error is not None:
            _reject(self, call, error)
        else:
            PyContext_Enter(context)
            try:
                _begin(self, call, payload)
            finally:
                PyContext_Exit(context)

    # Counters

    @property
    def running(self):
        """The number of calls that have started and not ended."""
        return self.runner.running

    def totals(self):
        """The counts of refusals since the server started."""
        limits = self.guards.limits
        return {
            "refused": self.refusals.count,
            "refused_by_rate": 0 if limits is None else limits.refused_by_rate,
            "refused_by_concurrency": 0 if limits is None else limits.refused_by_concurrency,
            "expired_before_start": self.refusals.expired,
            "refused_connections": self.refused_connections,
        }


cdef int _refuse_shape(Gate gate, ServerCall call) except -1:
    """Refuse a call of a removed method, of a method with other streams, or a request that HTTP refuses."""
    cdef str method = call.route.method
    cdef object fault = getattr(call.head, "fault_status", 0)
    cdef str text
    if call.route.flags & ROUTE_WITHDRAWN:
        return gate.refusals.refuse(call, UNAVAILABLE, f"{method}: its service was removed from this server")
    # The text of a fault is for the log, which omits callers' values; HTTP answers with its own text.
    text = f"{method}: the request is refused with {fault}" if fault else gate.dispatcher.wrong_shape(call.route)
    return gate.refusals.refuse(call, INVALID_ARGUMENT, text, True, call.groups.dialect.unfit_status(call))


cdef int _refuse_names(Gate gate, ServerCall call, Py_ssize_t count) except -1:
    """Refuse a call whose positional arguments have other names at the caller."""
    cdef MethodRoute route = call.route
    if count > len(route.names.names):
        text = f"{route.method}: {route.marshal.shape.arity_text(count)}"
    else:
        text = refusal_text(route.method, route.names.names)
    return gate.refusals.refuse(call, INVALID_ARGUMENT, text, True)


cdef int _refuse_late(Gate gate, ServerCall call) except -1:
    gate.refusals.expired += 1
    gate.admission.note_expired(call)
    text = f"{call.method}: its deadline passed before the handler started"
    return gate.refusals.refuse(call, DEADLINE_EXCEEDED, text)


cdef bint _may_answer(Gate gate, ServerCall call) except -1:
    """Return whether the peer accepts the request's codec for the answer; refuse the call if not."""
    if call.route.is_application or call.connection.delivers:
        # A mounted application has no codec, and a message has no answer.
        return True
    if gate.takes_codec[call.codec] == TAKEN_IF_ANSWERED and call.connection.takes_codec(call):
        return True
    if gate.takes_codec[call.codec] == TAKEN_BY_VALUE and call.connection.takes_values:
        return True
    gate.refusals.refuse(call, UNIMPLEMENTED, gate.dispatcher.unknown_codec(call), True)
    return False


cdef int _unpack(Gate gate, ServerCall call, bytes payload) except -1:
    if call.compressor not in gate.compressors:
        text = gate.dispatcher.unknown_compressor(call, call.compressor)
        return gate.refusals.refuse(call, UNIMPLEMENTED, text, True)
    # Decompression may be slow: the dispatcher works in slices and continues with `unpacked`.
    call.weight = PyBytes_GET_SIZE(payload)
    call.waiting_context = PyContext_CopyCurrent()
    gate.runner.watch(call)
    gate.dispatcher.unpack(call, gate.compressors[call.compressor], payload)
    return 0


@cython.nonecheck(False)
cdef int _begin(Gate gate, ServerCall call, bytes payload) except -1:
    """Decode the arguments and start the handler."""
    assert call is not None and call.route is not None and payload is not None
    cdef MethodRoute route = call.route
    cdef uint64_t before = call.connection.stepped_ns
    if call.codec == CODEC_RAW and route.marshal._takes_bytes:
        call.given = payload
        call.weight = PyBytes_GET_SIZE(payload)
    elif not _decode(gate, call, payload):
        return 0
    call.counters.started()
    gate.runner.running += 1
    gate.runner.run(call)
    if call.connection.stepped_ns > max(call.connection.received_ns, call.connection.turn_ns) + STALL_NS:
        gate.turns.note_long_start(call, before)
    return 0


@cython.nonecheck(False)
cdef bint _decode(Gate gate, ServerCall call, bytes payload) except -1:
    """Decode the arguments; return False if they were refused."""
    cdef Marshal marshal = call.route.marshal
    try:
        if call.codec != marshal.codec_id or call.groups.forms is not None:
            marshal = call.marshal()
        call.given = marshal.decode_arguments(payload)
    except BaseException as error:
        _refuse_arguments(gate, call, payload, error)
        return False
    call.weight = marshal.charge
    return True


cdef int _refuse_arguments(Gate gate, ServerCall call, bytes payload, object error) except -1:
    """Refuse a call for the error of its decoding."""
    cdef Failure failure
    if isinstance(error, (CallError, DecodeError)):
        told = call.route.definition.faults.of_request(error)
        if told is not None:
            count_refusal("decode")
            return gate.refusals.refuse(call, told[0], told[1], True)
        call.groups.handling.note_mistakes(call, payload, error.message)
        return _reject(gate, call, error)
    # A user-defined type raised another error: a fault of the server that fails only this call.
    call.never_started = True
    failure = gate.runner.failures.of(call, error)
    gate.refusals.refuse(call, failure.status, failure.text, True)
    return gate.runner.pass_interrupt(error)


cdef int _reject(Gate gate, ServerCall call, object error) except -1:
    """Refuse a faulty request, marked so that it is not retried: another attempt would fail as well."""
    cdef int status = error.status
    count_refusal("decode")
    if isinstance(error, DecodeError) and status != RESOURCE_EXHAUSTED:
        status = INVALID_ARGUMENT
    text = f"{call.route.method}: {error.message if isinstance(error, CallError) else error}"
    return gate.refusals.refuse(call, status, text, True)
