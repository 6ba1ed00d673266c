from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.native.call_parts cimport ServingPart
from fastrpc._core.wire.frame cimport Frame, WireProtocol
from fastrpc._core.wire.settings cimport WireSettings
from fastrpc._core.wire.window cimport Budget

cdef enum:
    # PROTOCOL.md, "Budgets": the refill of the bytes that may be discarded or be short pieces.
    LATE_BYTES_PER_SECOND = 330 * 1024

cdef enum Phase:
    PHASE_PREFACE = 0
    PHASE_SETTINGS = 1
    PHASE_OPEN = 2
    PHASE_CLOSED = 3

cdef enum DrainStep:
    DRAIN_NONE = 0
    # GOAWAY was sent with a PING after it: the answer shows that the peer opens nothing new.
    DRAIN_ANNOUNCED = 1
    # GOAWAY FINAL was sent: it names the last accepted call.
    DRAIN_FINAL = 2


cdef class PartsOwner(Engine):
    cdef:
        # The rules of the wire.
        WireProtocol wire

        # The stage of the opening; CLOSED: no more input is parsed. The stage of our own drain (DrainStep).
        readonly int phase
        readonly int drain_step

        # The settings of the peer, and whether they came.
        readonly WireSettings peer
        bint settled
        # The settings that we announced last.
        readonly WireSettings ours
        # The window that we give to streams.
        uint32_t our_stream_window

        # Whether the peer acknowledged our first SETTINGS: streams it opens get our own window from then on. The number
        # of unfinished messages of each kind that it may have.
        bint first_settings_acknowledged
        readonly int open_messages

        # Frames and bytes that may be discarded before they count as a flood.
        Budget late_frames
        Budget late_bytes

        # The contents of the peer's GOAWAYs; whether our half of the opening was sent.
        readonly uint64_t peer_last_id
        readonly bint peer_sent_final
        bint preface_sent

        # Its part that serves the peer's calls, None on a side without one; `calling` of Engine is a NativeCalling or
        # None.
        ServingPart serving

        # The longest message that the peer may send: our announced limit, or the floor for a caller that is not
        # authenticated. Whether the connection window stays small until it is authenticated.
        uint64_t message_bound
        bint keeps_window

        # The loop that watches the deadlines of calls, or None; whether the owner wants to be notified of our next
        # call.
        readonly LoopState loop_state
        public bint announces_calls

        # The instant of the peer's last answer to a PING.
        uint64_t answered_ns

        # The end of the connection: our GOAWAY reason or the peer's, and the text; -1 while the connection is open.
        readonly int closed_reason
        readonly str closed_text
        readonly bint closed_by_peer

        # Whether this is the client's side; whether the peer takes no new calls, and whether it asks for another
        # connection.
        readonly bint is_client
        readonly bint peer_drains
        readonly bint peer_replaces

    # Events of calls, for `serving` and `calling`, if they implement them. `callee_states` asks `serving` itself.
    cdef str on_part(self, Frame* frame, Py_ssize_t size)
    cdef int on_part_ended(self, bint is_over) except -1
    cdef int on_cut_request(self) except -1
    cdef int on_head(self, Call call, bytes metadata) except -1
    cdef int on_not_started(self, Call call) except -1
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_local_end(self, Call call, int status, str text) except -1
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int on_piece(self, Call call) except -1
    cdef int on_cut(self, Py_ssize_t change) except -1
    cdef int on_unsendable(self, Call call, object error) except -1
    cdef int on_sendable(self, Call call) except -1
    cdef int on_stuck(self, Call call, str text) except -1
    cdef bint may_lend(self) noexcept

    # Steps that are the same for every owner.
    cdef int expect_late(self, bint with_data) noexcept
    cdef int stop_calls(self) except -1
    cdef int on_output(self) except -1
    cdef int bound_messages(self) noexcept

    # Hooks of the reader; `violate` and `discard` also of other parts.
    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1
    cdef int on_frame(self, Frame* frame, bytes payload) except -1
    cdef Assembly sink_for(self, Frame* frame)
    cdef int violate(self, int reason, str text) except -1
    cdef int discard(self, Frame* frame) except -1

    # Hooks of the states of our calls.
    cdef int on_freed(self, Call call) except -1
    cdef int on_forgotten(self, Call call) except -1

    # Hooks of the assembler.
    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int end_locally(self, Call call, int status, str text, int reason) except -1

    # Hooks of the sender.
    cdef int begin_call(self, Call call) except -1
    cdef int give_up(self, Call call, int reason) except -1
    cdef int on_answered(self, Call call) except -1
    cdef int on_answer_waits(self, Call call) except -1
    cdef int on_unsent(self, Call call) except -1

    # Frames that no part keeps.
    cdef int on_ignored(self, Frame* frame) except -1
    cdef int on_credit(self, uint64_t id, uint32_t size) except -1

    # Hooks of the liveness.
    cdef bint has_unsent(self) except -1
    cdef uint64_t untaken_bytes(self) except? 0
    cdef int64_t taken_bytes(self) except? -1
    cdef bint output_is_stuck(self) noexcept
    cdef bint waits_for_turn(self) noexcept
    cdef list cut_calls(self)
    cdef uint64_t used_ids(self) noexcept
    cdef bint is_unused(self) except -1
    cdef bint wants_ping(self) noexcept
    cdef bint may_pause(self, bint is_pausing) noexcept
    cdef int give_back(self) except -1
    cdef int send_ping(self, bytes body) except -1
    cdef int finish_drain(self) except -1
    cdef int close_with(self, int reason, str text) except -1
    cdef int cut_off(self) except -1
    cdef int on_aged(self) except -1
    cdef int on_idle(self) except -1

    # Hooks of the connection itself.
    cdef int on_stranger(self, str text, bytes first) except -1
    cdef int on_ready(self) except -1
    cdef int on_peer_drains(self, int reason, str text) except -1
    cdef int on_closed(self) except -1
    cdef int end_connection(self, int reason, str text, bint by_peer) except -1

    # AUTH: the peer's credential, or the server's verdict on ours.
    cdef int on_auth(self, Frame* frame) except -1

    # Hooks of the call slots.
    cdef int on_withheld(self) except -1
    cdef int on_crowd(self) except -1
    cdef int on_ids_used_up(self) except -1

    # Our calls: a call is sent of which the owner wanted to be notified; whether a thread may make one.
    cdef int on_used(self) except -1
    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1
