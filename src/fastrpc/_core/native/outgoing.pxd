"""Outgoing messages that could not be written immediately, and the order in which they are sent."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.base.priority_queue cimport PriorityQueue, Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.rounds cimport Round, has_used_up, take_off

cdef enum:
    # Up to this number dropped messages stay in queues. When there are more, they are searched for and removed.
    FEW_DROPPED = 64
    # The kind of the empty message that holds the place of a stream in the ring. It is never written.
    TURN = 0


cdef class Outgoing:
    cdef:
        # A message that waits for a slot, for credit, or for its turn. The messages of one call are an ordered chain:
        # `Call.unsent` is the first, `next` the following one, `last` (valid in the first) the last one.
        Call call
        Outgoing next
        Outgoing last
        uint8_t kind
        uint8_t flags

        # Whether the message is no longer wanted.
        bint is_dropped
        # Whether it waits for credit of its stream, outside every queue.
        bint is_parked
        # Whether its next frame had to wait.
        bint has_waited
        # Whether the first piece of the message was sent.
        bint is_cut

        # For a REQUEST that waits for its slot: `arrival` is the number of its arrival, `queued_ns` the instant since
        # which it waits, 0 after it got a slot.
        uint64_t arrival
        uint64_t queued_ns

        # Valid in the ring: the bytes that the message's call id gets with each turn.
        int quantum
        # Whether it is sent as a whole, when its id has saved enough bytes.
        bint is_saving
        # Whether the message has waited for a place among the cut messages.
        bint had_no_place

        # The codec and compressor of a stream message. A REQUEST or RESPONSE uses these of its call.
        uint8_t codec
        uint8_t compressor

        # The fields of the first frame, except the payload.
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
cdef bytes cut_text(str text)
cdef int fill_request(Frame* frame, Call call, uint64_t now) noexcept
cdef int fill_frame(Frame* frame, Outgoing item, uint64_t now) noexcept
cdef object too_large(Py_ssize_t size, uint64_t limit)
cdef Queue live_queue(PriorityQueue waiting, Py_ssize_t* dropped)
cdef int forget_dropped(tuple queues, Py_ssize_t* dropped) except -1
cdef int let_go(Outgoing item) except -1
cdef int let_go_of_all(list calls, tuple queues) except -1
cdef bint any_waits(list calls, tuple queues) except -1
cdef object head_too_large(Py_ssize_t size, uint64_t limit)
cdef Py_ssize_t room_for(Outgoing item, Py_ssize_t max_frame, Py_ssize_t send_left) noexcept


cdef enum:
    # The quanta of high and sheddable priority. QUANTUM of `wire/rounds` is for normal priority.
    QUANTUM_HIGH = 65_536
    QUANTUM_SHEDDABLE = 4_096


cdef class DeficitRing:
    cdef:
        # `items`: the first message of each id that waits for its turn, in order, including dropped messages; `round`:
        # the state of turns.
        Queue items
        Round round

        # The numbers of cut requests and of cut responses that are incompletely sent; the peer limits each. Messages of
        # streams do not count. `unopened`: messages that may be cut only after another one was completely sent, or None.
        int cut_requests
        int cut_responses
        PriorityQueue unopened

    cdef int add(self, Outgoing item) except -1
    cdef int add_first(self, Outgoing item) except -1
    cdef Outgoing next(self)
    cdef int begin_turn(self, Py_ssize_t room) noexcept
    cdef int64_t grant(self, Outgoing item) noexcept
    cdef int recount(self) except -1

    # Cut messages; at most `most` of each kind may be incompletely sent.
    cdef bint count_cut(self, Outgoing item, int change) noexcept
    cdef bint may_cut(self, Outgoing item, int most) noexcept
    cdef int await_place(self, Outgoing item) except -1
    cdef bint open_next(self, int most) except -1

    cdef inline bint has_items(self) noexcept:
        return self.items._items is not None

    cdef inline int charge(self, Call call, Py_ssize_t size) noexcept:
        """Subtract written bytes from the share of a call id. In a new turn the id first gets its quantum."""
        take_off(&self.round, &call.share, &call.share_turn, quantum_of(call), size)
        return 0

    cdef inline bint is_used_up(self, Call call) noexcept:
        """Return whether an id has to wait for its turn before it sends more, because other ids want to send."""
        return has_used_up(&self.round, call.share, call.share_turn, self.items._items is not None)


cdef int64_t quantum_of(Call call) noexcept
