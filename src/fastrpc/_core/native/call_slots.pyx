"""Our calls: the order in which they are opened, their ids, and how they are abandoned.

::

    send_request ──► a slot at the peer, its size, early? ──► SendQueue
                          │
                     slot_waiters, stream_waiters: by priority, then by arrival

A call gets its id when its first frame is written, so ids rise on the wire even if calls had to wait.

The table slot of the next call is prefetched. With 100,000 open calls each new call caused a cache miss, which cost 5 %
of the rate and now costs 2 % (`make promises ARGS=live_deadlines`).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject

from fastrpc._core.base.histogram cimport client_waits
from fastrpc._core.base.priority_queue cimport RANKS_IN_ALL
from fastrpc._core.base.status cimport CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.calls.call cimport STATE_GIVEN_UP, STATE_GONE, STATE_WAITING, new_stream_window
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.outgoing cimport FEW_DROPPED, fill_request, forget_dropped, live_queue, new_item, too_large
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SMALL_MESSAGE
from fastrpc._core.wire.frame cimport HEADER_SIZE, IDEMPOTENT, ONE_WAY, OUTCOME_NOT_STARTED, PUSHBACK_NEVER, REQUEST
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT
from fastrpc._core.wire.window cimport IDLE_CALLS, IDLE_CALLS_PER_SLOT, IDLE_CALLS_PER_SECOND, open_budget
from fastrpc._core.wire.window cimport owe, spend, widen

cdef enum:
    EARLY_NONE = 0
    EARLY_IDEMPOTENT = 1
    EARLY_ALL = 2
    # The codecs up to this number are raw and msgpack. Every server accepts them, even before its SETTINGS arrive.
    HIGHEST_EARLY_CODEC = 1

cdef enum:
    # A REQUEST with more bytes waits for the end of the turn, as large messages do.
    SHORT_REQUEST = 512

# Short REQUESTs are sent before the end of a turn once it has lasted FIRST_EARLY_NS, and again after NEXT_EARLY_NS at
# the earliest. A peer that gets few REQUESTs per read spends more on each: twice as much with 30 µs instead of 300
# (`make compare`, W2x512).
cdef uint64_t FIRST_EARLY_NS = 15_000
cdef uint64_t NEXT_EARLY_NS = 200_000

cdef enum:
    # There is no early flush while more calls than this are in flight, streams aside, nor for MANY_CALLS_NS afterwards:
    # that many calls keep both sides busy, and more writes only add work (`make compare`, W2x512).
    MANY_CALLS = 128
cdef uint64_t MANY_CALLS_NS = 10_000_000

EARLY_CALLS = {"none": EARLY_NONE, "idempotent": EARLY_IDEMPOTENT, "all": EARLY_ALL}


cdef class CallSlots:
    """Our calls: calls with a slot at the peer, and calls that wait for a slot."""

    def __cinit__(self, PartsOwner owner not None, SendQueue sender):
        self.sender = sender
        self.opened = CallTable()
        self.early_calls = EARLY_IDEMPOTENT
        open_budget(&self.their_idle_work, IDLE_CALLS // 2, IDLE_CALLS_PER_SECOND, SECOND)

    @cython.nonecheck(False)
    cdef bint may_open(self, Call call) noexcept:
        """Return whether the peer's limits, or the floor before its SETTINGS, leave room for this call."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not owner.settled:
            if self.early_calls == EARLY_NONE or (self.early_calls == EARLY_IDEMPOTENT and not call.flags & IDEMPOTENT):
                return False
            if call.codec > HIGHEST_EARLY_CODEC or call.compressor:
                return False
        if owner.is_closed or owner.peer_drains or self.next_id >> 63:
            return False
        if call.flags & ONE_WAY:
            # The peer counts one-way calls separately, and reports no free slot.
            return owner.peer.max_calls > 0
        if call.flags & (STREAM_IN | STREAM_OUT) and self.streams_taken >= <Py_ssize_t>owner.peer.max_streams:
            return False
        if self.their_idle_work.left < 0 and self._is_in_debt():
            return False
        return self.slots_taken < self.usual_slots or self._has_unusual_slot()

    cdef bint _has_unusual_slot(self) noexcept:
        """Return whether the peer has a slot beyond `usual_slots`; notify the owner once if it waits for a crowd."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if self.slots_taken >= <Py_ssize_t>owner.peer.max_calls:
            return False
        if self.crowd and self.slots_taken >= self.crowd:
            self.await_crowd(0)
            owner.side.on_crowd()
        return True

    cdef bint _is_in_debt(self) noexcept:
        """Return whether refusals have used up the peer's budget, so that one more call could exceed it.

        The budget must also cover a refusal of every call in flight.
        """
        spend(&self.their_idle_work, 0, (<PartsOwner>self.owner).now)
        return self.their_idle_work.left + (self.known_places - self.slots_taken) * self.their_idle_work.period <= 0

    @cython.nonecheck(False)
    cdef int send_request(self, Call call, bytes payload) except -1:
        """Send a REQUEST now, or as soon as a slot, credit and its turn allow it.

        Raises:
            EncodeError: the message exceeds the peer's limit.
        """
        assert call is not None and payload is not None
        cdef Outgoing item
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef bint fits = <uint64_t>size <= owner.peer.max_message
        if not fits and owner.settled:
            raise too_large(size, owner.peer.max_message)
        if fits and not (self.withholds and self._gives_way(call)) and self.may_open(call):
            if size <= SMALL_MESSAGE and not self.sender.has_small() and self._write_request(call, payload):
                return 0
            self._take_slot(call)
            return self.sender.send(new_item(call, REQUEST, payload))
        item = new_item(call, REQUEST, payload)
        item.last = item
        call.unsent = item
        self.sender.queued_bytes += size
        self.arrivals += 1
        item.arrival = self.arrivals
        item.queued_ns = owner.now
        self._waiters_of(call).of(call.priority).append(item)
        if self.withholds:
            # By now the budget may allow waiting calls.
            return self.release_slots()
        return self._withhold() if self.their_idle_work.left < 0 else 0

    @cython.nonecheck(False)
    cdef bint _write_request(self, Call call, bytes payload) except -1:
        """Write a small REQUEST if it fits into the credit and into one frame; return whether that is done."""
        cdef Frame frame
        cdef SendQueue sender = self.sender
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), whole
        fill_request(&frame, call, (<PartsOwner>self.owner).now)
        whole = sender.wire.head_size(&frame) + size
        if whole > sender.send_left or whole - HEADER_SIZE > <Py_ssize_t>(<PartsOwner>self.owner).peer.max_frame:
            return False
        if frame.timeout_us == 0:
            # The deadline of the call has passed. Its caller ends it, and it is never sent.
            return True
        self._take_slot(call)
        self.begin_call(call)
        frame.id = call.id
        frame.payload = PyBytes_AS_STRING(payload)
        frame.payload_size = frame.payload_present = size
        sender.wire.write(sender.out, &frame)
        sender.send_left -= whole
        sender.data_frames_sent += 1
        call.handed_at = sender.flushes + 1
        if self.early_bytes and whole <= SHORT_REQUEST:
            self._send_early(whole)
        # Needed even after an early flush: the flush at the end of the turn shows which REQUEST is the first of the next.
        (<PartsOwner>self.owner).written()
        return True

    @cython.nonecheck(False)
    cdef int _send_early(self, Py_ssize_t whole) except -1:
        """Flush written REQUESTs before the turn ends, if an early flush is due."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef ByteStream stream
        if owner.is_reading or owner._stream is NULL:
            return 0
        stream = <ByteStream>owner._stream
        if self.is_paced and self.sender.out.size == whole and not stream.flushes_soon():
            if not self._begin_turn():
                return 0
        elif self.is_paced and self.slots_taken - self.streams_taken > MANY_CALLS:
            self.early_due_ns = owner.now + MANY_CALLS_NS
            return 0
        elif self.sender.out.size < self.early_bytes or owner.now < self.early_due_ns:
            return 0
        elif self.is_paced:
            self.early_due_ns = owner.now + NEXT_EARLY_NS
        if self.sender.has_pieces() or stream.is_stuck() or stream.is_ending():
            # An early flush is not for pieces of large messages.
            return 0
        return stream.flush() if stream.sends_at_once() or not self.is_paced else 0

    cdef bint _begin_turn(self) noexcept:
        """Note the first REQUEST of a turn; return whether it is probably alone, because the last turn had only one."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint64_t sent_before = self.sender.data_frames_sent - 1
        cdef bint is_alone = sent_before - self.turn_began_at == 1
        self.turn_began_at = sent_before
        self.early_due_ns = max(self.early_due_ns, owner.now + FIRST_EARLY_NS)
        return is_alone

    @cython.nonecheck(False)
    cdef int begin_call(self, Call call) except -1:
        """Assign the call its id and initial windows, as its first frame is written now."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        call.id = self.next_id
        self.next_id += 2
        if call.flags & ONE_WAY:
            call.state = STATE_GONE
        else:
            call.state = STATE_WAITING
            # Streams opened before our ACK of the peer's first SETTINGS have the window of the floor. Until then
            # `owner.peer` is the floor.
            call.send_left = owner.peer.stream_window
            if call.flags & (STREAM_IN | STREAM_OUT):
                call.window = new_stream_window(owner.our_stream_window)
                if call.flags & STREAM_IN:
                    # A stream counts as handed to the transport from its first frame on.
                    call.handed_at = self.sender.flushes + 1
            self.opened.add(call.id, <PyObject*>call)
        if self.next_id >> 63:
            owner.stop_calls()
            owner.side.on_ids_used_up()
        return 0

    # Slots at the peer

    cdef bint _gives_way(self, Call call) noexcept:
        """Return whether a call has to queue behind calls that wait for the budget. One-way calls never have to."""
        return self._has_waiters() and not call.flags & ONE_WAY

    cdef PriorityQueue _waiters_of(self, Call call):
        """Return the queues, one for each priority, in which a REQUEST waits for its slot."""
        if call.flags & (STREAM_IN | STREAM_OUT):
            if self.stream_waiters is None:
                self.stream_waiters = PriorityQueue()
            return self.stream_waiters
        if self.slot_waiters is None:
            self.slot_waiters = PriorityQueue()
        return self.slot_waiters

    cdef int _take_slot(self, Call call) noexcept:
        if not call.flags & ONE_WAY:
            call.has_slot = True
            self.slots_taken += 1
            if call.flags & (STREAM_IN | STREAM_OUT):
                self.streams_taken += 1
        return 0

    cdef int _open(self, Outgoing item) except -1:
        """Give a slot to a REQUEST that waited for it."""
        cdef uint64_t now = (<PartsOwner>self.owner).now
        client_waits.counted(now - min(now, item.queued_ns))
        item.queued_ns = 0
        self._take_slot(item.call)
        return self.sender.enqueue(item)

    cdef int return_slot(self, Call call) except -1:
        """Free the slot of an ended call, and open waiting calls."""
        if call.has_slot:
            call.has_slot = False
            self.slots_taken -= 1
            if call.flags & (STREAM_IN | STREAM_OUT):
                self.streams_taken -= 1
            if self._has_waiters():
                self.release_slots()
        return 0

    cdef int release_slots(self) except -1:
        """Start waiting calls as far as slots allow. Called when a slot is freed or the peer's limits arrive."""
        if self.is_releasing:
            # A call that the loop below has just started freed its slot. The loop continues anyway.
            return 0
        self.is_releasing = True
        try:
            if (<PartsOwner>self.owner).settled:
                self._release_all()
            else:
                self._release_early()
        finally:
            self.is_releasing = False
        return 0

    cdef int _release_early(self) except -1:
        """Start the calls that may precede SETTINGS, by priority, then by arrival; the others keep their order."""
        cdef int rank
        for rank in range(<int>RANKS_IN_ALL):
            self._release_early_of(
                None if self.slot_waiters is None else self.slot_waiters.at(rank),
                None if self.stream_waiters is None else self.stream_waiters.at(rank),
            )
        return 0

    cdef int _release_early_of(self, Queue calls, Queue streams) except -1:
        """Start the calls of one priority that may precede SETTINGS, by arrival. Each queue is read once."""
        cdef Queue queue
        cdef Py_ssize_t calls_left = 0 if calls is None else len(calls)
        cdef Py_ssize_t streams_left = 0 if streams is None else len(streams)
        while calls_left > 0 or streams_left > 0:
            if not streams_left or (calls_left and (<Outgoing>calls[0]).arrival < (<Outgoing>streams[0]).arrival):
                queue = calls
                calls_left -= 1
            else:
                queue = streams
                streams_left -= 1
            self._release_if_early(queue)
            # A call that ended meanwhile may have removed dropped REQUESTs from the queues.
            calls_left = min(calls_left, 0 if calls is None else len(calls))
            streams_left = min(streams_left, 0 if streams is None else len(streams))
        return 0

    cdef int _release_if_early(self, Queue queue) except -1:
        """Start the first call of a queue if it may precede SETTINGS, or move it to the end of the queue."""
        cdef Outgoing item = <Outgoing>queue.popleft()
        cdef PartsOwner owner = <PartsOwner>self.owner
        if item.is_dropped:
            self.dropped -= 1
            return 0
        if <uint64_t>PyBytes_GET_SIZE(item.payload) <= owner.peer.max_message and self.may_open(item.call):
            return self._open(item)
        return queue.append(item)

    cdef int _release_all(self) except -1:
        """Start waiting calls by priority, then by arrival, as far as slots allow."""
        cdef Outgoing item
        cdef Call call
        cdef Queue waiters
        cdef Py_ssize_t size
        cdef PartsOwner owner = <PartsOwner>self.owner
        while True:
            waiters = self._next_waiters()
            if waiters is None:
                break
            item = <Outgoing>waiters.popleft()
            call = item.call
            size = PyBytes_GET_SIZE(item.payload)
            if <uint64_t>size <= owner.peer.max_message:
                self._open(item)
            else:
                self.sender.drop_unsent(call)
                (<NativeCalling>owner.calling).on_unsendable(call, too_large(size, owner.peer.max_message))
        if self.their_idle_work.left < 0 and self._has_waiters():
            self._withhold()
        return 0

    cdef Queue _next_waiters(self):
        """Return the queue whose first REQUEST is sent next; None if no REQUEST waits or none can get a slot.

        A stream that waits for its second slot does not delay calls that need one slot.
        """
        cdef Outgoing item
        cdef Queue queue, other
        cdef PartsOwner owner = <PartsOwner>self.owner
        queue, other = live_queue(self.slot_waiters, &self.dropped), live_queue(self.stream_waiters, &self.dropped)
        if queue is None or (other is not None and self._precedes(other, queue)):
            queue, other = other, queue
        while queue is not None:
            item = <Outgoing>queue[0]
            if <uint64_t>PyBytes_GET_SIZE(item.payload) > owner.peer.max_message or self.may_open(item.call):
                return queue
            queue, other = other, None
        return None

    cdef bint _precedes(self, Queue one, Queue other) except -1:
        """Return whether the first REQUEST of a stream precedes the first REQUEST of a unary call."""
        cdef int rank = self.stream_waiters.first_rank(), other_rank = self.slot_waiters.first_rank()
        return rank < other_rank or (rank == other_rank and (<Outgoing>one[0]).arrival < (<Outgoing>other[0]).arrival)

    cdef bint _has_waiters(self) noexcept:
        return (self.slot_waiters is not None and self.slot_waiters.has_items()) or (
            self.stream_waiters is not None and self.stream_waiters.has_items()
        )

    # Calls that are given up

    cdef int give_up(self, Call call, int reason) except -1:
        """Abandon a call: drop a waiting REQUEST, otherwise send CANCEL. The slot is freed by the RESPONSE.

        The peer has a budget for CANCELs, and closes the connection when it is used up.
        """
        cdef bint is_cut
        if call.state == STATE_GONE or call.state == STATE_GIVEN_UP:
            return 0
        is_cut = call.unsent is not None and (<Outgoing>call.unsent).kind == REQUEST
        self.sender.drop_unsent(call)
        if call.id == 0:
            call.state = STATE_GONE
            return 0
        call.state = STATE_GIVEN_UP
        # CANCEL for a deadline spends the budget too: a peer that reads REQUEST and CANCEL together cannot verify the time.
        if not spend(&self.their_idle_work, 1, (<PartsOwner>self.owner).now):
            if not is_cut:
                # The REQUEST was sent completely. The call may run; its answer is dropped, and a stream gets no credit.
                return self._keep_untold(call, reason)
            owe(&self.their_idle_work, 1, (<PartsOwner>self.owner).now)
        return self._send_cancel(call, reason)

    cdef int _keep_untold(self, Call call, int reason) except -1:
        """Send the CANCEL of a call later, when the budget allows it and if the call is still in progress."""
        if self.untold is None:
            self.untold = {}
        self.untold[call] = reason
        call.is_untold = True
        return self._withhold()

    cdef int _send_cancel(self, Call call, int reason) except -1:
        # Frames that the other side sent before it read our CANCEL may still arrive.
        (<PartsOwner>self.owner).expect_late(True)
        return self.sender.send_cancel(call.id, reason)

    cdef int _withhold(self) except -1:
        """Schedule a check of the peer's budget, which grows with time, because a CANCEL or a call waits for it."""
        if not self.withholds:
            self.withholds = True
            (<PartsOwner>self.owner).schedule_check((<PartsOwner>self.owner).now + WITHHELD_NS)
        return 0

    cdef bint resume_withheld(self) except -1:
        """Send the waiting frames that the peer's budget allows now; return whether frames still wait.

        The latest CANCELs are sent first: their calls probably have the most work left on the server.
        """
        cdef Call call
        spend(&self.their_idle_work, 0, (<PartsOwner>self.owner).now)
        while self.untold and spend(&self.their_idle_work, 1, (<PartsOwner>self.owner).now):
            call, reason = self.untold.popitem()
            call.is_untold = False
            self._send_cancel(call, reason)
        self.withholds = False
        self.release_slots()
        if self.untold:
            self.withholds = True
        else:
            self.untold = None
        return self.withholds

    cdef int note_answer(self, Frame* frame) noexcept:
        """Update our estimate of the peer's budget: answers add to it, refusals that our calls may have caused cost."""
        if frame.outcome != OUTCOME_NOT_STARTED:
            if self.their_idle_work.left < self.their_idle_work.capacity:
                self.their_idle_work.left += self.their_idle_work.period
        elif frame.status == RESOURCE_EXHAUSTED:
            # We obey the known limits, so only a refusal of a call that is never accepted costs. Refusals under load are
            # free.
            if frame.pushback_ms == PUSHBACK_NEVER:
                owe(&self.their_idle_work, 1, (<PartsOwner>self.owner).now)
        elif frame.status not in (CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE):
            owe(&self.their_idle_work, 1, (<PartsOwner>self.owner).now)
        return 0

    cdef int know_slots(self, int64_t slots) noexcept:
        """Apply the peer's MAX_CALLS to the number of slots and to the budget.

        Our estimate has half of the peer's base, since the peer counts events that we cannot see. It has one token less
        per slot: it grows with time while the peer may not have read one CANCEL per slot yet.
        """
        self.usual_slots = min(slots, self.crowd) if self.crowd else slots
        self.known_places = max(self.known_places, slots)
        widen(&self.their_idle_work, IDLE_CALLS // 2 + (IDLE_CALLS_PER_SLOT - 1) * slots)
        return 0

    cdef int await_crowd(self, Py_ssize_t crowd) noexcept:
        """Notify the owner once when a call is opened while `crowd` others are in flight; 0 = never."""
        self.crowd = crowd
        if (<PartsOwner>self.owner).settled:
            self.usual_slots = <Py_ssize_t>(<PartsOwner>self.owner).peer.max_calls
            if crowd:
                self.usual_slots = min(self.usual_slots, crowd)
        return 0

    cdef int was_unsent(self, Call call) except -1:
        """Note that a call was dropped before its first frame, here or in the sender, and free its slot."""
        if not call.has_slot:
            self.dropped += 1
            if self.dropped > FEW_DROPPED:
                forget_dropped(self._own_queues(), &self.dropped)
        return self.return_slot(call)

    cdef list unsent_calls(self):
        """Return our calls of which no byte was sent."""
        return [
            (<Outgoing>item).call
            for queue in self.queues()
            for item in queue
            if not (<Outgoing>item).is_dropped and (<Outgoing>item).kind == REQUEST and (<Outgoing>item).call.id == 0
        ]

    cdef tuple queues(self):
        """Return all queues in which a message may wait, including the queues of REQUESTs without a slot."""
        return (*self._own_queues(), *self.sender.queues())

    cdef tuple _own_queues(self):
        cdef PriorityQueue waiters
        cdef list queues = []
        for waiters in (self.slot_waiters, self.stream_waiters):
            if waiters is not None:
                queues += waiters.queues()
        return tuple(queues)

    cdef Call find(self, uint64_t id):
        cdef PyObject* entry = self.opened.get(id)
        return None if entry is NULL else <Call>entry
