from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.buffer cimport WriteBuffer
from fastrpc._core.call cimport Call
from fastrpc._core.call_table cimport CallTable
from fastrpc._core.frame cimport Frame, WireProtocol
from fastrpc._core.settings cimport Settings
from fastrpc._core.timed cimport Timed

cdef enum:
    # What is not larger is copied into the write buffer and goes before every piece of a larger message.
    SMALL_MESSAGE = 16_384
    # Bytes of ours that may lie in the transport while pieces wait to be chosen.
    TRANSPORT_SHARE = 262_144


cdef class Outgoing:
    cdef:
        # A message that waits for a slot, for credit, or for its turn. Those of one call are a chain in order:
        # `Call.unsent` is the first, `next` the following one, `last` (of the first) the end.
        Call call
        Outgoing next
        Outgoing last
        uint8_t kind
        uint8_t flags
        bint is_dropped
        bint is_parked

        # What its first frame carries besides the payload.
        uint8_t outcome
        uint16_t status
        uint32_t pushback_ms
        uint32_t elapsed_us
        bytes text
        bytes metadata

        # payload[:offset] is written.
        bytes payload
        Py_ssize_t offset


cdef class Outbox(Timed):
    cdef:
        # The rules of the wire, the time (set by whoever drives us), what the peer accepts.
        WireProtocol wire
        public uint64_t now
        readonly Settings peer

        # Bytes to send: `control` may overtake, then `chunks` in order, then `out`.
        WriteBuffer control
        WriteBuffer out
        list chunks
        Py_ssize_t chunk_bytes
        readonly uint64_t flushes

        # Messages that wait: for a call slot or the peer's settings; for credit; for their turn, whole and begun.
        object slot_waiters
        object small
        object large
        object begun
        bint begun_first
        readonly Py_ssize_t queued_bytes

        # Credit of the connection, and data frames sent: the peer's CREDIT budget goes by them.
        readonly int64_t send_left
        uint64_t data_frames_sent

        # Calls we opened and calls they opened, until the last piece of the RESPONSE.
        CallTable opened
        CallTable accepted
        public uint64_t next_id
        uint32_t our_stream_window
        bint settled
        readonly bint peer_drains
        int early_calls

    cdef bint may_open(self, Call call) noexcept
    cdef int send_request(self, Call call, bytes payload) except -1
    cdef int send_response(self, Call call, bytes payload, uint32_t elapsed_us) except -1
    cdef int send_failure(self, Call call, Outgoing failure) except -1
    cdef int send_head(self, Call call, bytes metadata) except -1
    cdef int send_message(self, Call call, bytes payload) except -1
    cdef int send_end(self, Call call) except -1
    cdef int send_cancel(self, Call call, int reason) except -1
    cdef int send_credit(self, uint64_t id, uint32_t size) except -1
    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1
    cdef int give_up(self, Call call, int reason) except -1
    cdef int drop_unsent(self, Call call) except -1
    cdef list unsent_calls(self)
    cdef int release_slots(self) except -1
    cdef int raise_credit(self, Call call, uint32_t size) except -1
    cdef int pump(self, Py_ssize_t room) except -1
    cdef object take_output(self)
    cdef bint has_output(self) noexcept
    cdef bint was_handed(self, Call call) noexcept

    # Hooks.
    cdef int on_output(self) except -1
    cdef int on_answered(self, Call call) except -1
    cdef int on_unsendable(self, Call call, object error) except -1

    # The parts of sending.
    cdef int _open(self, Call call, bytes payload, Outgoing item) except -1
    cdef bint _write_request(self, Call call, bytes payload) except -1
    cdef int _fill_request(self, Frame* frame, Call call) noexcept
    cdef int _fill(self, Frame* frame, Outgoing item) noexcept
    cdef int _send(self, Outgoing item) except -1
    cdef int _enqueue(self, Outgoing item) except -1
    cdef int _begin(self, Call call) except -1
    cdef int _ended(self, Outgoing item) except -1
    cdef int _forget(self, Call call) except -1
    cdef int _write_whole(self, Outgoing item) except -1
    cdef int _write_piece(self, Outgoing item) except -1
    cdef int _put(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
    cdef int _pump_large(self, Py_ssize_t room) except -1
    cdef Outgoing _next_large(self)
