"""The messages that a connection sends: order, credit, and the pieces of large messages.

::

    message ──► credit? ──► small: copied into `out` ─────────────────┐
                   │                                                  ├──► take()
                small    large ──► ring: each id in turn, a piece ────┤
                           └─► unopened ──► ring                      │
    control frames ──────────────► `control`: before all others ──────┘

A large message is cut while it is sent, so a later small message can overtake it. After `SMALL_IN_A_ROW` bytes of small
messages a large message gets its turn. Messages that wait for credit or a place among cut messages wait by priority.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memset

from fastrpc._core.base.histogram cimport client_waits
from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.base.status cimport CANCELLED, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport STATE_CANCELLED
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.outgoing cimport FEW_DROPPED, TURN, any_waits, fill_frame, forget_dropped, head_too_large
from fastrpc._core.native.outgoing cimport let_go_of_all, new_failure, new_item, room_for, too_large
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.wire.frame cimport CANCEL_LOCAL_LIMIT, DATA, END, HEAD, HEADER_SIZE
from fastrpc._core.wire.frame cimport MORE, OUTCOME_RAN, REQUEST, RESPONSE, STREAM_MESSAGE_LIMIT
from fastrpc._core.wire.rounds cimport MOST_OWED, QUANTUM
from fastrpc._core.wire.settings cimport WireSettings
from fastrpc._core.wire.window cimport FIRST_CONNECTION_WINDOW, HIGHEST_WINDOW

from fastrpc.errors import EncodeError

cdef enum:
    # Stream messages up to this size are written immediately if nothing blocks them: an id may owe this many bytes
    # beyond its share. The sender of a longer message waits for a turn of the loop.
    WRITTEN_AT_ONCE = QUANTUM + MOST_OWED
    # A piece shorter than this waits for more credit, unless it is the last one.
    SMALLEST_PIECE = 4_096
    # The result of an attempt to write.
    BLOCKED = 0
    WRITTEN = 1
    PARKED = 2
    BEGUN = 3
    # SAVING: the id saves quanta to send the message as a whole. UNOPENED: it waits for a place among cut messages.
    SAVING = 4
    UNOPENED = 5


cdef class SendQueue(Output):
    """The messages that wait to be sent, and the bytes that may be sent now."""

    def __cinit__(self):
        self.send_left = FIRST_CONNECTION_WINDOW

    # Messages

    @cython.nonecheck(False)
    cdef int send_response(self, Call call, bytes payload, uint32_t elapsed_us) except -1:
        """Answer with a value; the call is over when the last piece is written.

        Raises:
            EncodeError: the answer exceeds the peer's limit.
        """
        assert call is not None and payload is not None
        cdef Outgoing item
        cdef WireSettings peer = (<PartsOwner>self.owner).peer
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), whole
        cdef bint never_waited = self.small is None and self.ring is None
        if call.state == STATE_CANCELLED:
            return self.send_failure(call, new_failure(CANCELLED, OUTCOME_RAN, ""))
        if <uint64_t>size > peer.max_message:
            raise too_large(size, peer.max_message)
        if size <= SMALL_MESSAGE and call.unsent is None and (never_waited or self.takes_small()):
            whole = self.wire.answer_head + size
            if call.sent_metadata is not None:
                whole += PyBytes_GET_SIZE(call.sent_metadata)
            if whole <= self.send_left and whole - HEADER_SIZE <= <Py_ssize_t>peer.max_frame:
                self.wire.write_answer(
                    self.out, call.id, call.codec, call.compressor, elapsed_us, call.sent_metadata, payload
                )
                # `-=` and `+=` would add a reference to `self`.
                self.send_left = self.send_left - whole
                self.data_frames_sent = self.data_frames_sent + 1
                (<PartsOwner>self.owner).callee_hooks.answered(call)
                # The end of a read flushes without a further request.
                return 0 if (<PartsOwner>self.owner).is_reading else (<PartsOwner>self.owner).written()
        item = new_item(call, RESPONSE, payload)
        item.elapsed_us = elapsed_us
        item.metadata = call.sent_metadata
        return self.send(item)

    cdef int send_failure(self, Call call, Outgoing failure) except -1:
        """Answer with a status; `failure` carries status, outcome, text and, as its payload, the details."""
        failure.call = call
        failure.kind = RESPONSE
        if failure.payload is None or call.state == STATE_CANCELLED:
            # A caller that cancelled discards everything except the end of its call.
            failure.payload = b""
        # Earlier unsent messages are useless now, and so is the rest of a message of which a piece was sent.
        self.drop_unsent(call)
        if not call.answer_begun:
            failure.metadata = None if call.state == STATE_CANCELLED else call.sent_metadata
        elif PyBytes_GET_SIZE(failure.payload) > SMALLEST_PIECE:
            # The failure replaces a RESPONSE of which pieces were sent, so it must not be cut itself.
            failure.payload = b""
        return self.send(failure)

    cdef int send_head(self, Call call, bytes metadata) except -1:
        """Send the initial metadata of a stream.

        Raises:
            EncodeError: the metadata exceeds the peer's limit.
        """
        cdef Outgoing item = new_item(call, HEAD, b"")
        cdef WireSettings peer = (<PartsOwner>self.owner).peer
        cdef Py_ssize_t limit = min(peer.max_metadata, peer.max_frame)
        if PyBytes_GET_SIZE(metadata) > limit:
            raise EncodeError(
                f"the initial metadata has {len(metadata)} bytes, the peer takes at most {limit}",
                hint="raise Limits.metadata_bytes on the other side",
            )
        item.metadata = metadata
        return self.send(item)

    cdef int send_message(self, Call call, bytes payload, uint8_t codec, uint8_t compressor) except -1:
        """Send one message of a stream, as far as its window allows.

        Raises:
            EncodeError: the message exceeds the peer's limit.
        """
        cdef Outgoing item
        cdef Frame frame
        cdef WireSettings peer = (<PartsOwner>self.owner).peer
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), whole = HEADER_SIZE + size
        cdef uint64_t limit = min(peer.max_message, <uint64_t>STREAM_MESSAGE_LIMIT)
        if (<PartsOwner>self.owner).settled and <uint64_t>size > limit:
            raise too_large(size, limit)
        if (
            size <= WRITTEN_AT_ONCE and call.unsent is None and call.id and self.takes_small() and <uint64_t>size <= limit
            and whole <= call.send_left and whole <= self.send_left and size <= <Py_ssize_t>peer.max_frame
            and (size < SMALL_MESSAGE or self._goes_alone(call))
        ):
            # The message can be written immediately, so it needs no Outgoing.
            memset(&frame, 0, sizeof(Frame))
            frame.kind = DATA
            frame.id = call.id
            frame.codec = codec
            frame.compressor = compressor
            frame.payload = PyBytes_AS_STRING(payload)
            frame.payload_size = frame.payload_present = size
            self.put_frame(&frame, payload, 0, size)
            call.send_left -= whole
            self.send_left -= whole
            self.data_frames_sent += 1
            if self.ring is not None:
                self.ring.charge(call, whole)
            return (<PartsOwner>self.owner).written()
        item = new_item(call, DATA, payload)
        item.codec = codec
        item.compressor = compressor
        return self.send(item)

    cdef int send_end(self, Call call) except -1:
        """Send END: we send no further messages of this call."""
        return self.send(new_item(call, END, b""))

    cdef int drop_unsent(self, Call call) except -1:
        """Drop the unwritten messages of a call."""
        cdef Outgoing item = <Outgoing>call.unsent, following
        if item is None:
            return 0
        call.unsent = None
        if item.is_cut:
            self._count_cut(item, -1)
        elif item.had_no_place:
            self._open_next()
        if item.queued_ns:
            # The call never got a slot. Its wait is counted now, because it may be the longest.
            client_waits.counted(max(now_ns(), item.queued_ns) - item.queued_ns)
        if not item.is_parked:
            # The dropped message stays in a queue for now.
            self.dropped += 1
        item.last = None
        while item is not None:
            self.queued_bytes -= PyBytes_GET_SIZE(item.payload) - item.offset
            item.is_dropped = True
            # The queue may still hold the item, which must not keep the payload in memory.
            item.payload = b""
            item.call = None
            following = item.next
            item.next = None
            item = following
        if self.dropped > FEW_DROPPED:
            forget_dropped(self.queues(), &self.dropped)
            if self.ring is not None and self.dropped == 0:
                self.ring.recount()
        return 0 if call.id else (<PartsOwner>self.owner).caller_hooks.was_unsent(call)

    cdef int drop_answer(self, Call call) except -1:
        """Handle a CANCEL of the caller: if the handler has already answered, send only the end of the call."""
        cdef Outgoing answer
        cdef int status
        if call.unsent is None:
            return 0
        answer = (<Outgoing>call.unsent).last
        status = CANCELLED if call.answer_begun else answer.status or CANCELLED
        if answer.kind == RESPONSE:
            return self.send_failure(call, new_failure(status, answer.outcome, ""))
        return self.drop_unsent(call)

    cdef int forget_all(self, list calls) except -1:
        """Drop all waiting messages, including messages of these calls, without notice, as the connection is lost."""
        let_go_of_all(calls, self.queues())
        self.ring = None
        self.queued_bytes = self.cut_bytes = self.dropped = 0
        self.drop()
        self.control.clear()
        self.control.release()
        return 0

    cdef bint holds_messages(self, list calls) except -1:
        """Return whether a message of these calls or of a queue waits, even an empty message."""
        return any_waits(calls, self.queues())

    # Sending a message

    cdef int send(self, Outgoing item) except -1:
        cdef Call call = item.call
        cdef Outgoing first = <Outgoing>call.unsent
        if first is not None and first.kind == TURN and first.last is first and (item.kind == RESPONSE or item.kind == END):
            # The stream ends without another message, and its end needs no turn.
            self.drop_unsent(call)
            first = None
        self.queued_bytes += PyBytes_GET_SIZE(item.payload)
        if first is not None:
            first.last.next = item
            first.last = item
        else:
            item.last = item
            call.unsent = item
            self.enqueue(item)
        if item.kind == RESPONSE and call.unsent is not None:
            (<PartsOwner>self.owner).callee_hooks.answer_waits(call)
        return 0

    cdef int enqueue(self, Outgoing item) except -1:
        """Write the first message of a call and its successors, or put it into its queue."""
        cdef Call call = item.call
        cdef int done = WRITTEN
        while item is not None and done == WRITTEN:
            if item.kind == TURN or PyBytes_GET_SIZE(item.payload) > SMALL_MESSAGE:
                self.shared_ring().add(item)
                break
            done = self._write_whole(item) if self.takes_small() else BLOCKED
            if done == BLOCKED:
                self.small_of(call).append(item)
            item = <Outgoing>call.unsent
        return (<PartsOwner>self.owner).written()

    cdef bint has_room(self, Call call) noexcept:
        """Return whether a stream may send its next message now: the output is not full, and no other has the turn."""
        return not self.is_full() and (self.ring is None or not self.ring.is_used_up(call))

    cdef bint is_full_for(self, Call call) noexcept:
        """Return whether a stream waits for output to be sent or for its turn; waits for credit do not count."""
        if (<PartsOwner>self.owner).hears_of_room:
            return self.is_stuck() or not self.has_room(call)
        # The stream of a blocking client does not report: its thread waits until the system accepts output.
        return self.is_full() or self.below().is_stuck()

    cdef bint _goes_alone(self, Call call) noexcept:
        """Return whether a large stream message may be sent immediately: nothing waits for a turn, and there is room."""
        return not self.has_pieces() and self.has_room(call)

    cdef int wait_turn(self, Call call) except -1:
        """Let a stream without room wait for its turn. `wake` notifies it."""
        call.waits_to_send = True
        return self.send(new_item(call, TURN, b""))

    cdef DeficitRing shared_ring(self):
        if self.ring is None:
            self.ring = DeficitRing()
        return self.ring

    cdef Queue small_of(self, Call call):
        if self.small is None:
            self.small = PriorityQueue()
        return self.small.of(call.priority)

    cdef int _ended(self, Outgoing item) except -1:
        """Finish a message whose last byte was written; the next one becomes the first of its call."""
        cdef Call call = item.call
        cdef Outgoing following = item.next
        if following is not None:
            following.last = item.last
        call.unsent = following
        item.next = item.last = None
        if item.is_cut:
            self._count_cut(item, -1)
        if item.kind == REQUEST:
            if call.handed_at == 0:
                call.handed_at = self.flushes + 1
        elif item.kind == RESPONSE:
            (<PartsOwner>self.owner).callee_hooks.answered(call)
        if call.waits_to_send and following is None:
            call.waits_to_send = False
            self.woken += 1
            self.wake(call)
        return 0

    cdef int _count_cut(self, Outgoing item, int change) except -1:
        if not self.ring.count_cut(item, change):
            return 0
        self.cut_bytes += change * (PyBytes_GET_SIZE(item.payload) - item.offset)
        return self._open_next() if change < 0 else 0

    cdef tuple queues(self):
        """Return the queues in which a message may wait."""
        cdef list queues = [] if self.small is None else self.small.queues()
        if self.ring is not None:
            queues.append(self.ring.items)
            if self.ring.unopened is not None:
                queues += self.ring.unopened.queues()
        return tuple(queues)

    cdef int _write_whole(self, Outgoing item) except -1:
        """Write a message in one frame, if its credit allows it."""
        cdef Frame frame
        cdef Call call = item.call
        cdef WireSettings peer = (<PartsOwner>self.owner).peer
        cdef Py_ssize_t size = PyBytes_GET_SIZE(item.payload), whole
        if item.kind == DATA and call.is_local and <uint64_t>size > peer.max_message:
            return self._over_limit_now(item)
        fill_frame(&frame, item, (<PartsOwner>self.owner).now)
        whole = self.wire.head_size(&frame) + size
        if whole - HEADER_SIZE > <Py_ssize_t>peer.max_frame:
            # Names and metadata are so long that the payload does not fit into the same frame and has to be cut.
            self.shared_ring().add(item)
            return PARKED
        if item.kind == DATA and whole > call.send_left:
            if size > SMALLEST_PIECE:
                # A message longer than the window is cut. The first piece states the total, so the receiver can make room.
                self.shared_ring().add(item)
            else:
                item.is_parked = item.has_waited = True
            return PARKED
        if whole > self.send_left and item.kind != END:
            return BLOCKED
        if item.kind == REQUEST and frame.timeout_us == 0:
            # The deadline of the call has passed. Its caller ends it, and it is never sent.
            self.drop_unsent(call)
            return WRITTEN
        self._write_first(item, &frame, size)
        self._ended(item)
        return WRITTEN

    cdef int _write_first(self, Outgoing item, Frame* frame, Py_ssize_t size) except -1:
        """Write the first frame of a message, with `size` bytes of its payload."""
        cdef Call call = item.call
        cdef Py_ssize_t cost = self.wire.head_size(frame) + size
        if item.kind == REQUEST:
            (<PartsOwner>self.owner).caller_hooks.begin_call(call)
            frame.id = call.id
        if item.kind == DATA:
            call.send_left -= cost
            item.has_waited = False
        if item.kind != END:
            self.send_left -= cost
            self.data_frames_sent += 1
        if self.ring is not None:
            self.ring.charge(call, cost)
        self.queued_bytes -= size
        self.put_frame(frame, item.payload, 0, size)
        item.offset = size
        return 0

    cdef int _write_piece(self, Outgoing item) except -1:
        """Write the next frame of a large message, as long as the share of its call allows. A small rest is included."""
        cdef Frame frame
        cdef Call call = item.call
        cdef WireSettings peer = (<PartsOwner>self.owner).peer
        cdef Py_ssize_t size = PyBytes_GET_SIZE(item.payload), left = size - item.offset, head, room
        if item.kind == DATA and call.is_local and not item.is_cut and <uint64_t>size > peer.max_message:
            return self._over_limit_now(item)
        fill_frame(&frame, item, (<PartsOwner>self.owner).now)
        head = self.wire.head_size(&frame)
        room = room_for(item, <Py_ssize_t>peer.max_frame, <Py_ssize_t>self.send_left)
        # A call that is alone may be sent while it owes bytes. Its share is then negative, hence max(0, …).
        if head + left > room or left > max(<int64_t>0, call.share) + SMALLEST_PIECE:
            if not self.ring.may_cut(item, peer.open_messages):
                item.is_saving = head + left <= room
                return SAVING if item.is_saving else UNOPENED
            frame.flags |= MORE
            frame.total = size
            head = self.wire.head_size(&frame)
            if head - HEADER_SIZE + SMALLEST_PIECE > <Py_ssize_t>peer.max_frame:
                return self._unsendable(item, head)
            if room - head < SMALLEST_PIECE:
                item.is_parked = item.kind == DATA and call.send_left <= self.send_left
                item.has_waited = item.has_waited or item.is_parked
                return PARKED if item.is_parked else BLOCKED
            left = min(room - head, max(<Py_ssize_t>call.share, <Py_ssize_t>SMALLEST_PIECE))
        if item.is_cut:
            self._write_next(item, &frame, left)
        elif item.kind == REQUEST and frame.timeout_us == 0:
            self.drop_unsent(call)
            return WRITTEN
        else:
            self._write_first(item, &frame, left)
        if item.offset == size:
            self._ended(item)
            return WRITTEN
        if not item.is_cut:
            item.is_cut = True
            call.answer_begun = call.answer_begun or item.kind == RESPONSE
            self._count_cut(item, 1)
        return BEGUN

    cdef int _write_next(self, Outgoing item, Frame* frame, Py_ssize_t size) except -1:
        """Write a frame that continues a message, with `size` bytes of its payload."""
        self.send_left -= HEADER_SIZE + size
        self.data_frames_sent += 1
        if item.kind == DATA:
            item.call.send_left -= size
            item.has_waited = False
        else:
            self.cut_bytes -= size
        self.queued_bytes -= size
        self.ring.charge(item.call, HEADER_SIZE + size)
        self.put_frame(frame, item.payload, item.offset, size)
        item.offset += size
        return 0

    cdef int _over_limit_now(self, Outgoing item) except -1:
        """Keep a message until the peer's limit is known; fail it if the limit is known."""
        cdef Call call = item.call
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not owner.settled:
            item.is_parked = True
            return PARKED
        error = too_large(PyBytes_GET_SIZE(item.payload), owner.peer.max_message)
        owner.caller_hooks.give_up(call, CANCEL_LOCAL_LIMIT)
        (<NativeCalling>owner.calling).on_unsendable(call, error)
        return WRITTEN

    cdef int _unsendable(self, Outgoing item, Py_ssize_t head) except -1:
        """Send an error in place of a message whose metadata leaves no room for a piece in the peer's frames."""
        cdef Call call = item.call
        cdef int done
        cdef WireSettings peer = (<PartsOwner>self.owner).peer
        cdef object error = head_too_large(head, peer.max_frame)
        if item.kind == REQUEST:
            self.drop_unsent(call)
            (<NativeCalling>(<PartsOwner>self.owner).calling).on_unsendable(call, error)
            return WRITTEN
        self.queued_bytes -= PyBytes_GET_SIZE(item.payload)
        item.payload = b""
        item.metadata = None
        if item.kind == RESPONSE and item.status == 0:
            item.status = RESOURCE_EXHAUSTED
            item.outcome = OUTCOME_RAN
            item.text = error.message.encode()
        # Without payload and metadata the message fits into one frame.
        done = self._write_whole(item)
        if done == BLOCKED:
            self.small_of(call).appendleft(item)
            done = PARKED
        return done

    cdef int raise_credit(self, Call call, uint32_t size) except -1:
        """Add credit to a call, or to the connection if `call` is None; return 1 if the sum exceeds the highest window."""
        if call is None:
            if self.send_left + size > HIGHEST_WINDOW:
                return 1
            self.send_left += size
        else:
            if call.send_left + size > HIGHEST_WINDOW:
                return 1
            call.send_left += size
            self.unpark(call)
        if self.is_waiting():
            (<PartsOwner>self.owner).written()
        return 0

    cdef int unpark(self, Call call) except -1:
        """Put a parked message, which waited for credit or settings, back into its queue."""
        cdef Outgoing item = <Outgoing>call.unsent
        if item is not None and item.is_parked:
            item.is_parked = False
            if item.is_cut:
                self.ring.add(item)
            else:
                self.enqueue(item)
        return 0

    cdef int pump(self, Py_ssize_t room, bint with_large) except -1:
        """Write messages as credit allows: small messages first, then pieces until the output has `room` bytes."""
        cdef Outgoing item
        cdef Call call
        cdef Queue small
        self.woken = 0
        self.lacks_credit = False
        while self.has_small() and not (with_large and self._is_turn_of_large()):
            small = self.small.first()
            item = <Outgoing>small.popleft()
            if item.is_dropped:
                continue
            call = item.call
            if self._write_whole(item) == BLOCKED:
                small.appendleft(item)
                self.lacks_credit = True
                return 0
            if call.unsent is not None and call.unsent is not item:
                self.enqueue(<Outgoing>call.unsent)
        return self._pump_ring(room) if with_large and self.has_pieces() else 0

    cdef int _pump_ring(self, Py_ssize_t room) except -1:
        """Let each id of the ring send its share until the output has `room` bytes. The first id may always send."""
        cdef Outgoing item
        cdef Call call
        cdef DeficitRing ring = self.ring
        cdef int done = WRITTEN
        cdef Py_ssize_t before = self.out.size + self.chunk_bytes, granted = 0, written = 0, more
        ring.begin_turn(room)
        while done != BLOCKED:
            item = ring.next()
            if item is None:
                return 0
            if self.woken and item.call.share_turn == ring.round.turn:
                # The id has had its turn, and streams that were notified of room have not sent yet.
                return ring.add_first(item)
            # Headers and small rests may exceed the share.
            more = granted + written + item.quantum * ring.round.quanta_at_once - SMALLEST_PIECE
            if (more > room and granted + written) or (before + more > room and written and item.kind != TURN):
                return ring.add_first(item)
            if ring.grant(item) <= 0:
                # The id still owes bytes that it sent beyond its share.
                ring.add(item)
            elif item.kind == TURN:
                # The share of the stream counts as written, although its task sends only later.
                call = item.call
                granted += call.share
                self._ended(item)
                if call.unsent is not None:
                    self.enqueue(<Outgoing>call.unsent)
            else:
                done = self._send_share(item)
                written = self.out.size + self.chunk_bytes - before
        return 0

    cdef int _send_share(self, Outgoing item) except -1:
        """Write pieces of a message until the share of its call is used up."""
        cdef Call call = item.call
        cdef int64_t before = self.send_left
        cdef int done = self._write_piece(item)
        while done == BEGUN and (
            (call.share > 0 and before - self.send_left < item.quantum)
            or PyBytes_GET_SIZE(item.payload) - item.offset <= SMALLEST_PIECE
        ):
            # Loop because the peer's frames may be shorter than the share, and to send a small rest with its last frame.
            done = self._write_piece(item)
        if done == BEGUN or done == SAVING:
            self.ring.add(item)
        elif done == BLOCKED:
            self.ring.add_first(item)
        elif done == UNOPENED:
            self.ring.await_place(item)
        elif done == WRITTEN or (done == PARKED and not item.is_parked):
            if item.had_no_place:
                # The message needs no place among the cut messages any more: it was written, or failed and is small now.
                item.had_no_place = False
                self._open_next()
            if done == WRITTEN and call.unsent is not None:
                self.enqueue(<Outgoing>call.unsent)
        return done

    cdef int _open_next(self) except -1:
        """Put the first waiting message, by priority, into the ring if one more may be cut."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        return owner.written() if self.ring.open_next(owner.peer.open_messages) else 0
