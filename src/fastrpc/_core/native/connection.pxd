from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.callee_states cimport CalleeStates
from fastrpc._core.native.caller_states cimport CallerStates
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.base.queue cimport Queue
from fastrpc._core.framing.settings cimport Settings
from fastrpc._core.framing.window cimport Budget

cdef enum Phase:
    PHASE_PREFACE = 0
    PHASE_SETTINGS = 1
    PHASE_OPEN = 2
    PHASE_CLOSED = 3


cdef class Connection(PartsOwner):
    cdef:
        # Its parts.
        readonly FrameReader reader
        readonly MessageAssembler assembler
        readonly CalleeStates callee
        readonly CallerStates caller
        readonly CallSlots slots
        readonly SendQueue sender

        # CREDIT frames, against the sender's `data_frames_sent`.
        uint64_t credits_received

        # Where the opening stands; CLOSED: nothing is parsed any more.
        readonly int phase
        bint preface_sent

        # What ended the connection: our GOAWAY reason or the peer's, and the text; -1 while it lives.
        readonly int closed_reason
        readonly str closed_text
        readonly bint closed_by_peer

        # Whether the peer's first bytes showed that it did not read ours: no call of ours ran there.
        bint is_unreadable

        # SETTINGS of ours: whether the first ones went out, and those that wait for their ACK, oldest first.
        bint was_announced
        Queue unacknowledged
        Settings acknowledged
        uint32_t ping_gap_ms

        # PINGs of ours that wait for their answer, when the peer's last one came and how many were too early.
        Queue pings
        bint was_pinged
        uint64_t last_ping_ns
        int ping_strikes
        readonly uint64_t pings_sent

        # What the peer's GOAWAYs said, and how far our own drain is: 0, 1 (announced), 2 (FINAL sent).
        readonly uint64_t peer_last_id
        readonly bint peer_sent_final
        int goaways_received
        readonly int drain_step
        int drain_reason

        # Which of our PINGs stands behind the first step: once it is answered the peer has read that step.
        uint64_t drain_ping

        # When the last byte came.
        public uint64_t received_ns

        # Frames of the connection itself.
        Budget settings_budget
        Budget auth_budget
        Budget skip_budget
        readonly uint64_t skipped_frames
        uint64_t ping_acks_unsent

    cdef int open(self) except -1
    cdef int send_ping(self, bytes body) except -1
    cdef int start_drain(self, int reason, str text) except -1
    cdef int finish_drain(self) except -1
    cdef int close_with(self, int reason, str text) except -1
    cdef bint was_handed(self, Call call) noexcept
    cdef bint was_written(self, Call call) noexcept
    cdef bint is_idle(self) noexcept
    cdef bint is_violated(self) noexcept

    # Hooks.
    cdef int on_control(self, Frame* frame) except -1
    cdef bint output_is_stuck(self) noexcept
    cdef int on_stranger(self, str text) except -1
    cdef int on_ready(self) except -1
    cdef int on_peer_drains(self, int reason, str text) except -1
    cdef int on_closed(self) except -1

    # What its liveness asks and tells, of which only the owner of the stream knows.
    cdef bint has_unsent(self) except -1
    cdef uint64_t untaken_bytes(self) except? 0
    cdef bint is_unused(self) except -1
    cdef bint wants_ping(self) noexcept
    cdef int give_back(self) except -1

    # Frames of calls, and what they cost.
    cdef int _data(self, Frame* frame, bytes payload) except -1
    cdef int _credit(self, Frame* frame) except -1
    cdef int _placed(self, Frame* frame) except -1

    # The parts of the connection's own frames.
    cdef int _announce(self, Settings settings) except -1
    cdef int _take_preface(self, const char* data) except -1
    cdef int _settings(self, Frame* frame) except -1
    cdef int _settings_acknowledged(self) except -1
    cdef int _ping(self, Frame* frame) except -1
    cdef int _goaway(self, Frame* frame) except -1
    cdef int _auth(self, Frame* frame) except -1
    cdef int _send_goaway(self, int reason, bint final, uint64_t last_id, str text) except -1
    cdef int _fail_above(self, uint64_t last_id) except -1
    cdef int _end_connection(self, int reason, str text, bint by_peer) except -1
    cdef int _enforce(self) except -1
    cdef int _write_raw(self, bytes data) except -1
    cdef int _credit_in_order(self, uint32_t size) except -1
