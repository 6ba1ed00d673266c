from libc.stdint cimport int64_t

from fastrpc._core.base.priority_queue cimport PriorityQueue, Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.wire.rounds cimport Round, has_used_up, take_off

cdef enum:
    # As QUANTUM of `wire/rounds`, for the other priorities.
    QUANTUM_HIGH = 65_536
    QUANTUM_SHEDDABLE = 4_096


cdef class DeficitRing:
    cdef:
        # The first message of each id that waits for its turn, in order, dropped ones included; their turns.
        Queue items
        Round round

        # Cut messages of ours that are not wholly sent, those of streams aside; the peer takes so many of each kind. The
        # messages that it takes in pieces only after another has ended, None until the first.
        int cut_requests
        int cut_responses
        PriorityQueue unopened

    cdef int add(self, Outgoing item) except -1
    cdef int add_first(self, Outgoing item) except -1
    cdef Outgoing next(self)
    cdef int begin_turn(self, Py_ssize_t room) noexcept
    cdef int64_t grant(self, Outgoing item) noexcept
    cdef int recount(self) except -1

    # Cut messages; `most` of each kind may be under way.
    cdef bint count_cut(self, Outgoing item, int change) noexcept
    cdef bint may_cut(self, Outgoing item, int most) noexcept
    cdef int await_place(self, Outgoing item) except -1
    cdef bint open_next(self, int most) except -1

    cdef inline bint has_items(self) noexcept:
        return self.items._items is not None

    cdef inline int charge(self, Call call, Py_ssize_t size) noexcept:
        """Take written bytes off the share of their id, which in a new turn has a quantum without waiting for it."""
        take_off(&self.round, &call.share, &call.share_turn, quantum_of(call), size)
        return 0

    cdef inline bint is_used_up(self, Call call) noexcept:
        """Return whether an id has to wait for its turn before it sends more, because others want to send as well."""
        return has_used_up(&self.round, call.share, call.share_turn, self.items._items is not None)


cdef int64_t quantum_of(Call call) noexcept
