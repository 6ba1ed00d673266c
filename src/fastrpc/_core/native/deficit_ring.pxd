from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.outgoing cimport Outgoing

cdef enum:
    # Bytes that an id may send in each turn. They take some 10 µs on a fast line, the delay that one id more adds for
    # the others, and are long enough to make the cost of a frame negligible.
    QUANTUM = 16_384
    QUANTUM_HIGH = 65_536
    QUANTUM_SHEDDABLE = 4_096
    # The most that an id owes, as one frame may exceed a share by more. Bytes sent while no other id wanted to send
    # took nothing from the others.
    MOST_OWED = 65_536


cdef class DeficitRing:
    cdef:
        # The first message of each id that waits for its turn, in order; the sum of their quanta, and the number that
        # belong to streams, dropped ones included.
        Queue items
        int64_t quanta, streams

        # The number of the turn of the connection. In it each id gets so many quanta at once (see `begin_turn`);
        # whether more than one id took part.
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
        """Take written bytes off the share of their id, which in a new turn has a quantum without waiting for it."""
        if call.share_turn != self.turn:
            call.share_turn = self.turn
            call.share = quantum_of(call) + (min(call.share, 0) if self.is_shared else 0)
        call.share = max(call.share - size, <int64_t>-MOST_OWED)
        return 0

    cdef inline bint is_used_up(self, Call call) noexcept:
        """Return whether an id has to wait for its turn before it sends more, because others want to send as well."""
        return call.share <= 0 and call.share_turn == self.turn and (self.is_shared or self.items._items is not None)


cdef int64_t quantum_of(Call call) noexcept
