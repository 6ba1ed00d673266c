"""The connection multiplexer, sans-IO: bytes in, hooks out, bytes to send.

::

    Engine        the interface of any protocol to its byte stream
    └── PartsOwner    the state that the parts share, and the hooks they call
        └── Connection    opening, SETTINGS, PING, GOAWAY, AUTH; the choice of the part for a frame of a call
            ├── RecordingConnection   keeps the arguments of its hooks in a list: for tests and exploration
            ├── ServerConnection, ClientConnection   the two sides of a connection on an event loop
            └── BlockingSession                the client's side of a blocking connection

    reader: FrameReader           bytes → frames
    assembler: MessageAssembler   cut messages, streams' windows
    callee: CalleeStates          frames of the peer's calls
    caller: CallerStates          frames of our calls
    slots: CallSlots              our calls: slots at the peer, ids
    control: ControlFrames        frames of the connection itself
    sender: SendQueue             output: order, credit, pieces
    liveness: Liveness            the rules by which it counts as dead
    serving: ServingPart          the peer's calls, of a connection that serves
    calling: NativeCalling        our calls

A unary call crosses nine times between parts and their owner. Server: on_frame, callee.request, new_call, on_request;
sender.send_response, on_answered, callee.answered, on_ended, expect_late (on_output, too, if its handler suspended).
Client: slots.send_request, on_output; on_frame, caller.response, slots.find, return_slot, on_forgotten, note_answer,
on_response.

The time is passed in (`now`, nanoseconds of a monotonic clock) before each use. Nothing here knows a socket.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport UNIMPLEMENTED
from fastrpc._core.base.wire cimport SECOND, load16, load32, now_ns, store32
from fastrpc._core.calls.call cimport STATE_CANCELLED, STATE_GIVEN_UP, Call
from fastrpc._core.io.engine cimport NOTHING, STREAM_SHARE, ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.call_slots cimport WITHHELD_NS, new_slots
from fastrpc._core.native.callee_states cimport new_callee
from fastrpc._core.native.caller_states cimport new_caller
from fastrpc._core.native.control_frames cimport new_control
from fastrpc._core.native.frame_reader cimport OPENING_INCOMPLETE, new_reader
from fastrpc._core.native.liveness cimport new_liveness
from fastrpc._core.native.message_assembler cimport new_assembler
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.native.parts_owner cimport DRAIN_FINAL, LATE_BYTES_PER_SECOND
from fastrpc._core.native.parts_owner cimport PHASE_CLOSED, PHASE_OPEN, PHASE_PREFACE, PHASE_SETTINGS
from fastrpc._core.native.send_queue cimport new_sender
from fastrpc._core.wire.frame cimport CREDIT, HEADER_SIZE, PREFACE_SIZE
from fastrpc._core.wire.frame cimport REASON_AUTHENTICATION, REASON_INTERNAL, REASON_MAX_AGE, REASON_PROTOCOL
from fastrpc._core.wire.frame cimport ACK, CANCEL, CONT, DATA, END, HEAD, MORE, OUTCOME_RAN, REQUEST, RESPONSE
from fastrpc._core.wire.native cimport NativeProtocol, begins_with_magic, stranger_of, version_problem
from fastrpc._core.wire.settings cimport WireSettings
from fastrpc._core.wire.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, open_budget, placed

from fastrpc._core.native.call_slots import EARLY_CALLS
from fastrpc._core.native.control_frames import NO_LAST_ID, NOT_CONFIGURED
from fastrpc._core.wire.native import NO_COMMON_VERSION, PREFACE
from fastrpc.errors import LocalProtocolError

cdef enum:
    USUAL_STREAM_POOL = 33_554_432
    # The most first bytes of an unknown protocol that an error shows.
    SHOWN_BYTES = 16


cdef class Connection(PartsOwner):
    """Protocol state of one byte stream, without the stream."""

    def __cinit__(self, *arguments, **options):
        # Valid also without __init__.
        self.wire = NativeProtocol()
        self.reader = new_reader(self)
        self.output = self.sender = new_sender(self)
        self.slots = new_slots(self, self.sender)
        self.assembler = new_assembler(self, self.reader, self.sender)
        self.callee = new_callee(self, self.reader, self.assembler, self.sender)
        self.caller = new_caller(self, self.reader, self.assembler, self.slots)
        self.liveness = new_liveness(self)
        self.control = new_control(self, self.callee, self.caller, self.slots, self.sender)
        self.peer = self.ours = WireSettings(False)
        self.our_stream_window = self.ours.stream_window
        self.closed_reason = self.auth_status = -1

    def __init__(
        self,
        *,
        bint is_client,
        WireSettings settings not None,
        early_calls="idempotent",
        Py_ssize_t early_bytes=0,
        first_id=None,
        Py_ssize_t stream_pool=USUAL_STREAM_POOL,
        bint is_paced=True,
        bint answers_prove=False,
    ):
        cdef uint64_t first = (1 if is_client else 2) if first_id is None else first_id
        if (first & 1) != <uint64_t>is_client or first == 0 or first > NO_LAST_ID:
            raise LocalProtocolError(f"first_id is {first}, a {'client' if is_client else 'server'} may not use it")
        self.is_client = self.reads_to_end = is_client
        self.ours = settings
        self.our_stream_window = settings.stream_window
        self.liveness.answers_prove = answers_prove
        self.peer = WireSettings(is_client)
        self.wire.peer_parity = 0 if is_client else 1
        self.wire.needs_settings = True
        self.control.start(WireSettings(not is_client))
        self.slots.early_calls = EARLY_CALLS[early_calls]
        self.slots.early_bytes = early_bytes
        self.slots.is_paced = is_paced
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
        if self.liveness is not None:
            self.liveness.owner = NULL
        if self.control is not None:
            self.control.owner = NULL

    # Hooks of the parts

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
        """Return whether the last piece of the REQUEST was passed to the transport: from then on, the call may run."""
        return call.handed_at != 0 and call.handed_at <= self.sender.flushes

    cdef bint was_written(self, Call call) noexcept:
        """Return whether the last piece of the REQUEST is written: it will be sent unless the stream ends."""
        return call.handed_at != 0

    cdef bint may_have_left(self, Call call) noexcept:
        """Return whether the peer of an ended connection has the REQUEST, or may still receive it."""
        return self.was_handed(call)

    # Opening

    cdef int open(self) except -1:
        """Send our half of the opening: preface, SETTINGS and the raise of the connection window.

        A client calls this once the stream is connected; a server does it itself after the client's preface.
        """
        cdef Py_ssize_t window = max(<Py_ssize_t>CONNECTION_WINDOW, <Py_ssize_t>self.ours.max_frame + HEADER_SIZE)
        self._write_raw(PREFACE)
        self.preface_sent = self.sender.opening_waits = True
        self.control.announce(self.ours)
        open_budget(&self.late_bytes, window, LATE_BYTES_PER_SECOND, SECOND)
        open_budget(&self.assembler.short_pieces, window, LATE_BYTES_PER_SECOND, SECOND)
        if not self.keeps_window:
            self._raise_window(window)
        return self.on_output()

    cdef int _raise_window(self, Py_ssize_t window) except -1:
        self.reader.received.size = window
        self.reader.received.left += window - FIRST_CONNECTION_WINDOW
        return self._credit_in_order(<uint32_t>(window - FIRST_CONNECTION_WINDOW))

    cdef int hold_input(self) except -1:
        """Take no further frame until a credential is verified."""
        return 0 if self._stream is NULL else (<ByteStream>self._stream).hold_input()

    cdef int release_input(self) except -1:
        return 0 if self._stream is NULL else (<ByteStream>self._stream).release_input()

    def announce(self, WireSettings settings not None):
        """Send SETTINGS; lower limits apply after the peer's ACK, higher ones at once.

        Raises:
            LocalProtocolError: they change the stream window, which only the first settings may set.
        """
        self.control.announce(settings)

    cdef int _write_raw(self, bytes data) except -1:
        memcpy(self.sender.out.reserve(len(data)), PyBytes_AS_STRING(data), len(data))
        return 0

    cdef int _credit_in_order(self, uint32_t size) except -1:
        cdef char[4] body
        store32(body, size)
        return self.sender.send_control(self.sender.out, CREDIT, 0, body[:4])

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Take the preface: return its length once it is complete, 0 if it was already taken."""
        if self.phase != PHASE_PREFACE:
            return 0
        if not begins_with_magic(data, size):
            first = data[:min(size, SHOWN_BYTES)]
            text = stranger_of(first, self.is_client)
            self.is_unreadable = True
            self.on_stranger(text, first)
            self.end_connection(REASON_PROTOCOL, text, False)
            return size
        if size < PREFACE_SIZE:
            return OPENING_INCOMPLETE
        self._take_preface(data)
        return PREFACE_SIZE

    cdef int _take_preface(self, const char* data) except -1:
        cdef str problem = version_problem(data, self.is_client)
        self.phase = PHASE_SETTINGS
        self.is_unreadable = problem is not None
        if problem is None:
            return 0 if self.is_client else self.open()
        if not self.is_client:
            self._write_raw(NO_COMMON_VERSION)
            self.on_output()
        return self.end_connection(REASON_PROTOCOL, problem, False)

    cdef int lost(self, object error) except -1:
        # If the stream is lost during the opening, its error may say that the peer has decrypted none of our bytes.
        self.is_unreadable |= not self.settled and getattr(error, "is_unread", False)
        PartsOwner.lost(self, error)
        return self.sender.forget_all(self.callee.calls.entries() + self.slots.opened.entries())

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
            return self.control.credit(frame)
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
        """Return connection credit for a frame that was used or discarded."""
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
        return Assembly(frame.total) if frame.total <= self.message_bound else None

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

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """End a call because of its input: the caller cancels, the callee answers."""
        cdef Outgoing failure
        if call.is_local:
            self.caller.give_up(call, reason)
            return self.on_local_end(call, status, text)
        failure = new_failure(status, OUTCOME_RAN, text)
        self.callee.ended(call)
        self.sender.send_failure(call, failure)
        return self.on_local_end(call, status, text)

    cdef int on_control(self, Frame* frame) except -1:
        return self.control.take(frame)

    cdef int on_auth(self, Frame* frame) except -1:
        cdef Py_ssize_t size
        if not self.is_client:
            return self.control.send_verdict(UNIMPLEMENTED, NOT_CONFIGURED, 0)
        if not frame.flags & ACK:
            return self.violate(REASON_AUTHENTICATION, "the server sent a challenge, and this client has only a token")
        size = load16(frame.payload + 2)
        self.auth_status = load16(frame.payload)
        self.auth_valid_seconds = load32(frame.payload + 4)
        self.auth_text = frame.payload[8:8 + size].decode()
        if self.auth_status == UNIMPLEMENTED:
            # Handle that the connection continues without an identity.
            self.auth_status = -1
        return self.on_verdict()

    cdef int on_verdict(self) except -1:
        """Handle the server's announcement whether it accepts our credential; if not, it ends the connection."""
        return 0

    cdef int send_ping(self, bytes body) except -1:
        return self.control.send_ping(body)

    cdef int start_drain(self, int reason, str text) except -1:
        return self.control.start_drain(reason, text)

    cdef int finish_drain(self) except -1:
        return self.control.finish_drain()

    # The end

    cdef int violate(self, int reason, str text) except -1:
        if self.is_closed:
            return 0
        # The effects of the GOAWAY must not be repeated.
        self.is_closed = True
        if self.preface_sent and self.phase != PHASE_PREFACE and (reason > REASON_MAX_AGE or self.drain_step != DRAIN_FINAL):
            self.control.send_goaway(reason, True, self.callee.highest_id, text)
        self.is_closed = False
        return self.end_connection(reason, text, False)

    def begin_drain(self, int reason, str text=""):
        """Take no new calls: GOAWAY now, FINAL once the peer knows."""
        self.now = now_ns()
        if self.serving is not None:
            self.serving.on_drain()
        self.start_drain(reason, text)
        self.schedule_check(self.liveness.begin_drain(self.now))

    @property
    def has_drained(self):
        """Return whether the peer knows that no new calls are taken, and the transport has all our bytes."""
        if self.is_closed:
            return True
        if not self.is_client and self.slots.opened.size:
            # A server does not leave before its own calls are over.
            return False
        if self.sender.holds_messages(self.callee.calls.entries()):
            return False
        return self.drain_step == DRAIN_FINAL and not self.output_is_stuck() and self.sender.unsent_bytes() == 0

    def close(self, int reason=0, str text=""):
        """Announce the reason, flush, and close as soon as the peer has read it."""
        self.now = now_ns()
        if self.transport is None:
            return
        if self.drain_step == DRAIN_FINAL and reason <= REASON_MAX_AGE:
            # The reason was sent before.
            self.end_connection(reason, text, False)
        else:
            self.close_with(reason, text)

    def note_probe(self):
        self.liveness.probes += 1

    def buffered_bytes(self):
        """Return our bytes that the peer has not taken: here and in the transport."""
        return self.untaken_bytes()

    cdef int end_connection(self, int reason, str text, bint by_peer) except -1:
        if self.is_closed:
            return 0
        self.is_closed = True
        self.phase = PHASE_CLOSED
        self.closed_reason = reason
        self.closed_text = text
        self.closed_by_peer = by_peer
        return self.on_closed()

    cdef bint is_idle(self) noexcept:
        """Return whether no call is under way in either direction."""
        return self.slots.opened.size == 0 and self.callee.calls.size == 0 and self.callee.one_way_calls == 0

    # Hooks of the stream: the other hooks are passed on to the parts

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        return self.reader.receive(data, size)

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        return self.reader.body_place(room)

    cdef int body_received(self, Py_ssize_t size) except -1:
        if self.is_closed or self.reader.sink is None:
            return 0
        self.reader.sink.filled += size
        return self.reader.body_received(size)

    cdef object body_owner(self):
        return self.reader.sink

    cdef bint completes_body(self, Py_ssize_t size) noexcept:
        return size == self.reader.body_left

    @cython.nonecheck(False)
    cdef int read_done(self) except -1:
        if not self.liveness.pieces_due_ns and self.has_cut_messages():
            self.schedule_check(self.liveness.check_pieces(self.now))
        return 0 if self.serving is None else self.serving.on_read()

    cdef int pump(self) except -1:
        if not self.sender.is_waiting():
            # The fast path of a connection whose messages are written at once.
            self.sender.woken = 0
            return 0
        self.sender.pump(STREAM_SHARE, not self.streams_have_turn)
        if self.sender.woken and not self.streams_have_turn and self.sender.has_pieces() and self._stream is not NULL:
            self.streams_have_turn = (<ByteStream>self._stream).ask_turn()
        return 0

    cdef int turn_over(self) except -1:
        self.streams_have_turn = False
        return 0

    cdef int rest(self) noexcept:
        return NOTHING if self.streams_have_turn else self.sender.rest()

    @cython.nonecheck(False)
    cdef int flushed(self) except -1:
        cdef dict calls = self._output_waiters
        if calls is not None and not (self.output_is_stuck() or self.sender.is_full()):
            self._output_waiters = None
            for call in calls:
                self.on_sendable(<Call>call)
        return 0 if self.serving is None else self.serving.on_flushed()

    cdef bint output_is_full(self, Call call) noexcept:
        """Return whether a stream waits for output to be sent or for its turn; waits for credit do not count."""
        return self.output_is_stuck() or not self.sender.has_room(call)

    cdef int await_turn(self, Call call) except -1:
        """Notify a stream once it is its turn to add to the output."""
        return self.sender.wait_turn(call)

    cdef int await_output(self, Call call) except -1:
        """Notify a call once our output has left."""
        if self._output_waiters is None:
            self._output_waiters = {}
        # A call is listed once, even if it gives up and waits again.
        self._output_waiters[call] = None
        return 0

    # Its life

    cdef int connected(self) except -1:
        """Begin: a client sends its opening, a server waits for it."""
        cdef uint64_t due = self.liveness.connected(self.now)
        if due:
            self.schedule_check(due)
        return self.open() if self.is_client else 0

    @property
    def is_open(self):
        """Return whether both sides know each other's settings, and neither ended the connection."""
        return self.phase == PHASE_OPEN and not self.is_closed

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = self.liveness.check(now)
        if self.is_closed:
            return due
        if self.serving is not None:
            due = earlier(due, self.serving.check(now))
        if self.slots.withholds and not self.is_closed and self.slots.resume_withheld():
            due = earlier(due, now + WITHHELD_NS)
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        return 0 if self._stream is NULL or due_ns == 0 else (<ByteStream>self._stream).schedule_check(due_ns)

    cdef uint64_t blocked(self) except? 0:
        if (self.sender.is_waiting() and not self.streams_have_turn) or self.output_is_stuck():
            return self.liveness.note_blocked(self.now)
        return 0

    cdef int unblocked(self) except -1:
        self.liveness.blocked_ns = 0
        return 0

    cdef int was_late(self, uint64_t late) except -1:
        return self.liveness.forgive(late)

    cdef bint may_spin(self) noexcept:
        return self.phase == PHASE_OPEN

    cdef int crash(self) except -1:
        return self.close_with(REASON_INTERNAL, "internal error")

    cdef int on_ready(self) except -1:
        return self.schedule_check(self.check(self.now))

    cdef int on_withheld(self) except -1:
        return self.schedule_check(self.now + WITHHELD_NS)

    cdef int on_closed(self) except -1:
        cdef ByteStream stream
        self.is_usable = False
        if self.serving is not None:
            self.serving.on_closed()
        # Written output is sent with the GOAWAY: only then is it known which calls were not sent.
        if self._stream is not NULL:
            stream = <ByteStream>self._stream
            if stream.finish(self.liveness.linger_ns != 0):
                self.schedule_check(self.liveness.linger(self.now))
            else:
                # The peer may take none of the remaining output.
                self.schedule_check(self.liveness.check(self.now))
        return 0 if self.calling is None else (<NativeCalling>self.calling).fail_all(self.closed_text or "it was closed")

    # Hooks of its liveness

    cdef bint has_unsent(self) except -1:
        return self.sender.is_waiting() or PartsOwner.has_unsent(self)

    cdef uint64_t untaken_bytes(self) except? 0:
        return self.sender.unsent_bytes() + PartsOwner.untaken_bytes(self)

    cdef bint has_cut_messages(self) noexcept:
        return self.callee.open_requests > 0 or self.caller.open_responses > 0 or self.assembler.cut_messages > 0

    cdef list cut_calls(self):
        if not self.has_cut_messages():
            return []
        return self.callee.calls.entries() + self.slots.opened.entries()

    cdef uint64_t used_ids(self) noexcept:
        # Each call takes every second id of its side.
        return self.callee.highest_id + self.slots.next_id

    cdef bint is_unused(self) except -1:
        return self.is_idle()

    cdef bint wants_ping(self) noexcept:
        # A peer that reads only while it waits for an answer is pinged only then. It may leave a stream unread.
        return self.peer.ping_reply_ms != 0 or self.callee.calls.size > self.callee.streams

    cdef bint may_pause(self, bint is_pausing) noexcept:
        # The same rule as for pings, while memory is left. A stream that has ended here may still be read there.
        cdef Py_ssize_t streams = self.callee.streams
        if self.peer.ping_reply_ms or self.callee.calls.size != streams or not self.may_lend():
            return False
        return streams > 0 or is_pausing

    cdef int give_back(self) except -1:
        self.sender.out.release()
        self.slots.opened.shrink()
        self.callee.calls.shrink()
        return 0
