"""Whose turn it is to send: deficit round robin over the ids of a connection, in bytes.

::

    a large message, a stream without room ──► add ──► ring ──► next, grant ──► a piece, or the stream goes on
                                                         ▲                          │
                                                         └──── more of it: add ◄────┘

Each time its turn comes an id gets a quantum, by its priority. What it sends is charged; what it sends beyond, because a
message is not cut to leave a small rest, or because nobody else wanted to send, it owes and waits for. What it could not
use is kept up to one quantum. So over time all ids that want to send get equal shares, whatever the sizes of their messages.

A stream that sends small messages is charged as well, without being in the ring: it enters when its share is used up and
others wait. Its place there is an empty message, a TURN, so no object is made for its messages.

Few ids get several quanta at once, as many as there is room for: an id alone all of it. An id that has sent nothing in this
turn has a quantum at once: a message now and then waits for nobody.
"""

cimport cython

from fastrpc._core.base.priority_queue cimport PRIORITY_HIGH, PRIORITY_SHEDDABLE

cdef enum:
    # What is shared out in one turn of the connection.
    MOST_IN_ONE_TURN = 262_144


@cython.final
cdef class DeficitRing:
    """The ids of a connection that wait for their turn to send."""

    def __cinit__(self):
        self.items = Queue()
        self.quanta_at_once = 1
        # Calls begin with 0.
        self.turn = 1

    cdef int add(self, Outgoing item) except -1:
        """Put the first message of an id at the end of the ring."""
        item.quantum = quantum_of(item.call)
        self.quanta += item.quantum
        return self.items.append(item)

    cdef int add_first(self, Outgoing item) except -1:
        """Put a message back whose turn it is still."""
        self.quanta += item.quantum
        return self.items.appendleft(item)

    cdef Outgoing next(self):
        """Take the message out of the ring whose turn it is; None: nobody waits."""
        cdef Outgoing item
        while self.items._items is not None:
            item = <Outgoing>self.items.popleft()
            self.quanta -= item.quantum
            if not item.is_dropped:
                return item
        return None

    cdef int begin_turn(self, Py_ssize_t room) noexcept:
        """Begin a turn of the connection with room for so many bytes."""
        self.turn += 1
        self.is_shared = len(self.items) > 1
        self.quanta_at_once = max(<int64_t>1, min(<int64_t>room, <int64_t>MOST_IN_ONE_TURN) // max(self.quanta, <int64_t>1))
        return 0

    cdef int64_t grant(self, Outgoing item) noexcept:
        """Give an id its quanta; return its share, which is 0 or less while it owes more."""
        cdef Call call = item.call
        cdef int64_t kept = 0
        if item.is_saving:
            # Until it is enough, also where nobody else wants to send.
            kept = call.share
        elif self.is_shared:
            kept = min(call.share, item.quantum)
        call.share = kept + item.quantum * self.quanta_at_once
        call.share_turn = self.turn
        return call.share

    cdef int recount(self) except -1:
        """Count the quanta again: dropped messages were taken out."""
        self.quanta = 0
        for item in self.items:
            self.quanta += (<Outgoing>item).quantum
        return 0


cdef int64_t quantum_of(Call call) noexcept:
    if call.priority == 0:
        return QUANTUM
    if call.priority == PRIORITY_HIGH:
        return QUANTUM_HIGH
    return QUANTUM_SHEDDABLE if call.priority == PRIORITY_SHEDDABLE else QUANTUM
