"""The connection multiplexer, sans-IO: bytes in, hooks out, bytes to send.

::

    PartsOwner    what the parts share, and the hooks they call
    └── Connection    opening, SETTINGS, PING, GOAWAY, AUTH; which part a frame of a call is for
        ├── RecordingConnection   keeps what its hooks receive in a list: tests and the curious
        ├── ClientSession, ServerSession   bound to asyncio
        └── BlockingSession                bound to a blocking socket

    reader: FrameReader           bytes → frames
    assembler: MessageAssembler   cut messages, streams' windows
    callee: CalleeStates          frames of calls of theirs
    caller: CallerStates          frames of calls of ours
    slots: CallSlots              calls of ours: slots at the peer, ids
    sender: SendQueue             what is sent: order, credit, pieces

A unary call crosses ten times between parts and their owner. Server: on_frame, callee.request, new_call, on_request;
sender.send_response, on_answered, callee.answered, on_ended, expect_late, on_output. Client, nine times:
slots.send_request, on_output; on_frame, caller.response, slots.find, return_slot, on_forgotten, note_answer,
on_response.

The time is handed in (`now`, nanoseconds of a monotonic clock) before each use. Nothing here knows a socket.
"""

import struct
from operator import attrgetter

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport STATE_ANSWERING, STATE_CANCELLED, STATE_GIVEN_UP, Call
from fastrpc._core.framing.frame cimport (
    ACK,
    AUTH,
    CREDIT,
    FINAL,
    GOAWAY,
    GOAWAY_TEXT_LIMIT,
    HEADER_SIZE,
    PING,
    PREFACE_SIZE,
    REASON_CALM_DOWN,
    REASON_CREDIT,
    REASON_FRAME_SIZE,
    REASON_MAX_AGE,
    REASON_PROTOCOL,
    REASON_SETTINGS,
    SETTINGS,
)
from fastrpc._core.framing.frame cimport CANCEL, CONT, DATA, END, HEAD, MORE, OUTCOME_RAN, REQUEST, RESPONSE
from fastrpc._core.native.call_slots cimport new_slots
from fastrpc._core.native.callee_states cimport new_callee
from fastrpc._core.native.caller_states cimport new_caller
from fastrpc._core.native.frame_reader cimport OPENING_INCOMPLETE, new_reader
from fastrpc._core.native.message_assembler cimport new_assembler
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.native.parts_owner cimport LATE_BYTES_PER_SECOND
from fastrpc._core.native.send_queue cimport new_sender
from fastrpc._core.framing.native cimport NativeProtocol, stranger_of
from fastrpc._core.framing.settings cimport decode_settings
from fastrpc._core.base.status cimport UNIMPLEMENTED
from fastrpc._core.framing.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, IDLE_CALLS, IDLE_CALLS_PER_SLOT
from fastrpc._core.framing.window cimport fill, open_budget, placed, spend, widen
from fastrpc._core.base.wire cimport MINUTE, SECOND, load16, load32, load64, store32

from fastrpc._core.native.call_slots import EARLY_CALLS
from fastrpc.errors import LocalProtocolError

cdef enum:
    VERSION = 1
    # PROTOCOL.md, "Budgets".
    FREE_CREDITS = 100
    CREDITS_PER_FRAME = 10
    PING_STRIKES = 3
    UNSENT_PING_ACKS = 1000
    DRAIN_GOAWAYS = 2
    USUAL_STREAM_POOL = 33_554_432
    HIGHEST_PING_GAP = 3_600_000
    # Of a stranger, in the error that tells of it.
    SHOWN_BYTES = 16

MAGIC = b"\xf5FRP"

PREFACE = MAGIC + bytes((VERSION, VERSION, 0, 0))
NO_COMMON_VERSION = MAGIC + bytes((0, VERSION, 0, 0))
NO_LAST_ID = 2**63 - 1
NOT_CONFIGURED = b"authentication is not configured"
BY_ID = attrgetter("id")


cdef class Connection(PartsOwner):
    """Protocol state of one byte stream, without the stream."""

    def __cinit__(self, *arguments, **options):
        # Sound also where __init__ was never called.
        self.wire = NativeProtocol()
        self.reader = new_reader(self)
        self.sender = new_sender(self)
        self.slots = new_slots(self, self.sender)
        self.assembler = new_assembler(self, self.reader, self.sender)
        self.callee = new_callee(self, self.reader, self.assembler, self.sender)
        self.caller = new_caller(self, self.reader, self.assembler, self.slots)
        self.peer = self.ours = self.acknowledged = Settings(False)
        self.our_stream_window = self.ours.stream_window
        self.closed_reason = -1
        self.unacknowledged = Queue()
        self.pings = Queue()
        self.peer_last_id = NO_LAST_ID
        open_budget(&self.settings_budget, 32, 32, MINUTE)
        open_budget(&self.auth_budget, 10, 10, MINUTE)
        open_budget(&self.skip_budget, 1000, 330, SECOND)

    def __init__(
        self,
        *,
        bint is_client,
        Settings settings not None,
        early_calls="idempotent",
        first_id=None,
        Py_ssize_t stream_pool=USUAL_STREAM_POOL,
    ):
        cdef uint64_t first = (1 if is_client else 2) if first_id is None else first_id
        if (first & 1) != <uint64_t>is_client or first == 0 or first > NO_LAST_ID:
            raise LocalProtocolError(f"first_id is {first}, a {'client' if is_client else 'server'} may not use it")
        self.is_client = is_client
        self.ours = settings
        self.our_stream_window = settings.stream_window
        self.peer = Settings(is_client)
        self.acknowledged = Settings(not is_client)
        self.wire.peer_parity = 0 if is_client else 1
        self.wire.needs_settings = True
        self.wire.frame_limit = self.acknowledged.max_frame
        self.slots.early_calls = EARLY_CALLS[early_calls]
        self.slots.next_id = first
        self.assembler.open_pool(stream_pool)

    def __dealloc__(self):
        # The collector may have cleared a field before.
        if self.reader is not None:
            self.reader.owner = NULL
        if self.assembler is not None:
            self.assembler.owner = NULL
        if self.sender is not None:
            self.sender.owner = NULL
        if self.slots is not None:
            self.slots.owner = NULL
        if self.callee is not None:
            self.callee.owner = NULL
        if self.caller is not None:
            self.caller.owner = NULL

    # What the parts ask

    cdef int begin_call(self, Call call) except -1:
        return self.slots.begin_call(call)

    cdef int on_unsent(self, Call call) except -1:
        return self.slots.was_unsent(call)

    cdef int give_up(self, Call call, int reason) except -1:
        return self.caller.give_up(call, reason)

    cdef int on_answered(self, Call call) except -1:
        return self.callee.answered(call)

    cdef int on_answer_waits(self, Call call) except -1:
        return self.callee.answer_waits(call)

    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        return self.callee.whole_request(call, frame, payload)

    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        return self.caller.whole_response(call, frame, payload)

    cdef bint was_handed(self, Call call) noexcept:
        """Whether the last piece of the REQUEST was given to the transport: from then on nobody knows if it ran."""
        return call.handed_at != 0 and call.handed_at <= self.sender.flushes

    cdef bint was_written(self, Call call) noexcept:
        """Whether the last piece of the REQUEST is written: it leaves, sooner or later, unless the stream ends."""
        return call.handed_at != 0

    # Opening

    cdef int open(self) except -1:
        """Send our half of the opening: preface, SETTINGS and the raise of the connection window.

        A client does this once the stream is connected; a server does it by itself when the client's preface came.
        """
        cdef Py_ssize_t window = max(<Py_ssize_t>CONNECTION_WINDOW, <Py_ssize_t>self.ours.max_frame + HEADER_SIZE)
        self._write_raw(PREFACE)
        self.preface_sent = self.sender.opening_waits = True
        self._announce(self.ours)
        self.reader.received.size = window
        self.reader.received.left += window - FIRST_CONNECTION_WINDOW
        open_budget(&self.late_bytes, window, LATE_BYTES_PER_SECOND, SECOND)
        open_budget(&self.assembler.short_pieces, window, LATE_BYTES_PER_SECOND, SECOND)
        self._credit_in_order(<uint32_t>(window - FIRST_CONNECTION_WINDOW))
        return self.on_output()

    def announce(self, Settings settings not None):
        """Send SETTINGS; what they lower binds the peer's frames behind its ACK, what they raise counts at once.

        Raises:
            LocalProtocolError: they change the stream window, which only the first ones may say.
        """
        self._announce(settings)

    cdef int _announce(self, Settings settings) except -1:
        cdef bint first = not self.was_announced
        if settings.stream_window != self.our_stream_window:
            raise LocalProtocolError(
                f"the stream window is {self.our_stream_window} bytes for as long as the connection lasts, "
                f"not {settings.stream_window}"
            )
        self.was_announced = True
        self.ours = settings
        self.callee.most_calls = max(self.callee.most_calls, <Py_ssize_t>settings.max_calls)
        self.callee.serves_calls = self.callee.most_calls > 0
        widen(&self.callee.idle_work, IDLE_CALLS + IDLE_CALLS_PER_SLOT * <int64_t>self.callee.most_calls)
        self.unacknowledged.append(self.ours)
        self.sender.send_control(self.sender.out, SETTINGS, 0, settings.encode(first))
        return self._enforce()

    cdef int _enforce(self) except -1:
        """Enforce the loosest settings that the peer may still be obeying: acknowledged, or announced since."""
        cdef Settings announced
        self.wire.frame_limit = self.acknowledged.max_frame
        self.open_messages = self.acknowledged.open_messages
        self.callee.call_bound = self.acknowledged.max_calls
        self.callee.stream_bound = self.acknowledged.max_streams
        # The floor of MIN_PING_MS is "no PING yet": who pings has read what we announced.
        self.ping_gap_ms = self.acknowledged.min_ping_ms if self.first_settings_acknowledged else HIGHEST_PING_GAP
        for announced in self.unacknowledged:
            self.wire.frame_limit = max(self.wire.frame_limit, <Py_ssize_t>announced.max_frame)
            self.open_messages = max(self.open_messages, <int>announced.open_messages)
            self.callee.call_bound = max(self.callee.call_bound, <Py_ssize_t>announced.max_calls)
            self.callee.stream_bound = max(self.callee.stream_bound, <Py_ssize_t>announced.max_streams)
            self.ping_gap_ms = min(self.ping_gap_ms, announced.min_ping_ms)
        return 0

    cdef int _write_raw(self, bytes data) except -1:
        memcpy(self.sender.out.reserve(len(data)), PyBytes_AS_STRING(data), len(data))
        return 0

    cdef int _credit_in_order(self, uint32_t size) except -1:
        cdef char[4] body
        store32(body, size)
        return self.sender.send_control(self.sender.out, CREDIT, 0, body[:4])

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Take the preface: its length once it is whole, 0 when it was taken before."""
        cdef Py_ssize_t i
        if self.phase != PHASE_PREFACE:
            return 0
        for i in range(min(size, 4)):
            if data[i] != PyBytes_AS_STRING(MAGIC)[i]:
                text = stranger_of(data[:min(size, SHOWN_BYTES)], self.is_client)
                self.is_unreadable = True
                self.on_stranger(text)
                self._end_connection(REASON_PROTOCOL, text, False)
                return size
        if size < PREFACE_SIZE:
            return OPENING_INCOMPLETE
        self._take_preface(data)
        return PREFACE_SIZE

    cdef int _take_preface(self, const char* data) except -1:
        cdef int lowest = <uint8_t>data[4], highest = <uint8_t>data[5]
        cdef bint common = lowest and lowest <= VERSION <= highest and load16(data + 6) == 0
        self.phase = PHASE_SETTINGS
        self.is_unreadable = not common
        if self.is_client:
            if lowest == 0:
                return self._end_connection(
                    REASON_PROTOCOL, f"no common version: the server speaks up to {highest}", False
                )
            if not common or lowest != VERSION:
                return self._end_connection(
                    REASON_PROTOCOL, f"the server chose version {lowest}, we speak {VERSION}", False
                )
            return 0
        if not common:
            self._write_raw(NO_COMMON_VERSION)
            self.on_output()
            return self._end_connection(
                REASON_PROTOCOL, f"no common version: the client speaks {lowest} to {highest}", False
            )
        return self.open()

    # The frames of calls

    @cython.nonecheck(False)
    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        if frame.kind == REQUEST:
            self.callee.request(frame, payload)
        elif frame.kind == RESPONSE:
            self.caller.response(frame, payload)
        elif frame.kind == DATA:
            self._data(frame, payload)
        elif frame.kind == CREDIT:
            return self._credit(frame)
        elif frame.kind == CANCEL:
            return self.callee.cancel(frame)
        elif frame.kind == END:
            return self.callee.end(frame)
        elif frame.kind == HEAD:
            self.caller.head(frame)
        else:
            return self.on_control(frame)
        return self._placed(frame)

    @cython.nonecheck(False)
    cdef int _placed(self, Frame* frame) except -1:
        """Return connection credit for a frame that found its place, or was discarded."""
        cdef int64_t credit
        if self.serving is not None and self.serving.withholds(frame):
            return 0
        credit = placed(&self.reader.received, HEADER_SIZE + <Py_ssize_t>frame.length)
        if credit and not self.is_closed:
            self.sender.send_credit(0, <uint32_t>credit)
        return 0

    cdef Assembly sink_for(self, Frame* frame):
        cdef Call call
        cdef Assembly begun
        if frame.refused or frame.kind == HEAD:
            return None
        if frame.kind == REQUEST:
            if frame.id <= self.callee.highest_seen or frame.id > self.callee.last_taken:
                return None
        else:
            call = self.callee.find(frame.id)
            if call is None:
                call = self.slots.find(frame.id)
            if call is None or call.state == STATE_GIVEN_UP or call.state == STATE_CANCELLED:
                return None
            if frame.flags & CONT:
                begun = None if call.incoming is None else <Assembly>call.incoming.assembly
                if begun is None or frame.payload_size > begun.total - begun.filled:
                    return None
                return begun
        if not frame.flags & MORE:
            frame.total = frame.payload_size
        return Assembly(frame.total) if frame.total <= self.ours.max_message else None

    cdef int _data(self, Frame* frame, bytes payload) except -1:
        cdef Call call
        if (frame.id & 1) == <uint64_t>self.wire.peer_parity:
            call = self.callee.find(frame.id)
            if call is not None:
                return self.callee.data(call, frame, payload)
            if frame.id > self.callee.highest_seen:
                return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which was never opened")
            return self.discard(frame)
        call = self.slots.find(frame.id)
        if call is None:
            return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which is over or was never opened")
        return self.caller.data(call, frame, payload)

    cdef int _credit(self, Frame* frame) except -1:
        cdef uint32_t size = load32(frame.payload)
        cdef Call call = None
        if self.credits_received >= FREE_CREDITS + CREDITS_PER_FRAME * self.sender.data_frames_sent:
            return self.violate(REASON_CALM_DOWN, "too many CREDIT frames for what was sent")
        self.credits_received += 1
        if size == 0:
            return self.violate(REASON_CREDIT, f"CREDIT of 0 for call {frame.id}")
        if frame.id:
            if (frame.id & 1) == <uint64_t>self.wire.peer_parity:
                call = self.callee.find(frame.id)
                if call is None and frame.id > self.callee.highest_seen:
                    return self.violate(REASON_PROTOCOL, f"CREDIT for call {frame.id}, which was never opened")
                if call is None or call.state == STATE_CANCELLED:
                    return self.discard(frame)
            else:
                call = self.slots.find(frame.id)
                if call is None:
                    return self.violate(
                        REASON_PROTOCOL, f"CREDIT for call {frame.id}, which is over or was never opened"
                    )
                if call.state == STATE_ANSWERING or call.state == STATE_GIVEN_UP:
                    return self.on_ignored(frame)
        if self.sender.raise_credit(call, size):
            return self.violate(REASON_CREDIT, f"credit of call {frame.id} is raised above its bound")
        return self.on_credit(frame.id, size)

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """End a call because of what the peer sent on it: the caller cancels, the callee answers."""
        cdef Outgoing failure
        if call.is_local:
            self.caller.give_up(call, reason)
            return self.on_local_end(call, status, text)
        failure = new_failure(status, OUTCOME_RAN, text)
        self.callee.ended(call)
        self.sender.send_failure(call, failure)
        return self.on_local_end(call, status, text)

    # The connection's own frames

    cdef int on_control(self, Frame* frame) except -1:
        if frame.kind == PING:
            return self._ping(frame)
        if frame.kind == SETTINGS:
            return self._settings(frame)
        if frame.kind == GOAWAY:
            return self._goaway(frame)
        if frame.kind == AUTH:
            return self._auth(frame)
        if not spend(&self.skip_budget, 1, self.now):
            return self.violate(REASON_CALM_DOWN, f"too many frames of unknown kind {frame.kind}")
        self.skipped_frames += 1
        return 0

    cdef int _settings(self, Frame* frame) except -1:
        cdef Settings peer
        if frame.flags & ACK:
            return self._settings_acknowledged()
        if not spend(&self.settings_budget, 1, self.now):
            return self.violate(REASON_CALM_DOWN, "more than 32 SETTINGS in a minute")
        peer = self.peer.copy()
        try:
            peer.apply(decode_settings(frame.payload[:frame.payload_size], not self.settled))
        except ValueError as problem:
            return self.violate(REASON_SETTINGS, str(problem))
        self.peer = peer
        self.slots.know_slots(peer.max_calls)
        # In order with our REQUESTs: those behind the first ACK go by the announced stream window.
        self.sender.send_control(self.sender.out, SETTINGS, ACK, b"")
        self.wire.needs_settings = False
        if not self.settled:
            self.settled = True
            self.slots.early_until = self.slots.next_id
            self.phase = PHASE_OPEN
            self.on_ready()
            for call in self.slots.opened.entries():
                self.sender.unpark(<Call>call)
        return self.slots.release_slots()

    cdef int _settings_acknowledged(self) except -1:
        if not self.unacknowledged:
            return self.violate(REASON_SETTINGS, "SETTINGS ACK without SETTINGS")
        self.acknowledged = self.unacknowledged.popleft()
        self.first_settings_acknowledged = True
        return self._enforce()

    cdef int _ping(self, Frame* frame) except -1:
        cdef bytes body = frame.payload[:8]
        if frame.flags & ACK:
            if not self.pings or self.pings[0] != body:
                return self.violate(REASON_PROTOCOL, "PING ACK that answers no PING, or not the oldest")
            self.pings.popleft()
            if self.drain_step == 1 and self.pings_sent - len(self.pings) == self.drain_ping:
                self.finish_drain()
            return 0
        if self.was_pinged and self.now - self.last_ping_ns < <uint64_t>self.ping_gap_ms * 500_000:
            self.ping_strikes += 1
            if self.ping_strikes >= PING_STRIKES:
                return self.violate(REASON_CALM_DOWN, f"PINGs faster than half of MIN_PING_MS {self.ping_gap_ms}")
        else:
            self.ping_strikes = 0
        self.was_pinged = True
        self.last_ping_ns = self.now
        self.ping_acks_unsent = self.ping_acks_unsent + 1 if self.output_is_stuck() else 0
        if self.ping_acks_unsent > UNSENT_PING_ACKS:
            return self.violate(REASON_CALM_DOWN, f"{UNSENT_PING_ACKS} PING answers wait to be read")
        return self.sender.send_control(self.sender.control, PING, ACK, body)

    cdef int send_ping(self, bytes body) except -1:
        """Ask for a sign of life; `body` is 8 bytes of any content."""
        self.pings.append(body)
        self.pings_sent += 1
        return self.sender.send_control(self.sender.control, PING, 0, body)

    cdef int _auth(self, Frame* frame) except -1:
        if not spend(&self.auth_budget, 1, self.now):
            return self.violate(REASON_CALM_DOWN, "more than 10 AUTH in a minute")
        if self.is_client or frame.flags & ACK:
            return self.violate(REASON_PROTOCOL, "AUTH that answers none")
        verdict = struct.pack("<HHI", UNIMPLEMENTED, len(NOT_CONFIGURED), 0) + NOT_CONFIGURED
        return self.sender.send_control(self.sender.out, AUTH, ACK, verdict)

    # The end

    cdef int _goaway(self, Frame* frame) except -1:
        cdef uint64_t last_id = load64(frame.payload)
        cdef int reason = load16(frame.payload + 8)
        cdef Py_ssize_t size = load16(frame.payload + 10)
        text = frame.payload[16:16 + size].decode()
        if reason > REASON_MAX_AGE:
            self.peer_last_id = min(self.peer_last_id, last_id)
            self.peer_drains = self.peer_sent_final = True
            self._fail_above(last_id)
            return self._end_connection(reason, text, True)
        if self.peer_sent_final:
            return self.violate(REASON_PROTOCOL, "GOAWAY behind GOAWAY FINAL")
        self.goaways_received += 1
        if self.goaways_received > DRAIN_GOAWAYS:
            return self.violate(REASON_CALM_DOWN, f"more than {DRAIN_GOAWAYS} GOAWAY")
        if last_id > self.peer_last_id:
            return self.violate(REASON_PROTOCOL, f"GOAWAY raises the last id from {self.peer_last_id} to {last_id}")
        self.peer_last_id = last_id
        self.peer_drains = True
        if frame.flags & FINAL:
            self.peer_sent_final = True
            self._fail_above(last_id)
        return self.on_peer_drains(reason, text)

    cdef int _fail_above(self, uint64_t last_id) except -1:
        """Our calls above the last id the peer took were not started."""
        cdef Call call
        for call in sorted(self.slots.opened.entries(), key=BY_ID):
            if call.id > last_id:
                self.caller.forget(call)
                self.on_not_started(call)
        return 0

    cdef int start_drain(self, int reason, str text) except -1:
        """Step 1: tell the peer to open nothing new; a PING behind it shows when it knows."""
        if self.drain_step or self.is_closed or not self.preface_sent:
            return 0
        self.drain_step = 1
        self.drain_reason = reason
        self._send_goaway(reason, False, NO_LAST_ID, text)
        body = struct.pack("<Q", self.pings_sent)
        self.pings.append(body)
        self.pings_sent += 1
        self.drain_ping = self.pings_sent
        # In order, unlike other PINGs: its answer shows that the GOAWAY in front of it was read.
        return self.sender.send_control(self.sender.out, PING, 0, body)

    cdef int finish_drain(self) except -1:
        """Step 2: name the last call that was taken; whatever comes above it was not started."""
        if self.drain_step != 1 or self.is_closed:
            return 0
        self.drain_step = 2
        self.callee.last_taken = self.callee.highest_id
        fill(&self.late_bytes)
        return self._send_goaway(self.drain_reason, True, self.callee.highest_id, "")

    cdef int violate(self, int reason, str text) except -1:
        if self.is_closed:
            return 0
        # What the GOAWAY sets off must not begin anew.
        self.is_closed = True
        if self.preface_sent and self.phase != PHASE_PREFACE and (reason > REASON_MAX_AGE or self.drain_step < 2):
            self._send_goaway(reason, True, self.callee.highest_id, text)
        self.is_closed = False
        return self._end_connection(reason, text, False)

    cdef int close_with(self, int reason, str text) except -1:
        """End the connection for a reason of ours; the peer is told."""
        return self.violate(reason, text)

    cdef int _end_connection(self, int reason, str text, bint by_peer) except -1:
        if self.is_closed:
            return 0
        self.is_closed = True
        self.phase = PHASE_CLOSED
        self.closed_reason = reason
        self.closed_text = text
        self.closed_by_peer = by_peer
        return self.on_closed()

    cdef int _send_goaway(self, int reason, bint final, uint64_t last_id, str text) except -1:
        cdef bytes raw = text.encode("utf-8", "replace")[:GOAWAY_TEXT_LIMIT].decode("utf-8", "ignore").encode()
        body = struct.pack("<QHHI", last_id, reason, len(raw), 0) + raw
        return self.sender.send_control(self.sender.out, GOAWAY, FINAL if final else 0, body)

    cdef bint is_idle(self) noexcept:
        """Whether no call is under way in either direction."""
        return self.slots.opened.size == 0 and self.callee.calls.size == 0 and self.callee.one_way_calls == 0

    cdef bint is_violated(self) noexcept:
        """Whether it ended because the peer broke the rules of the wire."""
        return not self.closed_by_peer and self.closed_reason in (
            REASON_PROTOCOL, REASON_FRAME_SIZE, REASON_CREDIT, REASON_CALM_DOWN, REASON_SETTINGS
        )

    # Hooks

    cdef int on_stranger(self, str text) except -1:
        """The first bytes are not those of the protocol; the connection ends with that."""
        return 0

    cdef bint output_is_stuck(self) noexcept:
        """Whether whoever writes our output cannot at present; answers to PINGs are counted then."""
        return False

    cdef int on_ready(self) except -1:
        """The peer's first SETTINGS came: the connection counts as made."""
        return 0

    cdef int on_peer_drains(self, int reason, str text) except -1:
        """The peer takes no new calls on this connection."""
        return 0

    cdef int on_closed(self) except -1:
        """The connection ended: `closed_reason`, `closed_text`, `closed_by_peer` say why. Send what is left, close."""
        return 0

    # Hooks of its liveness

    cdef bint has_unsent(self) except -1:
        """Whether something of ours waits that the stream does not take, or the peer."""
        return self.sender.is_waiting()

    cdef uint64_t untaken_bytes(self) except? 0:
        """Bytes of ours that the peer has not taken: here and in the stream."""
        return self.sender.unsent_bytes()

    cdef bint is_unused(self) except -1:
        """Whether nothing is under way that anybody wants."""
        return self.is_idle()

    cdef bint wants_ping(self) noexcept:
        """A peer that reads only while it waits for an answer is asked only then."""
        return self.peer.ping_reply_ms != 0 or self.callee.calls.size > 0

    cdef int give_back(self) except -1:
        """Free what a burst left behind, on a connection that has become quiet."""
        self.sender.out.release()
        self.slots.opened.shrink()
        self.callee.calls.shrink()
        return 0
