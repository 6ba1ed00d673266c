"""The owner of the parts of a connection: the state that they share, and the hooks that they call.

Events of calls are not hooks: each is passed to one of the two parts that know calls, `serving` and `calling`.

::

    Connection (a PartsOwner) ──holds──► FrameReader, MessageAssembler, SendQueue,
         ▲                               CallSlots, CalleeStates, CallerStates, Liveness
         │                                            │
         └────── hooks, shared state ─────────────────┘  by a borrowed pointer, `owner`

A part keeps no reference to its owner, so the two make no cycle. The owner makes it, and clears the pointer when it is
freed. A part gets the parts that it calls from its owner: the states, for example, send through the SendQueue. The two
sides of a connection, server and client, which are Connections, call parts as well.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.status cimport DEADLINE_EXCEEDED
from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.wire.budgets cimport LEAST_LATE_BYTES, expect_late_frames, open_late_frames
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, DATA, HEAD, HEADER_SIZE, REASON_CALM_DOWN, REQUEST
from fastrpc._core.wire.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, fill, open_budget, spend


cdef class PartsOwner(Engine):
    """The state that the parts of a connection share, and the hooks they call."""

    def __cinit__(self, *arguments, **options):
        open_late_frames(&self.late_frames)
        open_budget(&self.late_bytes, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)

    def __dealloc__(self):
        # The collector may have cleared a field before.
        if self.serving is not None:
            self.serving.owner = NULL
        if self.calling is not None:
            (<NativeCalling>self.calling).owner = NULL

    # For the holder of the connection

    @property
    def connection(self):
        """The served connection; None on a side that serves nothing."""
        return None if self.serving is None else self.serving.connection_of()

    @property
    def peer_takes(self):
        """Return "calls" where the peer's settings allow some, else None."""
        return "calls" if self.peer.max_calls else None

    def end_calls(self, str text not None):
        """Answer every call that is still under way, and stop its handler."""
        if self.serving is not None:
            self.serving.end_calls(text)

    # From the stream, for the parts that know calls

    cdef int stalled(self) except -1:
        return 0 if self.serving is None else self.serving.on_stall()

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return 0 if self.serving is None else self.serving.on_tail(change)

    cdef int lost(self, object error) except -1:
        cdef str why = self.closed_text
        self.is_usable = False
        if self.serving is not None:
            self.serving.on_lost(error)
        if self.calling is None:
            return 0
        if not why:
            other = "server" if self.is_client else "client"
            why = str(error) if error is not None else f"the {other} closed it"
        return (<NativeCalling>self.calling).fail_all(why)

    @cython.final
    cdef int stop_calls(self) except -1:
        """Send no new calls here."""
        self.is_usable = False
        return 0 if self.calling is None else (<NativeCalling>self.calling).stop()

    # Of the reader

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Handle the opening before frames: return its size; 0: it is done; OPENING_INCOMPLETE: more is to come."""
        return 0

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        """A frame is complete. `payload` is set if it was received into separate memory."""
        return 0

    cdef Assembly sink_for(self, Frame* frame):
        """Return the place for the payload of an incomplete frame: a new message, a begun one, or None to skip it."""
        return None

    @cython.final
    cdef str on_part(self, Frame* frame, Py_ssize_t size):
        """Count `size` bytes of a frame's payload; return the reason to refuse the rest, or None."""
        return None if self.serving is None else self.serving.on_part(frame, size)

    @cython.final
    cdef int on_part_ended(self, bint is_over) except -1:
        """The payload is complete, or dropped; `is_over` says whether the message that it joined is counted."""
        return 0 if self.serving is None else self.serving.on_part_ended(is_over)

    @cython.final
    cdef int on_cut_request(self) except -1:
        """A REQUEST is incomplete at the end of a read; the frame reader has its fields."""
        return 0 if self.serving is None else self.serving.on_cut_request()

    cdef int violate(self, int reason, str text) except -1:
        """The peer broke the rules: the connection ends."""
        self.is_closed = True
        return 0

    cdef int discard(self, Frame* frame) except -1:
        """Drop a frame that an honest peer may have sent too late; too many such frames are a flood."""
        cdef bint allowed
        if frame.kind == REQUEST or frame.kind == HEAD or frame.kind == DATA:
            allowed = spend(&self.late_bytes, max(LEAST_LATE_BYTES, HEADER_SIZE + <Py_ssize_t>frame.length), self.now)
        else:
            allowed = spend(&self.late_frames, 1, self.now)
        if not allowed:
            self.violate(REASON_CALM_DOWN, f"too many frames for calls that are over, the last for call {frame.id}")
        return 0

    @cython.final
    cdef int expect_late(self, bint with_data) noexcept:
        """A call is over for us: frames that an honest peer may still send for it are added to the budgets."""
        expect_late_frames(&self.late_frames, <int64_t>self.ours.max_calls)
        if with_data:
            fill(&self.late_bytes)
        return 0

    # Of the states of our calls

    @cython.final
    cdef int on_head(self, Call call, bytes metadata) except -1:
        """Handle the initial metadata of a stream of ours."""
        return 0 if self.calling is None else (<NativeCalling>self.calling).on_head(call, metadata)

    @cython.final
    @cython.nonecheck(False)
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle the final answer to a call of ours, which is removed already."""
        return 0 if self.calling is None else (<NativeCalling>self.calling).on_response(call, frame, payload)

    cdef int on_freed(self, Call call) except -1:
        """Handle the RESPONSE to a given-up call of ours."""
        return 0

    @cython.final
    cdef int on_not_started(self, Call call) except -1:
        """Handle that the peer never received this call of ours."""
        return 0 if self.calling is None else (<NativeCalling>self.calling).on_not_started(call)

    cdef int on_forgotten(self, Call call) except -1:
        """Note the removal of a call of ours, whatever its outcome."""
        return 0

    @cython.final
    cdef int on_local_end(self, Call call, int status, str text) except -1:
        """The input of this call cannot be used; the call ended with this status."""
        if call.is_local:
            return 0 if self.calling is None else (<NativeCalling>self.calling).on_local_end(call, status, text)
        return 0 if self.serving is None else self.serving.on_local_end(call, status, text)

    # Of the assembler

    @cython.final
    @cython.nonecheck(False)
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        """A stream message is complete; `frame` has its codec and compressor. The application calls
        `message_taken(call, cost)` once it has the message.
        """
        if call.is_local:
            return 0 if self.calling is None else (<NativeCalling>self.calling).on_message(call, frame, payload, cost)
        return 0 if self.serving is None else self.serving.on_message(call, frame, payload, cost)

    @cython.final
    cdef int on_piece(self, Call call) except -1:
        """Handle a piece that did not complete its message."""
        return 0 if call.is_local or self.serving is None else self.serving.on_piece(call)

    @cython.final
    cdef int on_cut(self, Py_ssize_t change) except -1:
        """The bytes held by incomplete stream messages grow by `change`."""
        return 0 if self.serving is None else self.serving.on_cut(change)

    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle the last piece of a REQUEST; `frame` has the head of its first piece."""
        return 0

    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle the last piece of a RESPONSE; `frame` has the head of its first piece."""
        return 0

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """Handle that the input of a call exceeds a limit: the call ends."""
        return 0

    @cython.final
    cdef bint may_lend(self) noexcept:
        """Return whether the process has memory for windows that grow."""
        return self.serving is None or self.serving.may_lend()

    # Of the sender

    cdef int begin_call(self, Call call) except -1:
        """Assign the id of a call of ours whose first frame is about to be written."""
        return 0

    cdef int give_up(self, Call call, int reason) except -1:
        """Stop one of our calls."""
        return 0

    @cython.final
    cdef int on_output(self) except -1:
        """Note new output; the end of a read flushes by itself."""
        return 0 if self.is_reading or self._stream is NULL else (<ByteStream>self._stream).on_output()

    cdef int on_answered(self, Call call) except -1:
        """The last piece of the RESPONSE to a call of the peer is written."""
        return 0

    cdef int on_answer_waits(self, Call call) except -1:
        """Handle that the RESPONSE to a call of the peer has to wait for credit or for its turn."""
        return 0

    cdef int on_unsent(self, Call call) except -1:
        """Note a call of ours that was dropped before its first frame: the peer never sees it."""
        return 0

    @cython.final
    cdef int on_unsendable(self, Call call, object error) except -1:
        """Handle that a waiting call of ours exceeds the limits that the peer has now announced."""
        return 0 if self.calling is None else (<NativeCalling>self.calling).on_unsendable(call, error)

    @cython.final
    cdef int on_sendable(self, Call call) except -1:
        """All messages of a call whose sender waits are written. Nothing may be sent from in here."""
        if call.is_local:
            return 0 if self.calling is None else (<NativeCalling>self.calling).on_sendable(call)
        return 0 if self.serving is None else self.serving.on_sendable(call)

    # Of the frames that no part keeps

    cdef int on_ignored(self, Frame* frame) except -1:
        """Handle a frame that has no effect in the state of its call."""
        return 0

    cdef int on_credit(self, uint64_t id, uint32_t size) except -1:
        """The peer returned credit, of a call or (0) of the connection."""
        return 0

    # Of the liveness

    cdef bint has_unsent(self) except -1:
        """Return whether output waits here because the stream or the peer does not accept it."""
        return self._stream is not NULL and (<ByteStream>self._stream).untaken_bytes() != 0

    cdef uint64_t untaken_bytes(self) except? 0:
        """Return the number of our bytes that the peer has not taken: here and in the stream."""
        return 0 if self._stream is NULL else <uint64_t>(<ByteStream>self._stream).untaken_bytes()

    cdef int64_t taken_bytes(self) except? -1:
        """Return the number of bytes that left this machine, as far as known."""
        return 0 if self._stream is NULL else (<ByteStream>self._stream).taken_bytes()

    cdef bint output_is_stuck(self) noexcept:
        """Return whether the stream takes no output at present; answers to PINGs are counted then."""
        return self._stream is not NULL and (<ByteStream>self._stream).is_stuck()

    cdef bint waits_for_turn(self) noexcept:
        """Return whether received bytes wait for their turn; reading pauses until then."""
        return self._stream is not NULL and (<ByteStream>self._stream).waits_for_turn()

    cdef list cut_calls(self):
        """Return the calls whose messages come in pieces."""
        return []

    cdef uint64_t used_ids(self) noexcept:
        """Return a count that grows by two with each call of either side."""
        return 0

    cdef bint is_unused(self) except -1:
        """Return whether nothing wanted is under way."""
        return True

    cdef bint wants_ping(self) noexcept:
        """Return whether a silent peer is to be pinged."""
        return True

    cdef bint may_pause(self, bint is_pausing) noexcept:
        """Return whether the peer may stop reading for any time; `is_pausing`: whether it could before."""
        return False

    cdef int give_back(self) except -1:
        """Free the memory left by a burst, on a connection that has become quiet."""
        return 0

    cdef int send_ping(self, bytes body) except -1:
        """Send a PING; `body` is 8 bytes of any content."""
        return 0

    cdef int finish_drain(self) except -1:
        """Name the last call that was taken; calls above it are not started."""
        return 0

    cdef int close_with(self, int reason, str text) except -1:
        """End the connection for a reason of ours, and notify the peer."""
        return self.violate(reason, text)

    cdef int cut_off(self) except -1:
        """End the stream at once, as the peer reads no more; unsent bytes are lost."""
        self.abort()
        return 0

    @cython.final
    cdef int on_stuck(self, Call call, str text) except -1:
        """A cut message of this call has stalled."""
        if not call.is_local and self.serving is not None and self.serving.on_stuck(call, text):
            return 0
        return self.end_locally(call, DEADLINE_EXCEEDED, text, CANCEL_DEADLINE)

    cdef int on_aged(self) except -1:
        """The connection is older than `Keepalive.max_age`."""
        return 0

    cdef int on_idle(self) except -1:
        """The connection was without calls for `Timeouts.idle`."""
        return 0

    # Of the connection itself

    @cython.final
    cdef int bound_messages(self) noexcept:
        """Take the limit of messages from our settings, and from whether the peer has to authenticate."""
        self.message_bound = self.ours.max_message
        if self.keeps_window:
            self.message_bound = min(self.message_bound, <uint64_t>FIRST_CONNECTION_WINDOW)
        return 0

    cdef int on_auth(self, Frame* frame) except -1:
        """Handle AUTH: a credential for a server, a verdict for a client."""
        return 0

    cdef int on_ready(self) except -1:
        """Handle the peer's first SETTINGS: the connection counts as established, and its life is watched."""
        return 0

    cdef int on_peer_drains(self, int reason, str text) except -1:
        """The peer takes no new calls on this connection."""
        return self.stop_calls()

    cdef int on_stranger(self, str text, bytes first) except -1:
        """The first bytes belong to another protocol; the connection ends with this error."""
        return 0

    cdef int end_connection(self, int reason, str text, bint by_peer) except -1:
        """The connection is over, for our reason or the peer's."""
        self.is_closed = True
        return 0

    cdef int on_closed(self) except -1:
        """The connection ended, for `closed_reason`, `closed_text`, `closed_by_peer`. Send the rest, close."""
        return 0

    # Of the call slots

    cdef int on_withheld(self) except -1:
        """Have `resume_withheld` called as time passes, as a CANCEL or a call waits for the peer's budget."""
        return 0

    cdef int on_crowd(self) except -1:
        """Note that a call is opened beside as many others as `await_crowd` stated; the notification is off now."""
        return 0

    cdef int on_ids_used_up(self) except -1:
        """The last call id was used: new calls need another connection."""
        return self.stop_calls()

    # Of the part that makes our calls

    cdef int on_used(self) except -1:
        """Note that a call of ours was sent, and the owner is to be notified."""
        return 0

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        """Return whether a thread may send a new call here (CallingPart)."""
        return True
