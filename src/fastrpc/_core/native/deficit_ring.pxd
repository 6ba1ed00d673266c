from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.outgoing cimport Outgoing

cdef enum:
    # Bytes that an id may send each time its turn comes. So much takes some 10 µs on a fast line, which is all that one id
    # more adds to the wait of the others, and is long enough for the cost of a frame to be nothing beside it.
    QUANTUM = 16_384
    QUANTUM_HIGH = 65_536
    QUANTUM_SHEDDABLE = 4_096
    # Most that an id owes: more than one frame goes beyond a share. What it sent while nobody else wanted to send took
    # nothing from anybody.
    MOST_OWED = 65_536


cdef class DeficitRing:
    cdef:
        # The first message of each id that waits for its turn, in order; the sum of their quanta, and how many belong to
        # streams, dropped ones included.
        Queue items
        int64_t quanta, streams

        # The number of the turn of the connection. In it each id gets so many quanta at once (see `begin_turn`); whether
        # more than one id took part.
        uint32_t turn
        int64_t quanta_at_once
        bint is_shared

    cdef int add(self, Outgoing item) except -1
    cdef int add_first(self, Outgoing item) except -1
    cdef Outgoing next(self)
    cdef int begin_turn(self, Py_ssize_t room) noexcept
    cdef int64_t grant(self, Outgoing item) noexcept
    cdef int recount(self) except -1

    cdef inline bint has_items(self) noexcept:
        return self.items._items is not None

    cdef inline int charge(self, Call call, Py_ssize_t size) noexcept:
        """Take bytes that are written off the share of their id; in a new turn it has a quantum without waiting for it."""
        if call.share_turn != self.turn:
            call.share_turn = self.turn
            call.share = quantum_of(call) + (min(call.share, 0) if self.is_shared else 0)
        call.share = max(call.share - size, <int64_t>-MOST_OWED)
        return 0

    cdef inline bint is_used_up(self, Call call) noexcept:
        """Return whether an id has to wait for its turn before it sends more, because others want to send as well."""
        return call.share <= 0 and call.share_turn == self.turn and (self.is_shared or self.items._items is not None)


cdef int64_t quantum_of(Call call) noexcept
