from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.wire.frame cimport Frame

cdef enum:
    # Dropped messages that may stay in queues before these are searched for them.
    FEW_DROPPED = 64
    # The kind of the empty message of a stream in the ring while it waits for its turn: nothing of it is written.
    TURN = 0


cdef class Outgoing:
    cdef:
        # A message that waits for a slot, for credit, or for its turn. Those of one call are a chain in order:
        # `Call.unsent` is the first, `next` the following one, `last` (of the first) the end.
        Call call
        Outgoing next
        Outgoing last
        uint8_t kind
        uint8_t flags

        # Whether it is no longer wanted; whether it waits for credit of its stream, outside every queue; whether its
        # next frame waited; whether its first piece is sent.
        bint is_dropped
        bint is_parked
        bint has_waited
        bint is_cut

        # A REQUEST that waits for its slot: the order of arrival, and the begin of its wait; 0 once it has a slot.
        uint64_t arrival
        uint64_t queued_ns

        # In the ring: the bytes that its id gets with each turn; whether it goes as a whole once it may send so much at
        # once; whether it has waited for a place among the cut messages.
        int quantum
        bint is_saving
        bint had_no_place

        # The encoding of a stream message; a REQUEST or RESPONSE has that of its call.
        uint8_t codec
        uint8_t compressor

        # The fields of its first frame besides the payload.
        uint8_t outcome
        uint16_t status
        uint32_t pushback_ms
        uint32_t elapsed_us
        bytes text
        bytes metadata

        # payload[:offset] is written.
        bytes payload
        Py_ssize_t offset


cdef Outgoing new_item(Call call, int kind, bytes payload)
cdef Outgoing new_failure(int status, int outcome, str text)
cdef int fill_request(Frame* frame, Call call, uint64_t now) noexcept
cdef int fill_frame(Frame* frame, Outgoing item, uint64_t now) noexcept
cdef object too_large(Py_ssize_t size, uint64_t limit)
cdef int forget_dropped(tuple queues, Py_ssize_t* dropped) except -1
cdef int let_go(Outgoing item) except -1
cdef int let_go_of_all(list calls, tuple queues) except -1
cdef bint any_waits(list calls, tuple queues) except -1
cdef object head_too_large(Py_ssize_t size, uint64_t limit)
cdef Py_ssize_t room_for(Outgoing item, Py_ssize_t max_frame, Py_ssize_t send_left) noexcept
