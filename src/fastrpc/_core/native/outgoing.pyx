"""Outgoing messages that could not be written immediately: their frames, and the order in which they are sent.

Deficit round robin over the ids of a connection, in bytes::

    a large message, a stream without room ──► add ──► ring ──► next, grant ──► a piece, or messages of the stream
                                                         ▲                          │
                                                         └──── more of it: add ◄────┘

In each turn an id gets a quantum, which depends on its priority, and is charged for sent bytes. An id may send beyond
its quantum if only a small rest of a message would be left, or if no other id wants to send: it owes these bytes and
later waits for them. At most one unused quantum is kept. So over time all ids get equal shares, whatever the sizes of
their messages.

A stream that sends small messages is charged as well, without being in the ring: it enters the ring when its share is
used up and others wait. An empty message, a TURN, holds its place there, so no object is made for its messages.

If few ids wait, each gets several quanta in one turn, as many as there is room for; a single id gets all the room. If
they all wait with one message, a request or an answer, they get up to four quanta, even if that takes four turns of the
connection, so that messages of 64 KiB are not cut. Pieces cost both sides work, and if all messages are cut, all end as
late as the last one. A stream has more messages and needs its turn more often. An id that has sent nothing in this turn
gets a quantum immediately, so a rare message never waits.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset

from fastrpc._core.base.priority_queue cimport PRIORITY_HIGH, PRIORITY_SHEDDABLE
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.wire.frame cimport CONT, DATA, HEADER_SIZE, MESSAGE_LIMIT, REQUEST, RESPONSE, TIMEOUT_NONE, WAITED
from fastrpc._core.wire.rounds cimport QUANTUM, granted, next_turn, open_round

from fastrpc.errors import EncodeError

# Appended to a text that was cut.
cdef bytes ELLIPSIS = "…".encode()


# CPython's trashcan frees a long chain without deep recursion.
@cython.final
@cython.trashcan(True)
cdef class Outgoing:
    """An outgoing message that could not be written immediately."""


cdef Outgoing new_item(Call call, int kind, bytes payload):
    cdef Outgoing item = Outgoing.__new__(Outgoing)
    item.call = call
    item.kind = kind
    item.payload = payload
    return item


cdef Outgoing new_failure(int status, int outcome, str text):
    """Return the answer for a failure; its call is not set."""
    cdef Outgoing failure = Outgoing.__new__(Outgoing)
    failure.status = status
    failure.outcome = outcome
    failure.text = cut_text(text)
    failure.payload = b""
    return failure


cdef bytes cut_text(str text):
    """Return the encoded text of a failure. A text that is too long for the wire is cut between characters."""
    cdef bytes raw = text.encode("utf-8", "replace")
    if len(raw) > MESSAGE_LIMIT:
        raw = raw[:MESSAGE_LIMIT - len(ELLIPSIS)].decode("utf-8", "ignore").encode() + ELLIPSIS
    return raw


@cython.nonecheck(False)
cdef int fill_request(Frame* frame, Call call, uint64_t now) noexcept:
    """Set the fields of a REQUEST, except its id and payload; `timeout_us` stays 0 if no time is left."""
    memset(frame, 0, sizeof(Frame))
    frame.kind = REQUEST
    frame.flags = call.flags
    frame.codec = call.codec
    frame.compressor = call.compressor
    frame.attempt = call.attempt_number
    frame.priority = <uint8_t>call.priority
    frame.names = call.names
    frame.method = PyBytes_AS_STRING(call.route.name)
    frame.method_size = PyBytes_GET_SIZE(call.route.name)
    if call.sent_metadata is not None:
        frame.metadata = PyBytes_AS_STRING(call.sent_metadata)
        frame.metadata_size = PyBytes_GET_SIZE(call.sent_metadata)
    if call.deadline_ns == NO_DEADLINE:
        frame.timeout_us = TIMEOUT_NONE
    elif call.deadline_ns > now:
        frame.timeout_us = (call.deadline_ns - now) // 1000
    return 0


cdef int fill_frame(Frame* frame, Outgoing item, uint64_t now) noexcept:
    """Set the fields of the next frame of a message, except its payload."""
    cdef Call call = item.call
    if item.kind == REQUEST and not item.is_cut:
        return fill_request(frame, call, now)
    memset(frame, 0, sizeof(Frame))
    frame.id = call.id
    if item.is_cut:
        frame.kind = DATA
        frame.flags = CONT | (WAITED if item.has_waited else 0)
        return 0
    frame.kind = item.kind
    if item.kind == DATA:
        frame.flags = WAITED if item.has_waited else 0
        frame.codec = item.codec
        frame.compressor = item.compressor
    elif item.kind == RESPONSE:
        frame.codec = call.codec
        frame.compressor = call.compressor
        frame.status = item.status
        frame.outcome = item.outcome
        frame.pushback_ms = item.pushback_ms
        frame.elapsed_us = item.elapsed_us
        if item.status:
            frame.compressor = 0
    if item.text is not None:
        frame.text = PyBytes_AS_STRING(item.text)
        frame.text_size = PyBytes_GET_SIZE(item.text)
    if item.metadata is not None:
        frame.metadata = PyBytes_AS_STRING(item.metadata)
        frame.metadata_size = PyBytes_GET_SIZE(item.metadata)
    return 0


cdef object too_large(Py_ssize_t size, uint64_t limit):
    return EncodeError(
        f"the message has {size} bytes, the peer takes at most {limit}",
        hint="send it in smaller pieces, or raise Limits.message_bytes on the other side",
    )


cdef object head_too_large(Py_ssize_t size, uint64_t limit):
    return EncodeError(
        f"the metadata and names of a message have {size} bytes, the peer takes frames of {limit}",
        hint="send less metadata, or raise Limits.frame_bytes on the other side",
    )


cdef Py_ssize_t room_for(Outgoing item, Py_ssize_t max_frame, Py_ssize_t send_left) noexcept:
    """Return the longest next frame of a message that the peer's frame limit and the remaining credit allow."""
    cdef Py_ssize_t room = min(max_frame + HEADER_SIZE, send_left)
    if item.kind != DATA:
        return room
    # A stream's window does not count the header of a piece that continues a message.
    return min(room, <Py_ssize_t>item.call.send_left + (HEADER_SIZE if item.is_cut else 0))


cdef Queue live_queue(PriorityQueue waiting, Py_ssize_t* dropped):
    """Return the queue whose first message is the next in order, or None. Remove dropped messages before it."""
    cdef Queue queue
    while waiting is not None and waiting.has_items():
        queue = waiting.first()
        if not (<Outgoing>queue[0]).is_dropped:
            return queue
        queue.popleft()
        dropped[0] -= 1
    return None


cdef int forget_dropped(tuple queues, Py_ssize_t* dropped) except -1:
    """Remove dropped messages from queues if they are at least half of all messages."""
    cdef Queue queue
    if dropped[0] < sum(map(len, queues)) // 2:
        return 0
    for queue in queues:
        live = [item for item in queue if not (<Outgoing>item).is_dropped]
        queue.replace(live)
    dropped[0] = 0
    return 0


cdef int let_go(Outgoing item) except -1:
    """Drop a message and its successors, and clear their references to their call and to each other."""
    cdef Outgoing following
    while item is not None:
        following = item.next
        item.is_dropped = True
        if item.call is not None:
            item.call.unsent = None
        item.call = None
        item.next = item.last = None
        item.payload = b""
        item = following
    return 0


cdef int let_go_of_all(list calls, tuple queues) except -1:
    """Detach the waiting messages of these calls and in these queues from their calls.

    A message and its call refer to each other. Unless they are detached, large answers stay in memory, uncounted, until
    the garbage collector runs.
    """
    cdef Queue queue
    for call in calls:
        let_go(<Outgoing>(<Call>call).unsent)
    for queue in queues:
        for item in queue:
            let_go(<Outgoing>item)
        queue.replace([])
    return 0


cdef bint any_waits(list calls, tuple queues) except -1:
    """Return whether a message of some calls, or in some queues, is still wanted."""
    cdef Queue queue
    for call in calls:
        if (<Call>call).unsent is not None:
            return True
    for queue in queues:
        for item in queue:
            if not (<Outgoing>item).is_dropped:
                return True
    return False


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
        """Put a message back at the front of the ring, so that it keeps its turn."""
        count(self, item, 1)
        return self.items.appendleft(item)

    cdef Outgoing next(self):
        """Remove and return the message whose turn it is; None if the ring is empty."""
        cdef Outgoing item
        while self.items._items is not None:
            item = <Outgoing>self.items.popleft()
            count(self, item, -1)
            if not item.is_dropped:
                return item
        return None

    cdef int begin_turn(self, Py_ssize_t room) noexcept:
        """Start a turn of the connection with `room` bytes."""
        next_turn(&self.round, room, len(self.items))
        return 0

    cdef int64_t grant(self, Outgoing item) noexcept:
        """Give an id its quanta; return its share, which is 0 or less while the id owes more."""
        cdef Call call = item.call
        # An id that saves for a whole message keeps its share until it suffices, even if no other id wants to send.
        call.share = granted(&self.round, call.share, item.quantum, item.is_saving)
        call.share_turn = self.round.turn
        return call.share

    # Cut messages

    cdef bint count_cut(self, Outgoing item, int change) noexcept:
        """Count the start or end of a cut message; return False if the peer does not limit its kind."""
        if item.kind == REQUEST:
            self.cut_requests += change
        elif item.kind == RESPONSE:
            self.cut_responses += change
        else:
            return False
        return True

    cdef bint may_cut(self, Outgoing item, int most) noexcept:
        """Return whether this message was already cut or the peer accepts one more message in pieces.

        Messages that wait for a place come first.
        """
        if item.is_cut or item.kind == DATA:
            return True
        if not item.had_no_place and self.unopened is not None and self.unopened.has_items():
            return False
        return has_place(self, item, most)

    cdef int await_place(self, Outgoing item) except -1:
        """Let a message wait until the peer accepts one more in pieces. If it has waited before, it is put in front."""
        cdef Queue waiting
        if self.unopened is None:
            self.unopened = PriorityQueue()
        waiting = self.unopened.of(item.call.priority)
        if item.had_no_place:
            return waiting.appendleft(item)
        item.had_no_place = True
        return waiting.append(item)

    cdef bint open_next(self, int most) except -1:
        """Put the first waiting message into the ring if one more may be cut; return whether there was one."""
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
        """Count the quanta again after dropped messages were removed."""
        self.round.quanta = self.round.streams = 0
        for item in self.items:
            count(self, <Outgoing>item, 1)
        return 0


cdef inline int count(DeficitRing ring, Outgoing item, int change) noexcept:
    """Count an id that enters or leaves the ring."""
    ring.round.quanta += change * item.quantum
    if item.kind != REQUEST and item.kind != RESPONSE:
        ring.round.streams += change
    return 0


cdef inline bint has_place(DeficitRing ring, Outgoing item, int most) noexcept:
    """Return whether the peer accepts one more message of this kind in pieces."""
    return (ring.cut_requests if item.kind == REQUEST else ring.cut_responses) < most


cdef int64_t quantum_of(Call call) noexcept:
    if call.priority == 0:
        return QUANTUM
    if call.priority == PRIORITY_HIGH:
        return QUANTUM_HIGH
    return QUANTUM_SHEDDABLE if call.priority == PRIORITY_SHEDDABLE else QUANTUM
