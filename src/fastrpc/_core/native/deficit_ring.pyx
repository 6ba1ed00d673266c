"""The order of sending: deficit round robin over the ids of a connection, in bytes.

::

    a large message, a stream without room ──► add ──► ring ──► next, grant ──► a piece, or the stream goes on
                                                         ▲                          │
                                                         └──── more of it: add ◄────┘

In each turn an id gets a quantum, by its priority. Sent bytes are charged. An id may send beyond its quantum, because a
message is not cut to leave a small rest, or because no other id wants to send: it owes these bytes and waits for them.
An unused quantum is kept, but no more than one. So over time all ids get equal shares, whatever the sizes of their
messages.

A stream that sends small messages is charged as well, without being in the ring: it enters when its share is used up
and others wait. Its place there is an empty message, a TURN, so no object is made for its messages.

A few ids get several quanta at once, as many as there is room for: an id alone all of it. If all wait with one message,
a call or an answer, they get up to four also if that takes four turns of the connection: messages of 64 KiB are not cut
then. Pieces cost both sides work, and in pieces all would end as late as the last. A stream has more messages, and
needs its turn more often. An id that has sent nothing in this turn has a quantum at once: a rare message never waits.

A message that does not go whole is cut, and the peer takes so many cut messages of each kind at once. Further ones wait,
by priority, until one of these has ended: outside the ring, as unopened ones. Messages of streams have no such bound.
"""

cimport cython

from fastrpc._core.base.priority_queue cimport PRIORITY_HIGH, PRIORITY_SHEDDABLE
from fastrpc._core.wire.frame cimport DATA, REQUEST, RESPONSE
from fastrpc._core.wire.rounds cimport QUANTUM, granted, next_turn, open_round


@cython.final
cdef class DeficitRing:
    """The ids of a connection that wait for their turn to send."""

    def __cinit__(self):
        self.items = Queue()
        open_round(&self.round)

    cdef int add(self, Outgoing item) except -1:
        """Put the first message of an id at the end of the ring."""
        item.quantum = quantum_of(item.call)
        count(self, item, 1)
        return self.items.append(item)

    cdef int add_first(self, Outgoing item) except -1:
        """Put a message back that keeps its turn."""
        count(self, item, 1)
        return self.items.appendleft(item)

    cdef Outgoing next(self):
        """Take the message whose turn it is out of the ring; None if the ring is empty."""
        cdef Outgoing item
        while self.items._items is not None:
            item = <Outgoing>self.items.popleft()
            count(self, item, -1)
            if not item.is_dropped:
                return item
        return None

    cdef int begin_turn(self, Py_ssize_t room) noexcept:
        """Begin a turn of the connection with room for so many bytes."""
        next_turn(&self.round, room, len(self.items))
        return 0

    cdef int64_t grant(self, Outgoing item) noexcept:
        """Give an id its quanta; return its share, which is 0 or less while the id owes more."""
        cdef Call call = item.call
        # A saving one keeps all until it is enough, also if no other id wants to send.
        call.share = granted(&self.round, call.share, item.quantum, item.is_saving)
        call.share_turn = self.round.turn
        return call.share

    # Cut messages

    cdef bint count_cut(self, Outgoing item, int change) noexcept:
        """Count a message that is cut, or ends as such; False: the peer bounds none of its kind."""
        if item.kind == REQUEST:
            self.cut_requests += change
        elif item.kind == RESPONSE:
            self.cut_responses += change
        else:
            return False
        return True

    cdef bint may_cut(self, Outgoing item, int most) noexcept:
        """Return whether this message is cut already or the peer takes one more in pieces. Waiting ones go first."""
        if item.is_cut or item.kind == DATA:
            return True
        if not item.had_no_place and self.unopened is not None and self.unopened.has_items():
            return False
        return has_place(self, item, most)

    cdef int await_place(self, Outgoing item) except -1:
        """Let a message wait until the peer takes one more in pieces; one that waited before is the next again."""
        cdef Queue waiting
        if self.unopened is None:
            self.unopened = PriorityQueue()
        waiting = self.unopened.of(item.call.priority)
        if item.had_no_place:
            return waiting.appendleft(item)
        item.had_no_place = True
        return waiting.append(item)

    cdef bint open_next(self, int most) except -1:
        """One more message may be cut: give the first waiting one its turn. Return whether there is one."""
        cdef Outgoing item
        cdef Queue waiting
        while self.unopened is not None and self.unopened.has_items():
            waiting = self.unopened.first()
            item = <Outgoing>waiting[0]
            if not item.is_dropped and not has_place(self, item, most):
                break
            waiting.popleft()
            if not item.is_dropped:
                self.add(item)
                return True
        return False

    cdef int recount(self) except -1:
        """Count the quanta again: dropped messages were taken out."""
        self.round.quanta = self.round.streams = 0
        for item in self.items:
            count(self, <Outgoing>item, 1)
        return 0


cdef inline int count(DeficitRing ring, Outgoing item, int change) noexcept:
    """Count an id that enters the ring, or leaves it."""
    ring.round.quanta += change * item.quantum
    if item.kind != REQUEST and item.kind != RESPONSE:
        ring.round.streams += change
    return 0


cdef inline bint has_place(DeficitRing ring, Outgoing item, int most) noexcept:
    """Return whether the peer takes one more message of this kind in pieces."""
    return (ring.cut_requests if item.kind == REQUEST else ring.cut_responses) < most


cdef int64_t quantum_of(Call call) noexcept:
    if call.priority == 0:
        return QUANTUM
    if call.priority == PRIORITY_HIGH:
        return QUANTUM_HIGH
    return QUANTUM_SHEDDABLE if call.priority == PRIORITY_SHEDDABLE else QUANTUM
