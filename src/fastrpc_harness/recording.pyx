"""Run the core without a socket: a test passes bytes and actions, and gets events and bytes.

::

    receive_data(bytes) ──► Connection ──► its parts, side and frames, as events
    open_call, respond, … ──►    │
                                 └──► data_to_send()
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from collections import deque

from fastrpc._core.base.status cimport HIGHEST_STATUS, UNKNOWN
from fastrpc._core.base.wire cimport load16, load32, load64
from fastrpc._core.calls.call cimport (
    STATE_ANSWERING,
    STATE_ASSEMBLING,
    STATE_CANCELLED,
    STATE_GIVEN_UP,
    STATE_GONE,
    STATE_INPUT_ENDED,
    STATE_OPEN,
    STATE_STREAMING,
    STATE_WAITING,
)
from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.io.engine cimport bind
from fastrpc._core.native.call_parts cimport NativeCalling, ServingPart
from fastrpc._core.native.hooks cimport FrameHandler, Side
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport (
    ACK,
    AUTH,
    CANCEL,
    CREDIT,
    DATA,
    END,
    FINAL,
    GOAWAY,
    HEAD,
    HEADER_SIZE,
    MESSAGE_LIMIT,
    METHOD_LIMIT,
    ONE_WAY,
    PING,
    REQUEST,
    RESPONSE,
    SETTINGS,
    STREAM_IN,
    STREAM_OUT,
)
from fastrpc._core.wire.settings cimport WireSettings, decode_settings

from fastrpc._core.wire.settings import usual_settings
from fastrpc.errors import LocalProtocolError

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    VERSION = 1
    METADATA_BLOCK = 65_535

KIND_NAMES = {
    REQUEST: "REQUEST",
    RESPONSE: "RESPONSE",
    HEAD: "HEAD",
    DATA: "DATA",
    END: "END",
    CANCEL: "CANCEL",
    CREDIT: "CREDIT",
}
STATE_NAMES = {
    STATE_ASSEMBLING: "assembling",
    STATE_OPEN: "open",
    STATE_INPUT_ENDED: "ended",
    STATE_CANCELLED: "cancelled",
    STATE_WAITING: "waiting",
    STATE_STREAMING: "streaming",
    STATE_ANSWERING: "answering",
    STATE_GIVEN_UP: "cancelled",
    STATE_GONE: "gone",
}


@cython.final
cdef class RecordedCall(Call):
    """A call of a `RecordingConnection`."""


cdef int emit(PyObject* owner, tuple event) except -1:
    """Keep an event of calls. The connection holds the part that reports it, and clears the pointer when freed."""
    return (<RecordingConnection>owner)._emit(event)


cdef int keep(PyObject* owner, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
    """Keep the event of a message, and the message until it is taken."""
    if call.stream is not None:
        return (<StreamChannel>call.stream).put(frame, payload, cost)
    (<RecordingConnection>owner).untaken.setdefault(call.id, deque()).append((call, cost))
    return emit(owner, ("data", call.id, frame.codec, frame.compressor, payload))


@cython.final
cdef class _RecordedServing(ServingPart):
    """Keeps the events of the peer's calls."""

    cdef Call new_call(self):
        return RecordedCall.__new__(RecordedCall)

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        if not call.flags & ONE_WAY:
            (<RecordingConnection>self.owner).callee.hold(call)
        return emit(
            self.owner,
            (
                "request",
                call.id,
                frame.method[:frame.method_size],
                call.flags,
                call.codec,
                call.compressor,
                call.attempt_number,
                call.priority,
                frame.timeout_us,
                frame.names,
                call.received_metadata or b"",
                payload,
            ),
        )

    cdef int on_refused(self, Call call, int status, str text) except -1:
        return emit(self.owner, ("dropped", call.id) if call.flags & ONE_WAY else ("refused", call.id, status))

    cdef int on_end(self, Call call) except -1:
        if call.stream is not None:
            (<StreamChannel>call.stream).end_input(None)
        return emit(self.owner, ("end", call.id))

    cdef int on_cancel(self, Call call, int reason) except -1:
        return emit(self.owner, ("cancel", call.id, reason))

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return keep(self.owner, call, frame, payload, cost)

    cdef int on_sendable(self, Call call) except -1:
        return 0 if call.stream is None else (<StreamChannel>call.stream).wake_sender()

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return emit(self.owner, ("failed", call.id, status))


@cython.final
cdef class _RecordedCalling(NativeCalling):
    """Keeps the events of own calls."""

    cdef int on_head(self, Call call, bytes metadata) except -1:
        return emit(self.owner, ("head", call.id, metadata))

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        return emit(
            self.owner,
            (
                "response",
                call.id,
                frame.status if frame.status <= HIGHEST_STATUS else UNKNOWN,
                frame.outcome,
                frame.text[:frame.text_size],
                call.received_metadata or b"",
                frame.pushback_ms,
                frame.elapsed_us,
                frame.codec,
                frame.compressor,
                payload,
            ),
        )

    cdef int on_unsendable(self, Call call, object error) except -1:
        return emit(self.owner, ("unsendable", str(error)))

    cdef int on_not_started(self, Call call) except -1:
        return emit(self.owner, ("not_started", call.id))

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return keep(self.owner, call, frame, payload, cost)

    cdef int on_sendable(self, Call call) except -1:
        return 0 if call.stream is None else (<StreamChannel>call.stream).wake_sender()

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return emit(self.owner, ("failed", call.id, status))


@cython.final
cdef class _RecordedSide(Side):
    """Watches the life of a connection, as the sides of the package do."""

    cdef int on_ready(self) except -1:
        (<RecordingConnection>self.holder).check((<RecordingConnection>self.holder).now)
        return 0


@cython.final
cdef class _BlockedStream(ByteStream):
    """Accepts no output while the connection is blocked."""

    cdef bint is_stuck(self) noexcept:
        return self._engine is not NULL and (<RecordingConnection>self._engine).is_blocked


@cython.final
cdef class _RecordedFrames(FrameHandler):
    """Keeps the effects of frames that are not reported to a call. The connection holds it."""

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        cdef RecordingConnection owner = <RecordingConnection>self.owner
        cdef Py_ssize_t consumed = owner.router.on_opening(data, size)
        if consumed > 0 and not owner.is_closed:
            owner.consumed += consumed
            owner._emit(("preface", VERSION))
        return consumed

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        cdef RecordingConnection owner = <RecordingConnection>self.owner
        cdef Py_ssize_t place = len(owner.events)
        cdef uint64_t discards = owner.discards
        cdef Call call = owner.slots.find(frame.id)
        cdef bint is_given_up = call is not None and call.state == STATE_GIVEN_UP
        cdef bint is_answering = call is not None and call.state == STATE_ANSWERING
        owner.consumed += HEADER_SIZE + frame.length
        owner.router.on_frame(frame, payload)
        if frame.kind not in KIND_NAMES:
            if not owner.is_closed or owner.closed_by_peer:
                # Insert the frame before the events that it caused.
                owner.events.insert(place, owner._control_event(frame))
        elif frame.kind == CREDIT:
            # A credit of zero ends the connection, whatever the state of its call.
            if owner.is_closed:
                pass
            elif is_given_up or is_answering:
                owner._emit(("ignored", KIND_NAMES[frame.kind], frame.id))
            elif owner.discards == discards:
                owner._emit(("credit", frame.id, load32(frame.payload)))
        elif is_given_up and call.state == STATE_GONE:
            owner._emit(("freed", call.id))
        return owner._flush()

    cdef Assembly sink_for(self, Frame* frame):
        return (<RecordingConnection>self.owner).router.sink_for(frame)


@cython.final
cdef class RecordingConnection(Connection):
    def __cinit__(self, *arguments, **options):
        self.frames = _RecordedFrames.__new__(_RecordedFrames, self)
        self.take_side(_RecordedSide.__new__(_RecordedSide))
        self.below = _BlockedStream.__new__(_BlockedStream)
        bind(self, self.below)
        self.events = []
        self.tail = b""
        self.sends_at_once = True
        self.untaken = {}
        self.routes = {}

    def __init__(
        self, *, bint is_client, WireSettings settings=None, early_calls="all", first_id=None, stream_pool=33_554_432
    ):
        cdef _RecordedCalling calling
        Connection.__init__(
            self,
            is_client=is_client,
            settings=usual_settings(not is_client) if settings is None else settings,
            early_calls=early_calls,
            first_id=first_id,
            stream_pool=stream_pool,
        )
        self.serving = _RecordedServing.__new__(_RecordedServing)
        calling = _RecordedCalling.__new__(_RecordedCalling)
        self.serving.owner = calling.owner = <PyObject*>self
        self.calling = calling
        if is_client:
            self.router.open()

    # Bytes

    def receive_data(self, data):
        """Process bytes from the peer; return the events since the last call."""
        cdef bytes block = bytes(data)
        cdef Py_ssize_t at = self._receive_directly(block)
        if self.tail:
            block = self.tail + block
        at += self.reader.receive(PyBytes_AS_STRING(block) + at, PyBytes_GET_SIZE(block) - at)
        self.tail = block[at:]
        found = self.events
        self.events = []
        return found

    cdef Py_ssize_t _receive_directly(self, bytes data) except -1:
        """Receive bytes as a transport does, which writes a long payload directly into its final memory."""
        cdef Py_ssize_t at = 0, room = 0, size = PyBytes_GET_SIZE(data)
        cdef char* place
        while at < size:
            place = self.reader.body_place(&room)
            if place is NULL:
                break
            room = min(room, size - at)
            memcpy(place, PyBytes_AS_STRING(data) + at, room)
            self.reader.sink.filled += room
            self.reader.body_received(room)
            at += room
        return at

    def data_to_send(self, Py_ssize_t most=-1):
        """Return the bytes to send to the peer.

        Pieces of large messages are added until there are `most` bytes; with -1, as far as credit allows.
        """
        if self.is_blocked:
            return b""
        if self.slots.withholds:
            self.slots.resume_withheld()
        self.sender.pump(PY_SSIZE_T_MAX if most < 0 else most, True)
        output = self.sender.take()
        return output if type(output) is bytes else b"".join(output)

    # Calls of ours

    def open_call(
        self,
        bytes method not None,
        bytes payload not None=b"",
        *,
        uint8_t flags=0,
        uint8_t codec=0,
        bytes metadata not None=b"",
        uint8_t attempt=0,
        timeout_us=None,
    ):
        """Open a call with flags for REQUEST. The `id` of the call is 0 until its first frame is written."""
        cdef RecordedCall call = RecordedCall.__new__(RecordedCall)
        call.is_local = True
        call.route = self._route_to(method)
        call.flags = flags
        call.codec = codec
        call.attempt_number = attempt
        call.sent_metadata = block_or_none(metadata)
        if timeout_us is not None:
            call.deadline_ns = self.now + 1_000 * <uint64_t>timeout_us
        self.slots.send_request(call, payload)
        self._flush()
        return call

    def cancel(self, call, int reason=0):
        """Abandon a call. The peer frees its place with RESPONSE."""
        cdef RecordedCall known = self._call_of(call)
        if known is not None and known.is_local:
            self.caller.give_up(known, reason)
            self._flush()

    # Calls of the peer

    def respond(self, call, bytes payload not None=b"", *, bytes metadata not None=b"", uint32_t elapsed_us=0):
        """Answer with a value."""
        cdef RecordedCall known = self._answerable(call, "answered")
        known.sent_metadata = block_or_none(metadata)
        known.is_finished = True
        self.sender.send_response(known, payload, elapsed_us)
        self._flush()

    def respond_error(
        self,
        call,
        uint16_t status,
        bytes text not None=b"",
        *,
        bytes details not None=b"",
        uint8_t outcome=0,
        uint32_t pushback_ms=0,
    ):
        """Answer with a status. The unsent rest of an answer or a message is dropped."""
        cdef RecordedCall known = self._call_of(call)
        cdef Outgoing failure = Outgoing.__new__(Outgoing)
        if known is None or not known.is_listed:
            raise LocalProtocolError(f"call {call} cannot be answered: it is over, or ours")
        if len(text) > MESSAGE_LIMIT:
            raise LocalProtocolError(f"the text has {len(text)} bytes, {MESSAGE_LIMIT} are allowed")
        failure.status = status
        failure.outcome = outcome
        failure.text = text
        failure.payload = details
        failure.pushback_ms = pushback_ms
        known.is_finished = True
        self.sender.send_failure(known, failure)
        self._flush()

    def end_one_way(self):
        """Note that the handler of a one-way call has ended, so that another may run."""
        self.callee.one_way_calls -= 1

    # Streams, both sides

    def push_head(self, call, bytes metadata not None=b""):
        """Commit the initial metadata of an answering stream."""
        self.sender.send_head(self._answerable(call, "given a head"), metadata)
        self._flush()

    def push_message(self, call, bytes payload not None=b""):
        """Send one message of a stream, as far as its window allows."""
        cdef RecordedCall known = self._open_call_of(call, "sent messages")
        if not known.flags & (STREAM_IN if known.is_local else STREAM_OUT):
            raise LocalProtocolError(f"call {known.id} does not stream that way")
        self.sender.send_message(known, payload, known.codec, known.compressor)
        self._flush()

    def push_end(self, call):
        """End the messages that this side sends."""
        cdef RecordedCall known = self._open_call_of(call, "ended")
        if not known.is_local or not known.flags & STREAM_IN:
            raise LocalProtocolError(f"call {known.id} has no stream of ours that could end")
        known.is_finished = True
        self.sender.send_end(known)
        self._flush()

    def take_message(self, uint64_t id):
        """Take the oldest message of a call as the application; its credit is returned to the peer."""
        waiting = self.untaken.get(id)
        if not waiting:
            raise LocalProtocolError(f"no message of call {id} waits")
        call, cost = waiting.popleft()
        if not waiting:
            del self.untaken[id]
        self.assembler.message_taken(call, cost)

    def wait_for_message(self, uint64_t id):
        """Wait for the next message of a call as the application; the call must have no message."""
        cdef RecordedCall call = self._call_of(id)
        if call is None or id in self.untaken:
            raise LocalProtocolError(f"call {id} has messages, or is over")
        self.assembler.reader_waits(call)

    # The connection

    def announce(self, WireSettings settings not None):
        """Send SETTINGS. Lower limits apply after the peer's ACK, higher limits immediately."""
        self.control.announce(settings)

    def ping(self, bytes content not None=bytes(8)):
        """Send a PING with any 8 bytes."""
        if not self.settled or len(content) != 8:
            raise LocalProtocolError("a PING has 8 bytes and goes to a peer whose SETTINGS came")
        self.control.send_ping(self.sender.control, content)

    def begin_drain(self, uint16_t reason=0, str text not None=""):
        """Send GOAWAY, after which the peer opens no call. FINAL follows when the peer answers, or with `end_drain`."""
        self.control.start_drain(reason, text)

    def end_drain(self):
        """Send GOAWAY FINAL with the last call that was accepted."""
        self.control.finish_drain()

    def close(self, uint16_t reason=0, str text not None=""):
        """End the connection, and send the reason to the peer."""
        self.close_with(reason, text)

    # State for tests

    def find_call(self, uint64_t id):
        """Return a call of either side that is in progress, or None."""
        return self._call_of(id)

    def state_of(self, uint64_t id):
        """Return the name of the state of a call: a column of the state table."""
        cdef RecordedCall call = self._call_of(id)
        if call is not None:
            return STATE_NAMES[call.state]
        is_theirs = (id & 1) == <uint64_t>self.wire.peer_parity
        return "new" if is_theirs and id > self.callee.highest_seen else "gone"

    @property
    def waiting(self):
        """Messages in all queues, including dropped messages."""
        return sum(map(len, self.slots.queues()))

    @property
    def credit(self):
        """Bytes on the connection: may be sent, may be received, received but not yet credited."""
        return self.sender.send_left, self.reader.received.left, self.reader.received.owed

    @property
    def calls(self):
        """The ids of the calls in both tables."""
        return sorted(call.id for call in self.slots.opened.entries() + self.callee.calls.entries())

    # Hooks

    cdef int discard(self, Frame* frame) except -1:
        self.discards += 1
        Connection.discard(self, frame)
        return 0 if self.is_closed else self._emit(("discarded", KIND_NAMES[frame.kind], frame.id))

    cdef int end_stream(self) except -1:
        return 0 if self.closed_by_peer else self._emit(("error", self.closed_reason))

    # Parts

    cdef int _emit(self, tuple event) except -1:
        self.events.append(event)
        return 0

    cdef tuple _control_event(self, Frame* frame):
        cdef bytes body = PyBytes_FromStringAndSize(frame.payload, frame.payload_size)
        cdef const char* start = body
        if frame.kind == SETTINGS:
            return ("settings_ack",) if frame.flags & ACK else ("settings", decode_settings(body))
        if frame.kind == PING:
            return ("pong" if frame.flags & ACK else "ping", body)
        if frame.kind == GOAWAY:
            is_final = bool(frame.flags & FINAL)
            return ("goaway", load64(start), load16(start + 8), is_final, load32(start + 12), body[16:])
        if frame.kind == AUTH:
            scheme_end = 4 + <uint8_t>start[1]
            return ("auth", <uint8_t>start[0], body[4:scheme_end], body[scheme_end:])
        return ("skipped", frame.kind)

    cdef int _flush(self) except -1:
        if self.sends_at_once and not self.is_closed:
            self.sender.pump(PY_SSIZE_T_MAX, True)
        return 0

    cdef MethodRoute _route_to(self, bytes method):
        cdef MethodRoute route = self.routes.get(method)
        if route is None:
            if not 1 <= len(method) <= METHOD_LIMIT:
                raise LocalProtocolError(f"the method has {len(method)} bytes, 1 to {METHOD_LIMIT} are allowed")
            route = self.routes[method] = MethodRoute.__new__(MethodRoute)
            route.name = method
            route.method = method.decode("ascii", "backslashreplace")
            route.kind = "unary"
        return route

    cdef RecordedCall _call_of(self, object which):
        """Return a call that is given by itself or by its id; None if the id is not in use."""
        cdef uint64_t id
        if isinstance(which, RecordedCall):
            return <RecordedCall>which
        id = which
        if (id & 1) == <uint64_t>self.wire.peer_parity:
            return <RecordedCall>self.callee.find(id)
        return <RecordedCall>self.slots.find(id)

    cdef RecordedCall _open_call_of(self, object which, str action):
        cdef RecordedCall call = self._call_of(which)
        if call is None or call.is_finished or call.state in (STATE_GONE, STATE_GIVEN_UP):
            raise LocalProtocolError(f"call {which} cannot be {action}: it is over or was never opened")
        return call

    cdef RecordedCall _answerable(self, object which, str action):
        cdef RecordedCall call = self._open_call_of(which, action)
        if not call.is_listed:
            raise LocalProtocolError(f"call {which} cannot be {action}: it is not theirs")
        return call


cdef bytes block_or_none(bytes metadata):
    if len(metadata) > METADATA_BLOCK:
        raise LocalProtocolError(f"the metadata has {len(metadata)} bytes, {METADATA_BLOCK} are allowed")
    return metadata if metadata else None
