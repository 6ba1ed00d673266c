from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.native.call_parts cimport ServingPart
from fastrpc._core.native.hooks cimport CalleeHooks, CallerHooks, FrameHandler, Side
from fastrpc._core.wire.frame cimport Frame, WireProtocol
from fastrpc._core.wire.settings cimport WireSettings
from fastrpc._core.wire.window cimport Budget

cdef enum:
    # PROTOCOL.md, "Budgets": the refill rate of two budgets in bytes, for discarded frames and for short pieces.
    LATE_BYTES_PER_SECOND = 330 * 1024

cdef enum Phase:
    PHASE_PREFACE = 0
    PHASE_SETTINGS = 1
    PHASE_OPEN = 2
    PHASE_CLOSED = 3

cdef enum DrainStep:
    DRAIN_NONE = 0
    # GOAWAY was sent, followed by a PING whose answer will show that the peer opens no new calls.
    DRAIN_ANNOUNCED = 1
    # GOAWAY FINAL was sent, which names the last accepted call.
    DRAIN_FINAL = 2


cdef class PartsOwner(Engine):
    cdef:
        # The rules of the wire.
        WireProtocol wire

        # `side`: the decisions of a client or server; `frames`: the part that handles frames; `callee_hooks` and
        # `caller_hooks`: the parts that handle events of calls.
        Side side
        FrameHandler frames
        CalleeHooks callee_hooks
        CallerHooks caller_hooks

        # `peer`: the settings of the peer; `ours`: our last announced settings.
        readonly WireSettings peer
        readonly WireSettings ours

        # Frames and bytes that may be discarded before they count as a flood.
        Budget late_frames
        Budget late_bytes

        # The greatest id in the peer's GOAWAYs.
        readonly uint64_t peer_last_id

        # The part that serves the peer's calls, or None if this side serves none. `calling`, a field of Engine, is a
        # NativeCalling or None.
        ServingPart serving

        # The longest message that the peer may send: our announced limit, or the floor for a caller that is not
        # authenticated.
        uint64_t message_bound

        # The loop that watches the deadlines of calls, or None.
        readonly LoopState loop_state

        # The instant of the peer's last answer to a PING.
        uint64_t answered_ns

        # `auth_text`: the text of the server's last verdict on our credential; `closed_text`: the text of the end of
        # the connection.
        readonly str auth_text
        readonly str closed_text

        # Small fields are adjacent to save memory, as each connection has one of these objects.

        # `phase`: the stage of the opening (Phase); no input is parsed in PHASE_CLOSED. `drain_step`: the stage of this
        # side's drain (DrainStep).
        readonly int phase
        readonly int drain_step

        # `settled`: whether the peer's SETTINGS arrived; `our_stream_window`: our announced window of a stream;
        # `first_settings_acknowledged`: whether the peer acknowledged our first SETTINGS, so that streams it opens have
        # this window; `open_messages`: how many incomplete messages of each kind the peer may have.
        bint settled
        uint32_t our_stream_window
        bint first_settings_acknowledged
        readonly int open_messages

        # `peer_sent_final`: whether the peer sent GOAWAY FINAL; `preface_sent`: whether our half of the opening was
        # sent.
        readonly bint peer_sent_final
        bint preface_sent

        # Whether the connection window stays small until the peer is authenticated.
        bint keeps_window

        # Whether the stream reports when it accepts output again, as streams of a loop do.
        bint hears_of_room

        # The server's last verdict on this side's credential. `auth_status`: its status, -1 before a verdict.
        # `auth_valid_seconds`: its validity in seconds, 0 = as long as the connection lasts.
        readonly int auth_status
        readonly uint32_t auth_valid_seconds

        # Whether the peer cannot have read any of our bytes, which its first bytes or a failed TLS handshake showed. Then
        # none of our calls ran there.
        bint is_unreadable

        # `closed_reason`: the GOAWAY reason for which the connection ended, -1 while it is open. `closed_by_peer`:
        # whether the peer ended it.
        readonly int closed_reason
        readonly bint closed_by_peer

        # `is_client`: whether this is the client's side; `peer_drains`: whether the peer accepts no new calls;
        # `peer_replaces`: whether it asks us to open another connection.
        readonly bint is_client
        readonly bint peer_drains
        readonly bint peer_replaces

        # Whether it is the turn of streams: their tasks run before the next pieces of large messages are written.
        bint streams_have_turn

    # Called by the parts.
    cdef int close_with(self, int reason, str text) except -1
    cdef int end_connection(self, int reason, str text, bint by_peer) except -1
    cdef int stop_calls(self) except -1
    cdef int discard(self, Frame* frame) except -1
    cdef int expect_late(self, bint with_data) noexcept
    cdef int bound_messages(self) noexcept
    cdef int schedule_check(self, uint64_t due_ns) except -1
