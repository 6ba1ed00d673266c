"""Run single parts of a connection without the others, and keep what they report.

::

    RecordingOwner("reader")           bytes in, frames as events
    RecordingOwner("sender")           messages in, bytes out
    RecordingOwner("sender", "slots")  calls in, bytes out
    RecordingOwner(…, "callee")        frames of calls in, changes of the calls as events
    RecordingOwner(…, "control")       frames of the connection itself in, the answers out
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.calls.call cimport STATE_INPUT_ENDED, STATE_OPEN, Incoming, MethodRoute, new_stream_window
from fastrpc._core.io.engine cimport MESSAGES_AT_ONCE
from fastrpc._core.native.call_parts cimport NativeCalling, ServingPart
from fastrpc._core.native.frame_reader cimport OPENING_INCOMPLETE
from fastrpc._core.native.hooks cimport CalleeHooks, CallerHooks, FrameHandler, Side
from fastrpc._core.native.outgoing cimport new_failure
from fastrpc._core.wire.frame cimport AUTH, GOAWAY, PING, SETTINGS
from fastrpc._core.wire.frame cimport CANCEL, CONT, DATA, END, HEAD, HEADER_SIZE, MORE, OUTCOME_RAN, REQUEST, RESPONSE
from fastrpc._core.wire.native cimport NativeProtocol
from fastrpc._core.wire.settings cimport WireSettings
from fastrpc._core.wire.window cimport placed

from fastrpc._core.native.call_slots import EARLY_CALLS

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX


cdef int note(PyObject* owner, tuple event) except -1:
    """Keep an event of calls. The owner holds the part that reports it, and clears the pointer when freed."""
    (<RecordingOwner>owner).events.append(event)
    return 0


cdef bytes joined(object output):
    """Return an output as one bytes object. With empty parts a transport of asyncio may wait forever for room."""
    if type(output) is bytes:
        return <bytes>output
    if not all(output):
        raise AssertionError("a part of the output is empty")
    return b"".join(output)


@cython.final
cdef class _RecordedServing(ServingPart):
    """Keeps the events of the peer's calls."""

    cdef str on_part(self, Frame* frame, Py_ssize_t size):
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        owner.part_events.append((frame.id, size))
        return owner.why_full

    cdef int on_part_ended(self, bint is_over) except -1:
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        owner.part_events.append("over" if is_over else len(owner.events))
        return 0

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return note(self.owner, ("on_message", call.id, payload, cost))

    cdef int on_piece(self, Call call) except -1:
        return note(self.owner, ("on_piece", call.id))

    cdef int on_sendable(self, Call call) except -1:
        return note(self.owner, ("on_sendable", call.id))

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        owner.calls[call.id] = call
        owner.events.append(("on_request", call.id, payload))
        return owner.callee.hold(call)

    cdef int on_cancel(self, Call call, int reason) except -1:
        return note(self.owner, ("on_cancel", call.id, reason))

    cdef int on_end(self, Call call) except -1:
        return note(self.owner, ("on_end", call.id))

    cdef int on_refused(self, Call call, int status, str text) except -1:
        return note(self.owner, ("on_refused", call.id, status))

    cdef int on_ended(self, Call call) except -1:
        return note(self.owner, ("on_ended", call.id))

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return note(self.owner, ("on_local_end", call.id, status))


@cython.final
cdef class _RecordedCalling(NativeCalling):
    """Keeps the events of own calls."""

    cdef int on_not_started(self, Call call) except -1:
        return note(self.owner, ("on_not_started", call.id))

    cdef int on_unsendable(self, Call call, object error) except -1:
        return note(self.owner, ("on_unsendable", str(error)))

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        return note(self.owner, ("on_response", call.id, frame.status, payload))

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return note(self.owner, ("on_message", call.id, payload, cost))

    cdef int on_sendable(self, Call call) except -1:
        return note(self.owner, ("on_sendable", call.id))

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return note(self.owner, ("on_local_end", call.id, status))


@cython.final
cdef class _RecordedSide(Side):
    """Keeps the events of the connection."""

    cdef int on_ready(self) except -1:
        return note(self.holder, ("on_ready",))

    cdef int on_peer_drains(self) except -1:
        return note(self.holder, ("on_peer_drains",))

    cdef int on_forgotten(self, Call call) except -1:
        return note(self.holder, ("on_forgotten", call.id))

    cdef int on_ids_used_up(self) except -1:
        return note(self.holder, ("on_ids_used_up",))


@cython.final
cdef class _RecordedFrames(FrameHandler):
    """Passes frames to the existing parts. The owner holds it."""

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        return (<RecordingOwner>self.owner)._take_opening(data, size)

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        return (<RecordingOwner>self.owner)._take_frame(frame, payload)

    cdef Assembly sink_for(self, Frame* frame):
        return (<RecordingOwner>self.owner)._sink_for(frame)


@cython.final
cdef class _RecordedCallee(CalleeHooks):
    """Keeps the events of the peer's calls, and passes them to the states, if these exist."""

    cdef int whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        if owner.callee is not None:
            return owner.callee.whole_request(call, frame, payload)
        return note(self.owner, ("whole_request", call.id, frame.method[:frame.method_size], payload))

    cdef int end_served(self, Call call, int status, str text) except -1:
        return note(self.owner, ("end_served", call.id, status))

    cdef int answered(self, Call call) except -1:
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        note(self.owner, ("answered", call.id))
        return 0 if owner.callee is None else owner.callee.answered(call)

    cdef int answer_waits(self, Call call) except -1:
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        note(self.owner, ("answer_waits", call.id))
        return 0 if owner.callee is None else owner.callee.answer_waits(call)


@cython.final
cdef class _RecordedCaller(CallerHooks):
    """Keeps the events of own calls, and passes them to the states and slots, if these exist."""

    cdef int whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        cdef RecordingOwner owner = <RecordingOwner>self.owner
        if owner.caller is not None:
            return owner.caller.whole_response(call, frame, payload)
        return note(self.owner, ("whole_response", call.id, payload))

    cdef int end_called(self, Call call, int status, str text, int reason) except -1:
        return note(self.owner, ("end_called", call.id, status))

    cdef int begin_call(self, Call call) except -1:
        return (<RecordingOwner>self.owner).slots.begin_call(call)

    cdef int give_up(self, Call call, int reason) except -1:
        note(self.owner, ("give_up", call.id, reason))
        return (<RecordingOwner>self.owner).sender.drop_unsent(call)

    cdef int was_unsent(self, Call call) except -1:
        return (<RecordingOwner>self.owner).slots.was_unsent(call)


@cython.final
cdef class RecordingOwner(PartsOwner):
    def __init__(self, *parts, bint is_client=True, WireSettings peer=None, WireSettings ours=None, bint is_settled=True):
        cdef _RecordedCalling calling
        self.events = []
        self.part_events = []
        self.calls = {}
        self.serving = _RecordedServing.__new__(_RecordedServing)
        calling = _RecordedCalling.__new__(_RecordedCalling)
        self.serving.owner = calling.owner = <PyObject*>self
        self.calling = calling
        self.rounds_left = PY_SSIZE_T_MAX
        self.is_client = is_client
        self.wire = NativeProtocol()
        self.wire.peer_parity = 0 if is_client else 1
        self.peer = WireSettings(is_client) if peer is None else peer
        self.ours = WireSettings(not is_client) if ours is None else ours
        self.bound_messages()
        self.wire.frame_limit = self.ours.max_frame
        self.our_stream_window = self.ours.stream_window
        self.settled = is_settled
        self._make_hooks()
        self._make_parts(parts)
        self.open_messages = self.ours.open_messages
        if "control" in parts:
            self.preface_sent = True
            self.control = ControlFrames(self, self.callee, self.caller, self.slots, self.sender)
            self.control.start(WireSettings(not is_client))

    cdef int _make_hooks(self) except -1:
        self.frames = _RecordedFrames.__new__(_RecordedFrames, self)
        self.callee_hooks = _RecordedCallee.__new__(_RecordedCallee, self)
        self.caller_hooks = _RecordedCaller.__new__(_RecordedCaller, self)
        self.side = _RecordedSide.__new__(_RecordedSide)
        self.side.holder = <PyObject*>self
        return 0

    cdef int _make_parts(self, tuple parts) except -1:
        if "reader" in parts:
            self.reader = FrameReader(self)
        if "sender" in parts:
            self.sender = SendQueue(self)
        if "slots" in parts:
            self.slots = CallSlots(self, self.sender)
            self.slots.next_id = 1 if self.is_client else 2
            self.slots.early_calls = EARLY_CALLS["idempotent"]
        if "assembler" in parts:
            self.assembler = MessageAssembler(self, self.reader, self.sender)
            self.assembler.pool.left = <int64_t>self.ours.max_message
        if "callee" in parts:
            self.callee = CalleeStates(self, self.reader, self.assembler, self.sender)
            self.callee.serves_calls = True
            self.callee.most_calls = self.callee.call_bound = self.ours.max_calls
            self.callee.stream_bound = self.ours.max_streams
        if "caller" in parts:
            self.caller = CallerStates(self, self.reader, self.assembler, self.slots)
        return 0

    def __dealloc__(self):
        # The garbage collector may have cleared a field before.
        if self.reader is not None:
            self.reader.owner = NULL
        if self.sender is not None:
            self.sender.owner = NULL
        if self.slots is not None:
            self.slots.owner = NULL
        if self.assembler is not None:
            self.assembler.owner = NULL
        if self.callee is not None:
            self.callee.owner = NULL
        if self.caller is not None:
            self.caller.owner = NULL
        if self.control is not None:
            self.control.owner = NULL

    def call(self, uint64_t id=0, *, int flags=0, bint is_local=False, int64_t window=0, int priority=0):
        cdef Call call = Call.__new__(Call)
        call.id = id
        call.flags = flags
        call.priority = priority
        call.is_local = is_local
        call.state = STATE_OPEN if window else STATE_INPUT_ENDED
        call.send_left = window
        if window:
            call.window = new_stream_window(window)
        call.route = MethodRoute.__new__(MethodRoute)
        call.route.name = b"arith.mul"
        call.route.method = "arith.mul"
        if id:
            self.calls[id] = call
        return call

    def found(self, uint64_t id):
        return self.calls[id]

    # The frames of the connection itself

    def announce(self, WireSettings settings not None):
        self.control.announce(settings)

    def begin_drain(self, int reason, str text not None):
        self.control.start_drain(reason, text)

    cdef int end_connection(self, int reason, str text, bint by_peer) except -1:
        self.is_closed = True
        self.events.append(("end_connection", reason, text, by_peer))
        return 0

    # The sender

    def take(self, Py_ssize_t most=-1):
        self.sender.pump(PY_SSIZE_T_MAX if most < 0 else most, True)
        return joined(self.sender.take())

    @property
    def output_bytes(self):
        return self.sender.size()

    def respond(self, Call call not None, bytes payload not None, bytes metadata=None):
        call.sent_metadata = metadata
        self.sender.send_response(call, payload, 0)

    def fail(self, Call call not None, int status, str text not None):
        self.sender.send_failure(call, new_failure(status, OUTCOME_RAN, text))

    def send_message(self, Call call not None, bytes payload not None):
        self.sender.send_message(call, payload, call.codec, call.compressor)

    def may_send(self, Call call not None):
        if not self.sender.has_room(call) and call.unsent is None:
            self.sender.wait_turn(call)
        call.waits_to_send = call.unsent is not None
        return not call.waits_to_send

    def send_credit(self, uint64_t id, uint32_t size):
        self.sender.send_credit(id, size)

    def raise_credit(self, Call call, uint32_t size):
        return self.sender.raise_credit(call, size) == 0

    def drop(self, Call call not None):
        self.sender.drop_unsent(call)

    def end_messages(self, Call call not None):
        self.sender.send_end(call)

    def forget_all(self):
        self.sender.forget_all([*self.calls.values()])

    @property
    def holds_messages(self):
        return self.sender.holds_messages([*self.calls.values()])

    # The call slots

    def request(self, Call call not None, bytes payload not None):
        self.slots.send_request(call, payload)

    def cancel(self, Call call not None, int reason=0):
        if self.caller is not None:
            self.caller.give_up(call, reason)
        else:
            self.slots.give_up(call, reason)

    def end(self, Call call not None):
        self.slots.return_slot(call)

    def unsent(self):
        return self.slots.unsent_calls()

    def allow(self, **limits):
        for name, value in limits.items():
            setattr(self.peer, name, value)
        self.settled = True
        if self.slots is not None:
            self.slots.release_slots()

    # The reader

    def receive_data(self, bytes data not None):
        return self.reader.receive(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def receive_body(self, bytes data not None):
        cdef Py_ssize_t room = 0
        cdef char* place = self.reader.body_place(&room)
        if place is NULL:
            return 0
        room = min(room, PyBytes_GET_SIZE(data))
        memcpy(place, PyBytes_AS_STRING(data), room)
        self.reader.sink.filled += room
        self.reader.body_received(room)
        return room

    # The assembler

    def take_message(self, Call call not None, Py_ssize_t cost):
        self.assembler.message_taken(call, cost)

    def wait_for_message(self, Call call not None):
        self.assembler.reader_waits(call)

    # Hooks

    cdef Py_ssize_t _take_opening(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t left = self.opening_left
        if size < left:
            return OPENING_INCOMPLETE
        self.opening_left = 0
        if left:
            self.events.append(("on_opening", data[:left]))
        return left

    cdef bint has_to_wait(self) except -1:
        self.messages_left = MESSAGES_AT_ONCE
        self.rounds_left -= 1
        return self.rounds_left < 0

    cdef int _take_frame(self, Frame* frame, bytes payload) except -1:
        cdef Call call = self._call_of(frame)
        if self._pass_on(frame, payload):
            return 0
        if self.assembler is not None and call is not None:
            return self._assemble(call, frame, payload)
        if self.reader.was_skipped:
            payload = b""
        elif payload is None:
            payload = frame.payload[:frame.payload_size]
        self.events.append(("on_frame", frame.kind, frame.id, payload))
        return 0

    cdef int _assemble(self, Call call, Frame* frame, bytes payload) except -1:
        if frame.kind != DATA:
            self.assembler.keep_first_piece(call, frame)
        elif call.state == STATE_OPEN:
            self.assembler.stream_message(call, frame, payload)
        else:
            self.assembler.piece(call, frame)
        # Other parts account for the window of the connection.
        placed(&self.reader.received, HEADER_SIZE + <Py_ssize_t>frame.length)
        return 0

    cdef bint _pass_on(self, Frame* frame, bytes payload) except -1:
        """Pass a frame to the states of the caller's or the peer's calls; return False if they do not exist."""
        cdef bint is_theirs = (frame.id & 1) == <uint64_t>self.wire.peer_parity
        if self.control is not None and frame.kind in (SETTINGS, PING, GOAWAY, AUTH):
            self.control.take(frame)
            return True
        if self.callee is not None and is_theirs:
            if frame.kind == REQUEST:
                self.callee.request(frame, payload)
            elif frame.kind == CANCEL:
                self.callee.cancel(frame)
            elif frame.kind == END:
                self.callee.end(frame)
            else:
                self.callee.data(frame, payload)
            return True
        if self.caller is not None and not is_theirs:
            if frame.kind == RESPONSE:
                self.caller.response(frame, payload)
            elif frame.kind == HEAD:
                self.caller.head(frame)
            else:
                self.caller.data(self.slots.find(frame.id), frame, payload)
            return True
        return False

    cdef Call _call_of(self, Frame* frame):
        return <Call>self.calls.get(frame.id)

    cdef Assembly _sink_for(self, Frame* frame):
        cdef Call call = self._call_of(frame)
        if frame.flags & CONT:
            return None if call is None or call.incoming is None else <Assembly>(<Incoming>call.incoming).assembly
        if not frame.flags & MORE:
            frame.total = frame.payload_size
        return Assembly(frame.total) if frame.total <= self.ours.max_message else None

    cdef int close_with(self, int reason, str text) except -1:
        self.is_closed = True
        self.events.append(("close_with", reason, text))
        return 0

    cdef int discard(self, Frame* frame) except -1:
        PartsOwner.discard(self, frame)
        self.events.append(("discard", frame.kind, frame.id))
        return 0
