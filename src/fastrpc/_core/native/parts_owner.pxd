from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.timed cimport Timed
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame, WireProtocol
from fastrpc._core.framing.settings cimport Settings
from fastrpc._core.framing.window cimport Budget
from fastrpc._core.native.call_parts cimport CallingPart, ServingPart

cdef enum:
    # PROTOCOL.md, "Budgets": what comes back of the bytes that may be discarded or be short pieces.
    LATE_BYTES_PER_SECOND = 330 * 1024


cdef class PartsOwner(Timed):
    cdef:
        # The rules of the wire, and the time: set by whoever drives the connection, before each use.
        WireProtocol wire
        public uint64_t now

        # What the peer accepts and whether it said so; what we announced last; the window that streams get from us.
        readonly Settings peer
        bint settled
        readonly Settings ours
        uint32_t our_stream_window

        # Whether the peer acknowledged our first SETTINGS: streams it opens get our own window from then on. How many
        # unfinished messages of each kind it may have.
        bint first_settings_acknowledged
        readonly int open_messages

        # What may be discarded before it counts as a flood.
        Budget late_frames
        Budget late_bytes

        # Its parts that know calls of theirs and of ours, each None on a side that has none of these.
        ServingPart serving
        CallingPart calling

        # Which side this is; whether the peer takes no new calls; whether the connection is over.
        readonly bint is_client
        readonly bint peer_drains
        readonly bint is_closed

    # What the reader asks and tells; `violate` and `discard` also what the others find.
    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1
    cdef bint on_many_frames(self) except -1
    cdef int on_tail(self, Py_ssize_t change) except -1
    cdef int on_frame(self, Frame* frame, bytes payload) except -1
    cdef Assembly sink_for(self, Frame* frame)
    cdef int violate(self, int reason, str text) except -1

    cdef int discard(self, Frame* frame) except -1
    cdef int expect_late(self, bint with_data) noexcept

    # What the states of calls ask and tell: of theirs, of ours, of both.
    cdef Call new_call(self)
    cdef int on_begun(self, Call call, Frame* frame) except -1
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_end(self, Call call) except -1
    cdef int on_cancel(self, Call call, int reason) except -1
    cdef int on_refused(self, Call call, int status, str text) except -1
    cdef int on_ended(self, Call call) except -1
    cdef int on_head(self, Call call, bytes metadata) except -1
    cdef int on_not_started(self, Call call) except -1
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_freed(self, Call call) except -1
    cdef int on_forgotten(self, Call call) except -1
    cdef int on_local_end(self, Call call, int status, str text) except -1

    # What the assembler tells.
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int on_piece(self, Call call) except -1
    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int end_locally(self, Call call, int status, str text, int reason) except -1
    cdef bint may_lend(self) noexcept

    # What the sender asks and tells.
    cdef int begin_call(self, Call call) except -1
    cdef int give_up(self, Call call, int reason) except -1
    cdef int on_output(self) except -1
    cdef int on_answered(self, Call call) except -1
    cdef int on_answer_waits(self, Call call) except -1
    cdef int on_unsent(self, Call call) except -1
    cdef int on_unsendable(self, Call call, object error) except -1
    cdef int on_sendable(self, Call call) except -1

    # Frames that no part keeps.
    cdef int on_ignored(self, Frame* frame) except -1
    cdef int on_credit(self, uint64_t id, uint32_t size) except -1

    # What the liveness asks and tells.
    cdef int64_t taken_bytes(self) except? -1
    cdef int on_stuck(self, Call call, str text) except -1
    cdef int on_aged(self) except -1
    cdef int on_idle(self) except -1
    cdef int cut_off(self) except -1

    # What the call slots tell.
    cdef int on_withheld(self) except -1
    cdef int on_ids_used_up(self) except -1
