"""The connection from the view of its parts: the state that they share, and a few methods that they call.

::

    Connection (a PartsOwner) ──holds──► FrameRouter, FrameReader, MessageAssembler, SendQueue,
         ▲        │                      CallSlots, CalleeStates, CallerStates, ControlFrames, Liveness
         │        └─holds─► Side                  │
         └──── calls, shared state ───────────────┘  through a borrowed pointer, `owner`

A part keeps no reference to its owner, so the two make no cycle. The owner makes the part, and clears the part's
pointer when the owner is freed. A part holds the parts below it: the states, for example, send through the SendQueue. A
part reaches a part above it through one of the interfaces in `hooks`. Events of calls are passed to the two parts that
handle calls, `serving` and `calling`.

The connection is an Engine instead of being held by an Engine, because each frame reads fields of it, such as the
current time and whether the connection has ended.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.wire.budgets cimport LEAST_LATE_BYTES, expect_late_frames, open_late_frames
from fastrpc._core.wire.frame cimport DATA, HEAD, HEADER_SIZE, REASON_CALM_DOWN, REQUEST
from fastrpc._core.wire.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, fill, open_budget, spend


cdef class PartsOwner(Engine):
    """The state that the parts of a connection share, and the methods that they call."""

    def __cinit__(self, *arguments, **options):
        open_late_frames(&self.late_frames)
        open_budget(&self.late_bytes, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)
        self.hears_of_room = True
        self.closed_reason = self.auth_status = -1

    def __dealloc__(self):
        # The garbage collector may have cleared fields already. A part outlives its owner only within a turn of the loop:
        # longer-lived objects hold the connection instead of a part.
        if self.serving is not None:
            self.serving.owner = NULL
        if self.calling is not None:
            (<NativeCalling>self.calling).owner = NULL
        if self.side is not None:
            self.side.holder = NULL

    # For the holder of the connection

    @property
    def connection(self):
        """The served connection, or None if this side serves no calls."""
        return None if self.serving is None else self.serving.connection_of()

    @property
    def peer_takes(self):
        """Return "calls" if the peer's settings allow calls, else None."""
        return "calls" if self.peer.max_calls else None

    def end_calls(self, str text not None):
        """Answer every call that is still in progress, and stop its handler."""
        if self.serving is not None:
            self.serving.end_calls(text)

    # For the parts

    cdef int close_with(self, int reason, str text) except -1:
        """End the connection for a reason of ours, such as a broken rule of the peer, and notify the peer."""
        return self.end_connection(reason, text, False)

    cdef int end_connection(self, int reason, str text, bint by_peer) except -1:
        """End the connection for our reason or the peer's."""
        self.is_closed = True
        return 0

    @cython.final
    cdef int stop_calls(self) except -1:
        """Send no new calls on this connection."""
        self.is_usable = False
        return 0 if self.calling is None else (<NativeCalling>self.calling).stop()

    cdef int discard(self, Frame* frame) except -1:
        """Drop a frame that an honest peer may have sent too late. Close the connection if there are too many."""
        cdef bint allowed
        if frame.kind == REQUEST or frame.kind == HEAD or frame.kind == DATA:
            allowed = spend(&self.late_bytes, max(LEAST_LATE_BYTES, HEADER_SIZE + <Py_ssize_t>frame.length), self.now)
        else:
            allowed = spend(&self.late_frames, 1, self.now)
        if not allowed:
            self.close_with(REASON_CALM_DOWN, f"too many frames for calls that are over, the last for call {frame.id}")
        return 0

    @cython.final
    cdef int expect_late(self, bint with_data) noexcept:
        """Raise the budgets by the frames that an honest peer may still send for a call that is over for us."""
        expect_late_frames(&self.late_frames, <int64_t>self.ours.max_calls)
        if with_data:
            fill(&self.late_bytes)
        return 0

    @cython.final
    cdef int bound_messages(self) noexcept:
        """Set the limit of messages, from our settings and from whether the peer still has to authenticate."""
        self.message_bound = self.ours.max_message
        if self.keeps_window:
            self.message_bound = min(self.message_bound, <uint64_t>FIRST_CONNECTION_WINDOW)
        return 0

    @cython.final
    cdef int schedule_check(self, uint64_t due_ns) except -1:
        """Schedule a call of `check` at an instant or earlier; 0 = none."""
        return 0 if self._stream is NULL or due_ns == 0 else (<ByteStream>self._stream).schedule_check(due_ns)
