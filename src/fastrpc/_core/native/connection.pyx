"""The connection of the native protocol, sans-IO: bytes in, bytes out, and events for the parts that handle calls.

::

    Engine        the interface of any protocol to its byte stream
    └── PartsOwner    the state that the parts share
        └── Connection    holds the parts, passes events of its stream on to them
            └── ServerConnection, ClientConnection   the two sides of a connection

    side: Side                    the decisions of a client or a server
    router: FrameRouter           the opening; the choice of the part for a frame
    reader: FrameReader           bytes → frames
    assembler: MessageAssembler   cut messages, streams' windows
    callee: CalleeStates          frames of the peer's calls
    caller: CallerStates          frames of our calls
    slots: CallSlots              our calls: slots at the peer, ids
    control: ControlFrames        frames of the connection itself
    sender: SendQueue             output: order, credit, pieces
    liveness: Liveness            the rules by which the connection counts as dead
    serving: ServingPart          the peer's calls, of a connection that serves
    calling: NativeCalling        our calls

A unary call crosses eight times between parts. Server: on_frame, callee.request, new_call, on_request;
sender.send_response, callee.answered, on_ended, expect_late (and written, if the handler suspended). Client:
slots.send_request, written; on_frame, caller.response, slots.find, return_slot, on_forgotten, note_answer, on_response.

The caller sets the time (`now`, nanoseconds of a monotonic clock) before each use. Nothing here uses a socket.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport NOTHING, STREAM_SHARE, ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.call_slots cimport WITHHELD_NS
from fastrpc._core.native.hooks cimport ConnectionPart
from fastrpc._core.native.parts_owner cimport DRAIN_FINAL, PHASE_CLOSED, PHASE_OPEN, PHASE_PREFACE
from fastrpc._core.wire.frame cimport REASON_HANDSHAKE, REASON_INTERNAL, REASON_MAX_AGE
from fastrpc._core.wire.native cimport NativeProtocol
from fastrpc._core.wire.settings cimport WireSettings

from fastrpc._core.native.call_slots import EARLY_CALLS
from fastrpc._core.native.control_frames import NO_LAST_ID
from fastrpc.errors import LocalProtocolError

cdef enum:
    USUAL_STREAM_POOL = 33_554_432


cdef class Connection(PartsOwner):
    """Protocol state of one byte stream, without the stream."""

    def __cinit__(self, *arguments, **options):
        # Valid also without __init__.
        self.wire = NativeProtocol()
        self.peer = self.ours = WireSettings(False)
        self.our_stream_window = self.ours.stream_window
        self.reader = FrameReader(self)
        self.output = self.sender = SendQueue(self)
        self.slots = CallSlots(self, self.sender)
        self.assembler = MessageAssembler(self, self.reader, self.sender)
        self.callee_hooks = self.callee = CalleeStates(self, self.reader, self.assembler, self.sender)
        self.caller_hooks = self.caller = CallerStates(self, self.reader, self.assembler, self.slots)
        self.control = ControlFrames(self, self.callee, self.caller, self.slots, self.sender)
        self.liveness = Liveness(self, self.control)
        self.frames = self.router = FrameRouter(self, self.reader, self.control)
        self.take_side(Side())

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
        # The garbage collector may have cleared fields already.
        for part in (
            self.reader, self.assembler, self.slots, self.callee, self.caller, self.liveness, self.control, self.router
        ):
            if part is not None:
                (<ConnectionPart>part).owner = NULL
        if self.sender is not None:
            self.sender.owner = NULL

    cdef int take_side(self, Side side) except -1:
        """Set the side that makes the decisions of this connection."""
        side.holder = <PyObject*>self
        self.side = side
        return 0

    # The end

    cdef int close_with(self, int reason, str text) except -1:
        if self.is_closed:
            return 0
        # Set while the GOAWAY is sent, so that its effects cannot end the connection a second time.
        self.is_closed = True
        if self.preface_sent and self.phase != PHASE_PREFACE and (reason > REASON_MAX_AGE or self.drain_step != DRAIN_FINAL):
            self.control.send_goaway(reason, True, self.callee.highest_id, text)
        self.is_closed = False
        return self.end_connection(reason, text, False)

    def begin_drain(self, int reason, str text=""):
        """Refuse new calls: send GOAWAY now, and GOAWAY FINAL when the peer has read it."""
        self.now = now_ns()
        if self.serving is not None:
            self.serving.on_drain()
        self.control.start_drain(reason, text)
        self.schedule_check(self.liveness.begin_drain(self.now))

    @property
    def has_drained(self):
        """Return whether GOAWAY FINAL was sent, and the transport has all our bytes."""
        if self.is_closed:
            return True
        if not self.is_client and self.slots.opened.size:
            # The server's own calls to the client have to end first.
            return False
        if self.sender.holds_messages(self.callee.calls.entries()):
            return False
        return self.drain_step == DRAIN_FINAL and not self.sender.is_stuck() and self.sender.unsent_bytes() == 0

    def close(self, int reason=0, str text=""):
        """Send the reason, flush, and close when the peer has read it."""
        cdef bint is_stranger = self.phase == PHASE_PREFACE
        self.now = now_ns()
        if self.hears_of_room and self.transport is None:
            return
        if self.drain_step == DRAIN_FINAL and reason <= REASON_MAX_AGE:
            # GOAWAY with the reason was already sent.
            self.end_connection(reason, text, False)
        else:
            self.close_with(reason, text)
        if is_stranger and reason == REASON_HANDSHAKE:
            # Nothing is lost by an abort: the stranger reads nothing of ours.
            self.abort()

    cdef int end_connection(self, int reason, str text, bint by_peer) except -1:
        if self.is_closed:
            return 0
        self.is_closed = True
        self.phase = PHASE_CLOSED
        self.closed_reason = reason
        self.closed_text = text
        self.closed_by_peer = by_peer
        self.is_usable = False
        return self.end_stream()

    cdef int end_stream(self) except -1:
        """Send the remaining output, then close; fail all calls."""
        cdef ByteStream stream
        if self.serving is not None:
            self.serving.on_closed()
        # This sends the written output with the GOAWAY. Only afterwards is it known which calls were not sent.
        if self._stream is not NULL:
            stream = <ByteStream>self._stream
            if stream.finish(self.liveness.linger_ns != 0):
                self.schedule_check(self.liveness.linger(self.now))
            else:
                # The peer may not read the remaining output.
                self.schedule_check(self.liveness.check(self.now))
        if self.calling is not None:
            (<NativeCalling>self.calling).fail_all(self.closed_text or "it was closed", False)
        return 0

    cdef int lost(self, object error) except -1:
        cdef str why = self.closed_text
        # If the stream is lost during the opening, its error may say that the peer has decrypted none of our bytes.
        self.is_unreadable |= not self.settled and getattr(error, "is_unread", False)
        self.is_usable = False
        if self.serving is not None:
            self.serving.on_lost(error)
        if self.calling is not None:
            if not why:
                other = "server" if self.is_client else "client"
                why = str(error) if error is not None else f"the {other} closed it"
            (<NativeCalling>self.calling).fail_all(why, False)
        return self.sender.forget_all(self.callee.calls.entries() + self.slots.opened.entries())

    # Events of its stream

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
        if not self.liveness.pieces_due_ns and self.liveness.has_cut_messages():
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

    cdef int stalled(self) except -1:
        return 0 if self.serving is None else self.serving.on_stall()

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return 0 if self.serving is None else self.serving.on_tail(change)

    cdef int turn_over(self) except -1:
        self.streams_have_turn = False
        return 0

    cdef int rest(self) noexcept:
        return NOTHING if self.streams_have_turn else self.sender.rest()

    @cython.nonecheck(False)
    cdef int flushed(self) except -1:
        if self.sender.may_be_refused:
            self.sender.handed_flushes = self.sender.flushes
            # From now on, output waits for the next bytes that the system takes.
            self.liveness.blocked_ns = 0
        if self.sender.waiters is not None:
            self.sender.wake_waiters()
        return 0 if self.serving is None else self.serving.on_flushed()

    # Its life

    cdef int connected(self) except -1:
        """Start the connection: a client sends its opening, a server waits for it."""
        self.answered_ns = self.now
        return self.router.open() if self.is_client else 0

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

    cdef uint64_t blocked(self) except? 0:
        if (self.sender.is_waiting() and not self.streams_have_turn) or self.sender.is_stuck():
            return self.liveness.note_blocked(self.now)
        return 0

    cdef int unblocked(self) except -1:
        self.liveness.blocked_ns = 0
        return 0

    cdef int was_late(self, uint64_t late) except -1:
        return self.liveness.forgive(late) if late else self.liveness.forget_silence()

    cdef bint may_spin(self) noexcept:
        return self.phase == PHASE_OPEN

    cdef int crash(self) except -1:
        return self.close_with(REASON_INTERNAL, "internal error")
