"""What a connection sends: order, credit, call slots, and the pieces of large messages.

::

    request, answer, message ──► slot? ──► credit? ──► small: copied into `out` ──┐
                                   │          │                                     ├──► take_output()
                             slot_waiters   small    large: one piece a call ───────┘
    control frames ─────────────────────────────────► `control`: before everything ┘

A message is cut when it is sent, never earlier, so a small one that comes later still goes first. Ids are given
when the first frame is written: they appear in rising order whatever waited.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, PyObject
from libc.string cimport memset

from collections import deque

from fastrpc._core.call cimport (
    NO_DEADLINE,
    STATE_GIVEN_UP,
    STATE_GONE,
    STATE_WAITING,
)
from fastrpc._core.frame cimport (
    CANCEL,
    CONT,
    CREDIT,
    DATA,
    END,
    HEAD,
    HEADER_SIZE,
    IDEMPOTENT,
    MORE,
    ONE_WAY,
    REQUEST,
    RESPONSE,
    STREAM_IN,
    STREAM_OUT,
    TIMEOUT_NONE,
)
from fastrpc._core.window cimport FIRST_CONNECTION_WINDOW, HIGHEST_WINDOW, open_window
from fastrpc._core.wire cimport store16, store32

from fastrpc.errors import EncodeError

cdef enum:
    EARLY_NONE = 0
    EARLY_IDEMPOTENT = 1
    EARLY_ALL = 2
    # A payload part this long is handed to the transport as it is instead of being copied into `out`.
    UNCOPIED = 16_384
    # A piece shorter than this waits for more credit, unless it is the last one.
    SMALLEST_PIECE = 4_096
    # What became of an attempt to write.
    BLOCKED = 0
    WRITTEN = 1
    PARKED = 2
    BEGUN = 3

EARLY_CALLS = {"none": EARLY_NONE, "idempotent": EARLY_IDEMPOTENT, "all": EARLY_ALL}


@cython.final
cdef class Outgoing:
    """A message on its way out that could not be written at once."""


cdef class Outbox(Timed):
    """The sending half of a connection; `Connection` adds the receiving one."""

    def __cinit__(self, *arguments, **options):
        self.control = WriteBuffer()
        self.out = WriteBuffer()
        self.chunks = []
        self.slot_waiters = deque()
        self.small = deque()
        self.large = deque()
        self.begun = deque()
        self.opened = CallTable()
        self.accepted = CallTable()
        self.send_left = FIRST_CONNECTION_WINDOW
        self.early_calls = EARLY_IDEMPOTENT

    # Calls of ours

    cdef bint may_open(self, Call call) noexcept:
        """Whether the peer's limits, or the floor before it named them, leave room for this call."""
        if not self.settled:
            if self.early_calls == EARLY_NONE or (self.early_calls == EARLY_IDEMPOTENT and not call.flags & IDEMPOTENT):
                return False
            if call.codec > 1 or call.compressor:
                return False
        return self.opened.size < <Py_ssize_t>self.peer.max_calls

    cdef int send_request(self, Call call, bytes payload) except -1:
        """Send a REQUEST now, or as soon as a slot, credit and its turn allow it."""
        cdef Outgoing item
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef bint fits = <uint64_t>size <= self.peer.max_message
        if not fits and self.settled:
            raise too_large(size, self.peer.max_message)
        if fits and self.may_open(call):
            return self._open(call, payload, None)
        item = new_item(call, REQUEST, payload)
        item.last = item
        call.unsent = item
        self.queued_bytes += size
        self.slot_waiters.append(item)
        return 0

    cdef int _open(self, Call call, bytes payload, Outgoing item) except -1:
        if PyBytes_GET_SIZE(payload) <= SMALL_MESSAGE and not self.small and self._write_request(call, payload):
            return 0
        if item is None:
            item = new_item(call, REQUEST, payload)
        return self._send(item)

    cdef bint _write_request(self, Call call, bytes payload) except -1:
        """Write a small REQUEST if it fits the credit and one frame."""
        cdef Frame frame
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), whole
        self._fill_request(&frame, call)
        whole = self.wire.head_size(&frame) + size
        if whole > self.send_left or whole - HEADER_SIZE > <Py_ssize_t>self.peer.max_frame:
            return False
        if frame.timeout_us == 0:
            # Nothing is left of its time: the caller's deadline ends it, unsent.
            return True
        self._begin(call)
        frame.id = call.id
        frame.payload = PyBytes_AS_STRING(payload)
        frame.payload_size = frame.payload_present = size
        self.wire.write(self.out, &frame)
        self.send_left -= whole
        self.data_frames_sent += 1
        call.handed_at = self.flushes + 1
        self.on_output()
        return True

    cdef int _begin(self, Call call) except -1:
        """Give the call its id: from here on the peer knows it."""
        call.id = self.next_id
        self.next_id += 2
        if call.flags & ONE_WAY:
            call.state = STATE_GONE
        else:
            call.state = STATE_WAITING
            if call.flags & (STREAM_IN | STREAM_OUT):
                # The floor holds for REQUESTs in front of our ACK of the peer's first SETTINGS.
                call.send_left = self.peer.stream_window if self.settled else FIRST_CONNECTION_WINDOW
                open_window(&call.window, self.our_stream_window)
            self.opened.add(call.id, <PyObject*>call)
        return 0

    cdef int release_slots(self) except -1:
        """Start waiting calls as far as slots allow; called when a slot was freed or the peer's limits arrived."""
        cdef Outgoing item
        cdef Py_ssize_t left = len(self.slot_waiters)
        while left > 0:
            left -= 1
            item = <Outgoing>self.slot_waiters.popleft()
            if item.is_dropped:
                continue
            if not self.may_open(item.call) or PyBytes_GET_SIZE(item.payload) > <Py_ssize_t>self.peer.max_message:
                if self.settled and PyBytes_GET_SIZE(item.payload) > <Py_ssize_t>self.peer.max_message:
                    self.queued_bytes -= PyBytes_GET_SIZE(item.payload)
                    item.call.unsent = None
                    self.on_unsendable(item.call, too_large(PyBytes_GET_SIZE(item.payload), self.peer.max_message))
                    continue
                self.slot_waiters.appendleft(item)
                if self.settled:
                    return 0
                self.slot_waiters.rotate(-1)
                continue
            self.queued_bytes -= PyBytes_GET_SIZE(item.payload)
            item.call.unsent = None
            self._open(item.call, item.payload, item)
        return 0

    cdef int give_up(self, Call call, int reason) except -1:
        """Stop a call of ours: never sent if it still waits, else CANCEL; its slot is free after the RESPONSE."""
        if call.state == STATE_GONE or call.state == STATE_GIVEN_UP:
            return 0
        self.drop_unsent(call)
        if call.id == 0:
            call.state = STATE_GONE
            return 0
        call.state = STATE_GIVEN_UP
        return self.send_cancel(call, reason)

    cdef int drop_unsent(self, Call call) except -1:
        """Forget what was not written yet of a call's messages."""
        cdef Outgoing item = <Outgoing>call.unsent
        while item is not None:
            item.is_dropped = True
            self.queued_bytes -= PyBytes_GET_SIZE(item.payload) - item.offset
            item = item.next
        call.unsent = None
        return 0

    cdef list unsent_calls(self):
        """Our calls of which the peer has not seen a byte."""
        return [
            (<Outgoing>item).call
            for queue in (self.slot_waiters, self.small, self.large)
            for item in queue
            if not (<Outgoing>item).is_dropped and (<Outgoing>item).kind == REQUEST and (<Outgoing>item).call.id == 0
        ]

    cdef bint was_handed(self, Call call) noexcept:
        """Whether the last piece of the REQUEST was given to the transport: from then on nobody knows if it ran."""
        return call.handed_at != 0 and call.handed_at <= self.flushes

    # Messages

    cdef int send_response(self, Call call, bytes payload, uint32_t elapsed_us) except -1:
        """Answer with a value; the call is over when the last piece is written."""
        cdef Frame frame
        cdef Outgoing item
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), whole
        if size <= SMALL_MESSAGE and call.unsent is None and not self.small:
            memset(&frame, 0, sizeof(Frame))
            frame.kind = RESPONSE
            frame.id = call.id
            frame.codec = call.codec
            frame.compressor = call.compressor
            frame.elapsed_us = elapsed_us
            if call.sent_metadata is not None:
                frame.metadata = PyBytes_AS_STRING(call.sent_metadata)
                frame.metadata_size = PyBytes_GET_SIZE(call.sent_metadata)
            whole = self.wire.head_size(&frame) + size
            if whole <= self.send_left and whole - HEADER_SIZE <= <Py_ssize_t>self.peer.max_frame:
                frame.payload = PyBytes_AS_STRING(payload)
                frame.payload_size = frame.payload_present = size
                self.wire.write(self.out, &frame)
                self.send_left -= whole
                self.data_frames_sent += 1
                self._forget(call)
                self.on_output()
                return 0
        item = new_item(call, RESPONSE, payload)
        item.elapsed_us = elapsed_us
        item.metadata = call.sent_metadata
        return self._send(item)

    cdef int send_failure(self, Call call, Outgoing failure) except -1:
        """Answer with a status; `failure` carries status, outcome, text and, as its payload, the details."""
        failure.call = call
        failure.kind = RESPONSE
        failure.metadata = call.sent_metadata
        # What was not begun of earlier messages is of no use any more; a piece that went out needs no rest.
        self.drop_unsent(call)
        return self._send(failure)

    cdef int send_head(self, Call call, bytes metadata) except -1:
        """Commit the initial metadata of a stream."""
        cdef Outgoing item = new_item(call, HEAD, b"")
        item.metadata = metadata
        return self._send(item)

    cdef int send_message(self, Call call, bytes payload) except -1:
        """Send one message of a stream, as its window allows."""
        return self._send(new_item(call, DATA, payload))

    cdef int send_end(self, Call call) except -1:
        """Say that no further message of ours will follow."""
        return self._send(new_item(call, END, b""))

    cdef int send_cancel(self, Call call, int reason) except -1:
        cdef Frame frame
        cdef char[4] body
        store16(body, <uint16_t>reason)
        store16(body + 2, 0)
        memset(&frame, 0, sizeof(Frame))
        frame.kind = CANCEL
        frame.id = call.id
        frame.payload = body
        frame.payload_size = frame.payload_present = 4
        self.wire.write(self.out, &frame)
        return self.on_output()

    cdef int send_credit(self, uint64_t id, uint32_t size) except -1:
        cdef Frame frame
        cdef char[4] body
        store32(body, size)
        memset(&frame, 0, sizeof(Frame))
        frame.kind = CREDIT
        frame.id = id
        frame.payload = body
        frame.payload_size = frame.payload_present = 4
        self.wire.write(self.control, &frame)
        return self.on_output()

    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1:
        """Write a frame of the connection itself into `control` or, where order matters, into `out`."""
        cdef Frame frame
        memset(&frame, 0, sizeof(Frame))
        frame.kind = kind
        frame.flags = flags
        frame.payload = PyBytes_AS_STRING(body)
        frame.payload_size = frame.payload_present = PyBytes_GET_SIZE(body)
        self.wire.write(buffer, &frame)
        return self.on_output()

    # Hooks

    cdef int on_output(self) except -1:
        """There is something to take."""
        return 0

    cdef int on_answered(self, Call call) except -1:
        """The last piece of the RESPONSE to a call of theirs is written."""
        return 0

    cdef int on_unsendable(self, Call call, object error) except -1:
        """A waiting call of ours turned out to be over the limits the peer has now announced."""
        return 0

    # How a message leaves

    cdef int _send(self, Outgoing item) except -1:
        cdef Call call = item.call
        cdef Outgoing first = <Outgoing>call.unsent
        self.queued_bytes += PyBytes_GET_SIZE(item.payload)
        if first is not None:
            first.last.next = item
            first.last = item
            return 0
        item.last = item
        call.unsent = item
        return self._enqueue(item)

    cdef int _enqueue(self, Outgoing item) except -1:
        """Write the first message of a call, or put it into the queue it belongs to."""
        cdef int done
        if PyBytes_GET_SIZE(item.payload) > SMALL_MESSAGE:
            self.large.append(item)
        elif self.small:
            self.small.append(item)
        else:
            done = self._write_whole(item)
            if done == BLOCKED:
                self.small.append(item)
        return self.on_output()

    cdef int _ended(self, Outgoing item) except -1:
        """The last byte of a message is written."""
        cdef Call call = item.call
        cdef Outgoing following = item.next
        call.unsent = following
        if following is not None:
            following.last = item.last
        if item.kind == REQUEST:
            call.handed_at = self.flushes + 1
        elif item.kind == RESPONSE:
            self._forget(call)
        if following is not None:
            self._enqueue(following)
        return 0

    cdef int _forget(self, Call call) except -1:
        """A RESPONSE of ours is complete: the call is gone."""
        cdef PyObject* entry
        if call.is_listed:
            entry = self.accepted.take(call.id)
            if entry is not NULL:
                Py_DECREF(<object>entry)
            call.is_listed = False
        self.on_answered(call)
        call.state = STATE_GONE
        return 0

    cdef int _fill_request(self, Frame* frame, Call call) noexcept:
        memset(frame, 0, sizeof(Frame))
        frame.kind = REQUEST
        frame.flags = call.flags
        frame.codec = call.codec
        frame.compressor = call.compressor
        frame.attempt = call.attempt_number
        frame.priority = <uint8_t>call.priority
        frame.method = PyBytes_AS_STRING(call.route.name)
        frame.method_size = PyBytes_GET_SIZE(call.route.name)
        if call.sent_metadata is not None:
            frame.metadata = PyBytes_AS_STRING(call.sent_metadata)
            frame.metadata_size = PyBytes_GET_SIZE(call.sent_metadata)
        if call.deadline_ns == NO_DEADLINE:
            frame.timeout_us = TIMEOUT_NONE
        elif call.deadline_ns > self.now:
            frame.timeout_us = (call.deadline_ns - self.now) // 1000
        return 0

    cdef int _fill(self, Frame* frame, Outgoing item) noexcept:
        """Set the fields of the first frame of a message."""
        cdef Call call = item.call
        if item.kind == REQUEST:
            self._fill_request(frame, call)
            return 0
        memset(frame, 0, sizeof(Frame))
        frame.kind = item.kind
        frame.codec = call.codec
        frame.compressor = call.compressor
        frame.id = call.id
        if item.kind == RESPONSE:
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

    cdef int _write_whole(self, Outgoing item) except -1:
        """Write a message in one frame, if its credit allows it."""
        cdef Frame frame
        cdef Call call = item.call
        cdef Py_ssize_t size = PyBytes_GET_SIZE(item.payload), whole
        cdef bint is_free = item.kind == END
        self._fill(&frame, item)
        whole = self.wire.head_size(&frame) + size
        if whole - HEADER_SIZE > <Py_ssize_t>self.peer.max_frame:
            # Its names are so long that even this payload has to be cut.
            self.large.append(item)
            return PARKED
        if item.kind == DATA and whole > call.send_left:
            if size > SMALLEST_PIECE:
                # What does not fit is cut: the receiver learns its total and can make room for it.
                self.large.append(item)
            else:
                item.is_parked = True
            return PARKED
        if whole > self.send_left and not is_free:
            return BLOCKED
        self.queued_bytes -= size
        if item.kind == REQUEST:
            if frame.timeout_us == 0:
                call.unsent = None
                return WRITTEN
            self._begin(call)
            frame.id = call.id
        frame.payload_size = size
        if not is_free:
            self.send_left -= whole
            self.data_frames_sent += 1
        if item.kind == DATA:
            call.send_left -= whole
        self._put(&frame, item.payload, 0, size)
        self._ended(item)
        return WRITTEN

    cdef int _write_piece(self, Outgoing item) except -1:
        """Write the next frame of a large message."""
        cdef Frame frame
        cdef Call call = item.call
        cdef Py_ssize_t size = PyBytes_GET_SIZE(item.payload), left = size - item.offset, head, room
        if item.offset == 0:
            self._fill(&frame, item)
            if item.kind == REQUEST and call.id == 0:
                if frame.timeout_us == 0:
                    self.drop_unsent(call)
                    return WRITTEN
        else:
            memset(&frame, 0, sizeof(Frame))
            frame.kind = DATA
            frame.flags = CONT
            frame.codec = call.codec
            frame.compressor = call.compressor
        head = self.wire.head_size(&frame)
        room = min(<Py_ssize_t>self.peer.max_frame + HEADER_SIZE, <Py_ssize_t>self.send_left)
        if item.kind == DATA:
            # A stream's window does not count the header of a piece that continues a message.
            room = min(room, <Py_ssize_t>call.send_left + (HEADER_SIZE if item.offset else 0))
        if head + left > room:
            frame.flags |= MORE
            head = self.wire.head_size(&frame)
            if room - head < SMALLEST_PIECE:
                if item.kind == DATA and call.send_left <= self.send_left:
                    item.is_parked = True
                    return PARKED
                return BLOCKED
            left = room - head
            frame.total = size
        if item.kind == REQUEST and call.id == 0:
            self._begin(call)
        frame.id = call.id
        frame.payload_size = left
        self.send_left -= head + left
        self.data_frames_sent += 1
        if item.kind == DATA:
            call.send_left -= left + (0 if item.offset else head)
        self.queued_bytes -= left
        self._put(&frame, item.payload, item.offset, left)
        item.offset += left
        if item.offset < size:
            return BEGUN
        self._ended(item)
        return WRITTEN

    cdef int _put(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1:
        """Write a frame; a long payload part goes beside the buffer, uncopied."""
        frame.payload = PyBytes_AS_STRING(payload) + offset
        frame.payload_size = size
        frame.payload_present = size if size < UNCOPIED else 0
        self.wire.write(self.out, frame)
        if size >= UNCOPIED:
            self.chunks.append(self.out.take())
            if size == PyBytes_GET_SIZE(payload):
                self.chunks.append(payload)
            else:
                self.chunks.append(memoryview(payload)[offset:offset + size])
            self.chunk_bytes += size
        return 0

    cdef int raise_credit(self, Call call, uint32_t size) except -1:
        """Take credit over, of the connection when `call` is None; returns 1 when the sum is above its bound."""
        cdef Outgoing item
        if call is None:
            self.send_left += size
            if self.send_left > HIGHEST_WINDOW:
                return 1
        else:
            call.send_left += size
            if call.send_left > HIGHEST_WINDOW:
                return 1
            item = <Outgoing>call.unsent
            if item is not None and item.is_parked:
                item.is_parked = False
                if item.offset:
                    self.begun.append(item)
                else:
                    self._enqueue(item)
        if self.small or self.large or self.begun:
            self.on_output()
        return 0

    cdef int pump(self, Py_ssize_t room) except -1:
        """Move what credit allows into the output: small messages first, then pieces until `room` bytes lie there."""
        cdef Outgoing item
        while self.small:
            item = <Outgoing>self.small.popleft()
            if not item.is_dropped and self._write_whole(item) == BLOCKED:
                self.small.appendleft(item)
                return 0
        return self._pump_large(room)

    cdef int _pump_large(self, Py_ssize_t room) except -1:
        cdef Outgoing item
        cdef int done
        while self.out.size + self.chunk_bytes < room:
            item = self._next_large()
            if item is None:
                return 0
            done = self._write_piece(item)
            if done == BEGUN:
                self.begun.append(item)
            elif done == BLOCKED:
                (self.begun if item.offset else self.large).appendleft(item)
                return 0
        return 0

    cdef Outgoing _next_large(self):
        """The message whose turn it is: begun ones in turn, new ones as long as the peer takes that many cut ones."""
        cdef Outgoing item
        self.begun_first = not self.begun_first
        drop_dead(self.large)
        drop_dead(self.begun)
        if self.large and (not self.begun or not self.begun_first):
            if <Py_ssize_t>len(self.begun) < self.peer.open_messages:
                return <Outgoing>self.large.popleft()
        if self.begun:
            return <Outgoing>self.begun.popleft()
        return None

    cdef object take_output(self):
        """Return what is to be written now: bytes, or a list of bytes-like parts in order."""
        cdef list parts
        self.flushes += 1
        if not self.chunks and self.control.size == 0:
            return self.out.take()
        parts = self.chunks
        self.chunks = []
        self.chunk_bytes = 0
        if self.out.size:
            parts.append(self.out.take())
        if self.control.size:
            parts.insert(0, self.control.take())
        return parts

    cdef bint has_output(self) noexcept:
        return self.out.size + self.control.size + self.chunk_bytes > 0


cdef Outgoing new_item(Call call, int kind, bytes payload):
    cdef Outgoing item = Outgoing.__new__(Outgoing)
    item.call = call
    item.kind = kind
    item.payload = payload
    return item


cdef int drop_dead(object queue) except -1:
    """Remove dropped messages from the front of a queue."""
    while queue and (<Outgoing>queue[0]).is_dropped:
        queue.popleft()
    return 0


cdef object too_large(Py_ssize_t size, uint64_t limit):
    return EncodeError(
        f"the message has {size} bytes, the peer takes at most {limit}",
        hint="raise Limits.message_bytes on the other side, or stream the value",
    )
