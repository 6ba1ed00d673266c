"""The sending half of an HTTP/2 connection: the order of frames, windows, and the pieces of long messages.

::

    head ──────────────────────────────────────────────┐
    message ──► its windows? ──► short: copied ────────┤
                   │                                   ├──► out, chunks
              small, ring: each stream in turn, pieces ┤
    trailers ──► after the messages of its stream ─────┘

The order is as in `native/send_queue`: short messages first, then deficit round robin in bytes. Here streams wait, each
with a chain of messages. A stream whose own window is used up waits outside the queues. A header block refers to the
peer's table in the order of the output, so it is encoded when it is written, and nothing overtakes written output.
Several short messages of a stream share a DATA frame.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

from fastrpc._core.base.big_endian cimport load24_big, store24_big
from fastrpc._core.base.output_buffer cimport UNCOPIED
from fastrpc._core.http2.frames cimport CODE_NONE, FLAG_END_STREAM, HEAD_BYTES, KIND_DATA, LEAST_FRAME_LIMIT
from fastrpc._core.http2.frames cimport close_block, open_block, put_reset, store_head
from fastrpc._core.http2.hpack cimport indexing_of
from fastrpc._core.io.engine cimport STREAM_SHARE
from fastrpc._core.native.outgoing cimport FEW_DROPPED
from fastrpc._core.native.send_queue cimport SMALL_IN_A_ROW, SMALL_MESSAGE
from fastrpc._core.wire.budgets cimport PIECE_COST
from fastrpc._core.wire.rounds cimport MOST_OWED, QUANTUM, granted, has_used_up, next_turn, open_round, take_off

cdef enum:
    # Messages of streams up to this size are written immediately if nothing delays them.
    WRITTEN_AT_ONCE = QUANTUM + MOST_OWED
    # A message is cut only if at least this many bytes are left for later.
    SMALLEST_PIECE = 4_096
    # Bytes without a prefix are appended to waiting ones up to this size, as a separate message costs about 100 bytes.
    JOINED_BYTES = 4_096
    # The result of an attempt to write. BLOCKED: the window of the connection is used up. WRITTEN: all is written.
    # PARKED: the stream waits for its own window. BEGUN: the rest waits for the next turn of the stream.
    BLOCKED = 0
    WRITTEN = 1
    PARKED = 2
    BEGUN = 3


# With the trashcan, a long chain is freed without deep recursion.
@cython.final
@cython.trashcan(True)
@cython.freelist(16)
cdef class Http2Message:
    """A message of a stream that could not be written at once."""


@cython.final
cdef class Http2Sender(OutputBuffer):
    """The streams that wait to send, and the output of the connection."""

    def __cinit__(self, FlowControl flow not None, StreamTable streams not None):
        self.flow = flow
        self.streams = streams
        self.encoder = HpackEncoder()
        self.frame_limit = LEAST_FRAME_LIMIT
        self.small = Queue()
        self.ring = Queue()
        self.woken = []
        self.over = []
        self._open_at = -1
        open_round(&self.round)

    # Output. Nothing is added to the last DATA frame once the output is taken.

    cdef object take(self):
        self._open_at = -1
        return OutputBuffer.take(self)

    cdef int skip(self) except -1:
        self._open_at = -1
        return OutputBuffer.skip(self)

    # Heads and trailers

    @cython.nonecheck(False)
    cdef Py_ssize_t begin_head(self) except -1:
        cdef Py_ssize_t start = open_block(self.out)
        self.encoder.begin(self.out)
        return start

    @cython.nonecheck(False)
    cdef int put_fields(self, HeaderTemplate template, list fields) except -1:
        if template is not None:
            self.encoder.put_template(self.out, template)
        if fields is not None:
            for token, name, value in fields:
                self.encoder.put(self.out, token, name, value, indexing_of(token, name))
        return 0

    @cython.nonecheck(False)
    cdef int end_head(self, Http2Stream stream, Py_ssize_t start, bint ends_stream) except -1:
        close_block(self.out, start, stream.id, FLAG_END_STREAM if ends_stream else 0, self.frame_limit)
        self.frames_sent += 1
        return _ended(self, stream) if ends_stream else 0

    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1:
        cdef Http2Message message
        if stream.unsent is None:
            return _write_trailers(self, stream, template, fields)
        message = Http2Message.__new__(Http2Message)
        message.payload = b""
        message.prefix_at = PREFIX_BYTES
        message.is_trailers = message.ends_stream = True
        message.template = template
        message.fields = fields
        return _add(self, stream, message)

    # Messages

    @cython.nonecheck(False)
    cdef int send(self, Http2Stream stream, const char* prefix, bytes payload, bint ends_stream) except -1:
        cdef Http2Message message
        cdef int prefix_size = 0 if prefix is NULL else PREFIX_BYTES
        cdef Py_ssize_t whole = prefix_size + PyBytes_GET_SIZE(payload)
        cdef bint fits = stream.unsent is None and whole <= self.flow.sendable(&stream.windows)
        if fits and whole <= SMALL_MESSAGE and self.small._items is None and not _is_turn_of_large(self):
            return self._write_short(
                stream, prefix, prefix_size, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), ends_stream
            )
        message = Http2Message.__new__(Http2Message)
        message.payload = payload
        message.ends_stream = ends_stream
        if prefix_size:
            memcpy(message.prefix, prefix, PREFIX_BYTES)
        else:
            message.prefix_at = PREFIX_BYTES
        if fits and SMALL_MESSAGE < whole <= WRITTEN_AT_ONCE and not self.is_waiting() and self.has_room(stream):
            self.queued_bytes += PyBytes_GET_SIZE(payload)
            message.last = message
            stream.unsent = message
            return _write_all(self, stream)
        return _add(self, stream, message)

    @cython.nonecheck(False)
    cdef int _write_short(
        self, Http2Stream stream, const char* prefix, int prefix_size, const char* data, Py_ssize_t size, bint ends_stream
    ) except -1:
        """Write bytes that fit into a frame and the windows; append them to the last frame if it has the same stream."""
        cdef Py_ssize_t whole = prefix_size + size, length
        cdef char* place
        if (
            self._open_at >= 0 and self._open_stream == stream.id and self._open_end == self.out.size
            and whole + self._open_end - self._open_at - HEAD_BYTES <= self.frame_limit
        ):
            place = self.out.reserve(whole) if whole else NULL
            length = load24_big(self.out.data() + self._open_at)
            # The frame header is in the memory of the buffer.
            store24_big(<char*>self.out.data() + self._open_at, <uint32_t>(length + whole))
            if ends_stream:
                (<char*>self.out.data() + self._open_at)[4] = FLAG_END_STREAM
        else:
            self._open_at = self.out.size
            self._open_stream = stream.id
            place = self.out.reserve(HEAD_BYTES + whole)
            store_head(place, whole, KIND_DATA, FLAG_END_STREAM if ends_stream else 0, stream.id)
            place += HEAD_BYTES
        # Messages in the same frame count separately, as their receiver may return credit for each.
        self.frames_sent += 1
        if whole:
            if prefix_size:
                # A plain HTTP body has no prefix. memcpy must not be called with NULL, even for 0 bytes.
                memcpy(place, prefix, <size_t>prefix_size)
            memcpy(place + prefix_size, data, <size_t>size)
            self.flow.sent(&stream.windows, whole)
            take_off(&self.round, &stream.share, &stream.share_turn, QUANTUM, whole)
        self._open_end = self.out.size
        return _ended(self, stream) if ends_stream else 0

    cdef int write_piece(self, Http2Stream stream, Http2Message message, Py_ssize_t size) except -1:
        """Write trailers, or `size` bytes of a message; a long part is added to the output by reference."""
        cdef int prefix_size = <int>min(<Py_ssize_t>(PREFIX_BYTES - message.prefix_at), size)
        cdef Py_ssize_t part = size - prefix_size, offset = message.offset
        cdef const char* prefix = message.prefix + message.prefix_at
        cdef bint ends_stream = message.ends_stream and size == message.left()
        cdef char* place
        if message.is_trailers:
            return _write_trailers(self, stream, message.template, message.fields)
        message.prefix_at += prefix_size
        message.offset += part
        stream.written_bytes += size
        self.written_bytes += size
        self.queued_bytes -= part
        if message.is_cut:
            self.cut_bytes -= part
        else:
            _count_cut(self, message)
        if part < UNCOPIED:
            # The pointer is valid: the message holds its payload.
            return self._write_short(
                stream, prefix, prefix_size, PyBytes_AS_STRING(message.payload) + offset, part, ends_stream
            )
        self._open_at = -1
        place = self.out.reserve(HEAD_BYTES + prefix_size)
        store_head(place, size, KIND_DATA, FLAG_END_STREAM if ends_stream else 0, stream.id)
        memcpy(place + HEAD_BYTES, prefix, <size_t>prefix_size)
        self.keep(message.payload, offset, part)
        self.frames_sent += 1 + size // LEAST_FRAME_LIMIT
        self.flow.sent(&stream.windows, size)
        take_off(&self.round, &stream.share, &stream.share_turn, QUANTUM, size)
        return _ended(self, stream) if ends_stream else 0

    cdef int drop_unsent(self, Http2Stream stream) except -1:
        """Drop the waiting messages of a stream."""
        cdef Http2Message message = <Http2Message>stream.unsent, following
        cdef bint leaves_queue = stream.is_queued and (message is not None or stream.waits_to_send)
        stream.unsent = None
        stream.is_parked = stream.waits_to_send = False
        while message is not None:
            self.queued_bytes -= PyBytes_GET_SIZE(message.payload) - message.offset
            if message.is_cut:
                self.cut_bytes -= PyBytes_GET_SIZE(message.payload) - message.offset
            following = message.next
            message.next = message.last = None
            message = following
        if leaves_queue:
            self.dropped += 1
            if self.dropped > FEW_DROPPED:
                _forget_dropped(self)
        return 0

    cdef int forget_all(self) except -1:
        """Drop all waiting messages and all output, as the connection is lost."""
        for stream in self.streams.entries():
            self.drop_unsent(<Http2Stream>stream)
        _forget_dropped(self)
        self.drop()
        return 0

    # Room

    cdef bint has_room(self, Http2Stream stream) noexcept:
        """Return whether a stream may send its next message now: little output waits, and its share is not used up."""
        return self.size() <= STREAM_SHARE and stream.unsent is None and not has_used_up(
            &self.round, stream.share, stream.share_turn, self.ring._items is not None
        )

    cdef uint64_t stalled_since(self, Http2Stream stream, Stall* stall, uint64_t now) noexcept:
        """Return since when the peer has read nothing of the waiting output of a stream; 0: no output waits."""
        # Streams that wait for the window of the connection take turns, so the bytes of one count for all.
        cdef int64_t written = stream.written_bytes if stream.is_parked else self.written_bytes
        if stream.unsent is None:
            stall.since_ns = 0
        elif stall.since_ns == 0 or written != stall.written or not stream.is_parked and self.flow.sending > 0:
            # If no window blocks the stream, the output waits for the connection, which has a separate rule.
            stall.since_ns = max(stall.since_ns, now)
            stall.written = written
        return stall.since_ns

    cdef int wait_turn(self, Http2Stream stream) except -1:
        """Let a stream wait until all its output is written and it is its turn; `pump` then adds it to `woken`."""
        stream.waits_to_send = True
        if stream.unsent is None and not stream.is_queued:
            _add_to_ring(self, stream, False)
        return 0

    cdef int unpark(self, Http2Stream stream) except -1:
        """Queue a stream again if its own window has room again."""
        if stream.is_parked and _lacks(self, stream) != PARKED:
            stream.is_parked = False
            _enqueue(self, stream)
        return 0

    cdef int unpark_all(self) except -1:
        """Call `unpark` for all streams, as SETTINGS have changed their windows."""
        for stream in self.streams.entries():
            self.unpark(<Http2Stream>stream)
        return 0

    cdef int pump(self, Py_ssize_t room, bint with_large) except -1:
        """Write waiting messages as windows allow: short ones, then pieces of long ones until `room` bytes are unsent."""
        self.lacks_credit = False
        self.is_pumping = True
        if _pump_small(self, with_large) != BLOCKED and with_large and self.ring._items is not None:
            _pump_ring(self, room)
        self.is_pumping = False
        return 0


cdef inline bint _is_turn_of_large(Http2Sender sender) noexcept:
    return sender.size() >= SMALL_IN_A_ROW and len(sender.ring) != 0


cdef int _write_trailers(Http2Sender sender, Http2Stream stream, HeaderTemplate template, list fields) except -1:
    cdef Py_ssize_t start = sender.begin_head()
    sender.put_fields(template, fields)
    return sender.end_head(stream, start, True)


@cython.nonecheck(False)
cdef int _ended(Http2Sender sender, Http2Stream stream) except -1:
    """Note that the last frame of a stream was written.

    If a server ends a stream before the client does, it needs no more input: the stream is reset.
    """
    sender.streams.end(stream)
    if stream.waits_to_send:
        stream.waits_to_send = False
        sender.dropped += stream.is_queued
    if not stream.is_ended_by_peer:
        if sender.streams.is_client or stream.lingers:
            return 0
        put_reset(sender.out, stream.id, CODE_NONE)
        sender.streams.reset(stream, True)
    if sender.is_pumping:
        sender.over.append(stream)
    return 0


cdef int _write_all(Http2Sender sender, Http2Stream stream) except -1:
    """Write the only message of a stream; the windows have room for all of it."""
    cdef Http2Message message = <Http2Message>stream.unsent
    cdef Py_ssize_t left = message.left()
    while left > sender.frame_limit:
        sender.write_piece(stream, message, sender.frame_limit)
        left -= sender.frame_limit
    _finish(stream)
    return sender.write_piece(stream, message, left)


cdef int _add(Http2Sender sender, Http2Stream stream, Http2Message message) except -1:
    """Queue a message after the earlier messages of its stream."""
    cdef Http2Message first = <Http2Message>stream.unsent
    sender.queued_bytes += PyBytes_GET_SIZE(message.payload)
    if first is not None:
        if _joins(sender, first.last, message):
            return 0
        first.last.next = message
        first.last = message
        return _count_cut(sender, message) if stream.is_parked else 0
    message.last = message
    stream.unsent = message
    return 0 if stream.is_queued else _enqueue(sender, stream)


cdef bint _joins(Http2Sender sender, Http2Message last, Http2Message message) except -1:
    """Append short bytes without a prefix to a waiting message; return whether they were appended."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message.payload)
    if message.prefix_at == 0 or message.is_trailers or last.is_trailers or last.ends_stream or last.offset or (
        PyBytes_GET_SIZE(last.payload) + size > JOINED_BYTES
    ):
        return False
    last.payload += message.payload
    last.ends_stream = message.ends_stream
    if last.is_cut:
        sender.cut_bytes += size
    return True


cdef int _enqueue(Http2Sender sender, Http2Stream stream) except -1:
    """Queue a stream by its first message, or park it if its own window is used up."""
    cdef Py_ssize_t left = (<Http2Message>stream.unsent).left()
    if left and _lacks(sender, stream) == PARKED:
        return _park(sender, stream)
    if left > SMALL_MESSAGE:
        return _add_to_ring(sender, stream, False)
    stream.is_queued = True
    return sender.small.append(stream)


cdef int _park(Http2Sender sender, Http2Stream stream) noexcept:
    """Let a stream wait for its own window, outside the queues. Other streams may overtake all its messages."""
    cdef Http2Message message = <Http2Message>stream.unsent
    stream.is_parked = True
    # Counted messages are at the start of the chain. If the last one is counted, all are.
    if message.last.is_cut:
        return 0
    while message is not None:
        _count_cut(sender, message)
        message = message.next
    return 0


cdef int _count_cut(Http2Sender sender, Http2Message message) noexcept:
    """Count the rest of a message as bytes that other streams may overtake."""
    if not message.is_cut:
        message.is_cut = True
        sender.cut_bytes += PyBytes_GET_SIZE(message.payload) - message.offset
    return 0


cdef int _add_to_ring(Http2Sender sender, Http2Stream stream, bint is_first) except -1:
    stream.is_queued = True
    stream.is_streaming = stream.waits_to_send
    sender.round.quanta += QUANTUM
    sender.round.streams += stream.is_streaming
    return sender.ring.appendleft(stream) if is_first else sender.ring.append(stream)


cdef Http2Stream _next(Http2Sender sender):
    """Remove and return the stream of the ring whose turn it is, or None if the ring is empty."""
    cdef Http2Stream stream
    while sender.ring._items is not None:
        stream = <Http2Stream>sender.ring.popleft()
        stream.is_queued = False
        sender.round.quanta -= QUANTUM
        sender.round.streams -= stream.is_streaming
        if stream.unsent is not None or stream.waits_to_send:
            return stream
        sender.dropped -= 1
    return None


cdef int _finish(Http2Stream stream) except -1:
    """Remove the first message of a stream, as it is written or will be in the next step."""
    cdef Http2Message message = <Http2Message>stream.unsent, following = message.next
    if following is not None:
        following.last = message.last
    stream.unsent = following
    message.next = message.last = None
    return 0


cdef int _wake(Http2Sender sender, Http2Stream stream) except -1:
    """Wake the sender of a stream if it waits for room, as all messages are written."""
    if stream.waits_to_send:
        stream.waits_to_send = False
        sender.woken.append(stream)
    return 0


cdef int _forget_dropped(Http2Sender sender) except -1:
    """Remove streams that wait for nothing from the queues."""
    cdef Queue queue
    cdef Http2Stream stream
    if sender.dropped < (len(sender.small) + len(sender.ring)) // 2:
        return 0
    for queue in (sender.small, sender.ring):
        live = []
        for stream in queue:
            if stream.unsent is not None or stream.waits_to_send:
                live.append(stream)
                continue
            stream.is_queued = False
            if queue is sender.ring:
                sender.round.quanta -= QUANTUM
                sender.round.streams -= stream.is_streaming
        queue.replace(live)
    sender.dropped = 0
    return 0


cdef int _lacks(Http2Sender sender, Http2Stream stream) noexcept:
    """Return which window blocks a stream: BLOCKED for the connection's, PARKED for the stream's, WRITTEN for none."""
    if sender.flow.first_sending + stream.windows.sending <= 0:
        return PARKED
    return BLOCKED if sender.flow.sending <= 0 else WRITTEN


cdef int _pump_small(Http2Sender sender, bint with_large) except -1:
    cdef Http2Stream stream
    while sender.small._items is not None and not (with_large and _is_turn_of_large(sender)):
        stream = <Http2Stream>sender.small.popleft()
        stream.is_queued = False
        if stream.unsent is None:
            sender.dropped -= 1
            if stream.waits_to_send:
                _add_to_ring(sender, stream, False)
        elif _write_small(sender, stream) == BLOCKED:
            stream.is_queued = sender.lacks_credit = True
            sender.small.appendleft(stream)
            return BLOCKED
    return WRITTEN


cdef int _write_small(Http2Sender sender, Http2Stream stream) except -1:
    """Write the messages of a stream up to a long message, or up to a message that a window blocks."""
    cdef Http2Message message = <Http2Message>stream.unsent
    cdef Py_ssize_t left
    cdef int lack
    while message is not None:
        left = message.left()
        if left > SMALL_MESSAGE:
            _add_to_ring(sender, stream, False)
            return PARKED
        if left > sender.flow.sendable(&stream.windows):
            lack = _lacks(sender, stream)
            if lack == PARKED:
                _park(sender, stream)
            elif lack == WRITTEN:
                # The window has room for a part of the message, which is written in the ring.
                _add_to_ring(sender, stream, False)
                lack = PARKED
            return lack
        _finish(stream)
        sender.write_piece(stream, message, left)
        message = <Http2Message>stream.unsent
    _wake(sender, stream)
    return WRITTEN


cdef int _pump_ring(Http2Sender sender, Py_ssize_t room) except -1:
    """Let the streams of the ring send their shares until `room` bytes are unsent; at least one stream may send."""
    cdef Http2Stream stream
    cdef int done = WRITTEN
    cdef Py_ssize_t before = sender.size(), shared = 0, written = 0, more
    next_turn(&sender.round, room, len(sender.ring))
    while done != BLOCKED:
        stream = _next(sender)
        if stream is None:
            return 0
        if sender.woken and stream.share_turn == sender.round.turn:
            # The stream has its second turn: first let the streams send that have room again.
            return _add_to_ring(sender, stream, True)
        # Minus a tolerance of one piece, as frame headers and small rests may exceed the share.
        more = shared + written + QUANTUM * <Py_ssize_t>sender.round.quanta_at_once - SMALLEST_PIECE
        if (more > room and shared + written) or (before + more > room and written and stream.unsent is not None):
            return _add_to_ring(sender, stream, True)
        if not _grant(sender, stream):
            # The stream has sent more than its share before, and has to wait another turn.
            _add_to_ring(sender, stream, False)
        elif stream.unsent is None:
            # Count the share of the stream, whose bytes the woken sender writes after the present output.
            shared += stream.share
            _wake(sender, stream)
        else:
            done = _send_share(sender, stream)
            written = sender.size() - before
    return 0


cdef bint _grant(Http2Sender sender, Http2Stream stream) noexcept:
    """Add a round's quanta to the share of a stream; return whether the share is above 0, so that it may send."""
    stream.share = granted(&sender.round, stream.share, QUANTUM, False)
    stream.share_turn = sender.round.turn
    return stream.share > 0


cdef int _send_share(Http2Sender sender, Http2Stream stream) except -1:
    """Write pieces of a stream until its share is used up; if more is left, queue the stream again."""
    cdef int done = BEGUN
    cdef Http2Message message = <Http2Message>stream.unsent
    cdef Py_ssize_t left, size, most
    while message is not None:
        left = message.left()
        if stream.share <= 0 and left > SMALLEST_PIECE:
            _add_to_ring(sender, stream, False)
            return BEGUN
        most = min(sender.frame_limit, sender.flow.sendable(&stream.windows))
        if left and most == 0:
            done = _lacks(sender, stream)
            if done == PARKED:
                _park(sender, stream)
            else:
                _add_to_ring(sender, stream, True)
            return done
        size = left
        if left > most or left > max(<int64_t>0, stream.share) + SMALLEST_PIECE:
            size = min(most, max(<Py_ssize_t>stream.share, <Py_ssize_t>SMALLEST_PIECE))
            if size < PIECE_COST:
                sender.short_cost += PIECE_COST - size
        if size == left:
            _finish(stream)
        sender.write_piece(stream, message, size)
        message = <Http2Message>stream.unsent
    _wake(sender, stream)
    return WRITTEN
