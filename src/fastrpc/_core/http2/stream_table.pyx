"""The streams of a connection and their windows (RFC 9113, sections 5.1, 5.2 and 6.9).

Push is never on, so all streams are opened by the client, with odd ids.

::

    idle ──HEADERS──► open ──end of a side──► half-closed ──end of the other──► closed
                       └──────────RST_STREAM of a side──────────────────────────► closed

    closed, and a frame comes:   DATA, HEADERS                       RST_STREAM, WINDOW_UPDATE
      both sides had ended       the connection ends, STREAM_CLOSED   dropped
      reset by the peer          RST_STREAM, STREAM_CLOSED            dropped
      reset by us                dropped: it was in flight            dropped; RST_STREAM: reset by the peer
      long ago                   dropped; HEADERS of a client: PROTOCOL_ERROR, as its ids must rise

PRIORITY has no effect here, whatever the state of its stream.

A stream stores only how far WINDOW_UPDATE and DATA moved its windows; `FlowControl` has the initial sizes. So a change
of SETTINGS_INITIAL_WINDOW_SIZE costs the same with one stream and with ten thousand, and a peer gains nothing by
repeating it. A change overflows a window if it overflows the highest one. `FlowControl` keeps an upper bound of the
highest window; the owner checks all streams only if this bound overflows.
"""

cimport cython
from cpython.ref cimport Py_DECREF, PyObject

from fastrpc._core.http2.frames cimport (
    FIRST_WINDOW,
    KIND_DATA,
    KIND_HEADERS,
    KIND_PRIORITY,
    KIND_RST_STREAM,
    RULE_CLOSED_STREAM,
    RULE_CONTENT_LENGTH,
    RULE_EARLY_DATA,
    RULE_HALF_CLOSED_STREAM,
    RULE_IDLE_STREAM,
    RULE_ID_ORDER,
    RULE_ID_PARITY,
    RULE_NONE,
    RULE_RESET_STREAM,
    RULE_RISING_GOAWAY,
    RULE_STREAM_LIMIT,
    RULE_STREAM_WINDOW,
    RULE_STREAM_WINDOW_OVERFLOW,
    RULE_TRAILERS_END,
    RULE_WINDOW,
    RULE_WINDOW_OVERFLOW,
    RULE_ZERO_INCREMENT,
    RULE_ZERO_STREAM_INCREMENT,
    violated,
)
from fastrpc._core.wire.growth cimport give_back, grow, has_growth, is_due, note_short, settle, take_owed, wanted_growth
from fastrpc._core.wire.window cimport HIGHEST_WINDOW, open_window

cdef enum:
    HIGHEST_ID = 0x7FFFFFFF


@cython.final
cdef class FlowControl:

    def __cinit__(self):
        self.sending = self.first_sending = self.first_receiving = FIRST_WINDOW
        open_window(&self.receiving, FIRST_WINDOW)
        self.waiting_answers = {}

    cdef int64_t sendable(self, const StreamWindows* stream) noexcept:
        return max(<int64_t>0, min(self.sending, self.first_sending + stream.sending))

    cdef int sent(self, StreamWindows* stream, Py_ssize_t size) noexcept:
        self.sending -= size
        stream.sending -= size
        return 0

    cdef int raise_window(self, StreamWindows* stream, uint32_t increment, Violation* violation) noexcept:
        cdef int64_t raised
        if increment == 0:
            return violated(violation, RULE_ZERO_INCREMENT if stream is NULL else RULE_ZERO_STREAM_INCREMENT)
        if stream is NULL:
            raised = self.sending + increment
            if raised > HIGHEST_WINDOW:
                return violated(violation, RULE_WINDOW_OVERFLOW, raised, HIGHEST_WINDOW)
            self.sending = raised
            return 0
        raised = self.first_sending + stream.sending + increment
        if raised > HIGHEST_WINDOW:
            return violated(violation, RULE_STREAM_WINDOW_OVERFLOW, raised, HIGHEST_WINDOW)
        stream.sending += increment
        self._highest = max(self._highest, stream.sending)
        return 0

    cdef bint needs_highest(self, int64_t first) noexcept:
        return first + self._highest > HIGHEST_WINDOW

    cdef int change_first_sending(self, int64_t first, int64_t highest, Violation* violation) noexcept:
        if self.needs_highest(first):
            # At least 0, which is the value of a future stream.
            self._highest = max(highest, <int64_t>0)
            if self.needs_highest(first):
                return violated(violation, RULE_WINDOW_OVERFLOW, first + self._highest, HIGHEST_WINDOW)
        self.first_sending = first
        return 0

    cdef int receive(self, StreamWindows* stream, Py_ssize_t size, Violation* violation) noexcept:
        cdef int64_t left = self.receiving.left
        if size > left:
            return violated(violation, RULE_WINDOW, size, left)
        # Counted even if the stream's window is exceeded, because the connection continues.
        self.receiving.left = left - size
        if stream is NULL:
            return 0
        left = self.first_receiving + stream.receiving
        if (size == left or size == stream.replaced) and size:
            # The DATA used up the window that the peer knew, so the peer has to wait.
            note_short(&stream.growth)
        stream.receiving -= size
        stream.replaced -= size
        return violated(violation, RULE_STREAM_WINDOW, size, left) if size > left and size else 0

    cdef int64_t place_of_stream(self, StreamWindows* stream, Py_ssize_t size, bint may_lend) noexcept:
        stream.growth.owed += size
        # If our first window was lowered below the stream's remaining window, the excess is subtracted from the credit.
        if stream.growth.owed == 0 or not is_due(&stream.growth, self.first_receiving):
            return 0
        settle(&stream.growth, &self.pool, self.first_receiving, may_lend)
        return _credit(self, stream, take_owed(&stream.growth))

    cdef bint has_room(self, Http2Stream stream, int64_t size, bint is_answer) except -1:
        if size > self.pool.left or self.waiting is None:
            return size <= self.pool.left
        if is_answer and not self.waiting_answers:
            return True
        return next(iter(self.waiting_answers or self.waiting)) is stream

    cdef int borrow(self, Http2Stream stream, int64_t size) except -1:
        stream.windows.granted += size
        self.granted += size
        self.pool.left -= size
        if self.waiting is not None:
            self.waiting.pop(stream, None)
            self.waiting_answers.pop(stream, None)
            self.waiting = self.waiting or None
        return 0

    cdef int await_room(self, Http2Stream stream, bint is_answer) except -1:
        if self.waiting is None:
            self.waiting = {}
        # A stream that already waits keeps its place.
        self.waiting.setdefault(stream)
        if is_answer:
            self.waiting_answers.setdefault(stream)
        return 0

    cdef dict take_waiting(self):
        cdef dict waiting = self.waiting_answers
        waiting.update(self.waiting or ())
        self.waiting = None
        self.waiting_answers = {}
        return waiting

    cdef int64_t repay(self, StreamWindows* stream, int64_t size) noexcept:
        cdef int64_t granted = min(stream.granted, size)
        stream.granted -= granted
        self.granted -= granted
        self.pool.left += granted
        return granted

    cdef int64_t grant(self, StreamWindows* stream, int64_t size) noexcept:
        cdef int64_t credit = min(size, HIGHEST_WINDOW - self.first_receiving - stream.receiving)
        return 0 if credit <= 0 else _credit(self, stream, credit)

    cdef int64_t reader_waits(self, StreamWindows* stream, bint may_lend) noexcept:
        cdef int64_t growth = wanted_growth(&stream.growth, &self.pool, self.first_receiving, False)
        if not has_growth(&self.pool, growth) or not may_lend:
            return 0
        if self.first_receiving + stream.receiving + stream.growth.owed + growth > HIGHEST_WINDOW:
            return 0
        return _credit(self, stream, grow(&stream.growth, &self.pool, growth))

    cdef int take_back(self, StreamWindows* stream) noexcept:
        if stream.growth.grown:
            give_back(&stream.growth, &self.pool, stream.growth.grown)
        if stream.granted:
            self.repay(stream, stream.granted)
        return 0

    cdef int64_t widen(self, int64_t size) noexcept:
        cdef int64_t credit = size - self.receiving.size
        if credit <= 0:
            return 0
        self.receiving.size = size
        self.receiving.left += credit
        return credit


cdef int64_t _credit(FlowControl flow, StreamWindows* stream, int64_t credit) noexcept:
    """Raise the window of a stream; a limit that the peer has not reached yet may still delay it."""
    if stream.replaced <= 0:
        stream.replaced = flow.first_receiving + stream.receiving
    stream.receiving += credit
    return credit


@cython.final
@cython.freelist(64)
cdef class Http2Stream:
    def __repr__(self):
        return f"<Http2Stream {self.id}>"


@cython.final
cdef class StreamTable:

    def __cinit__(self, bint is_client, Py_ssize_t limit=100):
        self.is_client = is_client
        self.limit = limit
        self._streams = CallTable()
        self.last_taken = HIGHEST_ID

    @property
    def count(self):
        return self._streams.size

    @cython.nonecheck(False)
    cdef Http2Stream arrive(self, int kind, uint32_t id, Violation* violation):
        cdef Http2Stream stream
        cdef int ending
        cdef bint is_message = kind == KIND_DATA or kind == KIND_HEADERS
        violation.rule = RULE_NONE
        stream = self.find(id)
        if stream is not None:
            if is_message and stream.is_ended_by_peer:
                violated(violation, RULE_HALF_CLOSED_STREAM)
                return None
            return stream
        if kind == KIND_PRIORITY:
            return None
        if not id & 1:
            violated(violation, RULE_ID_PARITY if kind == KIND_HEADERS else RULE_IDLE_STREAM, id)
            return None
        if id > self.highest:
            if kind == KIND_HEADERS and not self.is_client:
                return self._open_by_peer(id, violation)
            violated(violation, RULE_IDLE_STREAM, id)
            return None
        if kind == KIND_RST_STREAM and self._ending_of(id) == ENDING_BY_US:
            # The peer reset the stream too, so frames that it sends later break a rule.
            self._remember(id, ENDING_BY_PEER)
        if is_message:
            ending = self._ending_of(id)
            if ending == ENDING_BOTH:
                violated(violation, RULE_CLOSED_STREAM, id)
            elif ending == ENDING_BY_PEER:
                violated(violation, RULE_RESET_STREAM)
            elif ending == ENDING_FORGOTTEN and kind == KIND_HEADERS and not self.is_client:
                violated(violation, RULE_ID_ORDER, id, self.highest)
        return None

    @cython.nonecheck(False)
    cdef Http2Stream _open_by_peer(self, uint32_t id, Violation* violation):
        self.highest = id
        if self._streams.size >= self.limit:
            # More frames of this stream may be in flight.
            self._remember(id, ENDING_BY_US)
            violated(violation, RULE_STREAM_LIMIT, self._streams.size, self.limit)
            return None
        self.opened += 1
        return self._add(id)

    @cython.nonecheck(False)
    cdef int take_head(
        self, Http2Stream stream, bint is_interim, bint ends_stream, int64_t content_length, Violation* violation
    ) except -2:
        if not stream.has_head:
            stream.has_head = not is_interim
            stream.content_left = content_length
            # An interim (1xx) head must not end the stream.
            if is_interim and ends_stream:
                return violated(violation, RULE_TRAILERS_END)
        elif not ends_stream:
            return violated(violation, RULE_TRAILERS_END)
        return self._end_by_peer(stream, violation) if ends_stream else 0

    @cython.nonecheck(False)
    cdef int take_data(self, Http2Stream stream, Py_ssize_t size, bint ends_stream, Violation* violation) except -2:
        if not stream.has_head:
            return violated(violation, RULE_EARLY_DATA)
        if stream.content_left >= 0:
            if size > stream.content_left:
                return violated(violation, RULE_CONTENT_LENGTH)
            stream.content_left -= size
        return self._end_by_peer(stream, violation) if ends_stream else 0

    @cython.nonecheck(False)
    cdef int _end_by_peer(self, Http2Stream stream, Violation* violation) except -2:
        # Only a response to HEAD may announce content that is not sent. HEAD is neither sent nor answered here.
        if stream.content_left > 0:
            return violated(violation, RULE_CONTENT_LENGTH)
        stream.is_ended_by_peer = True
        return self._close(stream, ENDING_BOTH) if stream.is_ended_by_us else 0

    @cython.nonecheck(False)
    cdef Http2Stream open(self):
        if self._streams.size >= self.limit or self.is_left or self.highest >= HIGHEST_ID - 1:
            return None
        # The first id is 1.
        self.highest += 2 if self.highest else 1
        return self._add(self.highest)

    @cython.nonecheck(False)
    cdef Http2Stream _add(self, uint32_t id):
        cdef Http2Stream stream = Http2Stream.__new__(Http2Stream)
        stream.id = id
        stream.content_left = -1
        # The table takes its own reference.
        self._streams.add(id, <PyObject*>stream)
        return stream

    @cython.nonecheck(False)
    cdef Http2Stream find(self, uint32_t id):
        # The table keeps the stream until the result has its reference.
        cdef PyObject* found = self._streams.get(id)
        return None if found is NULL else <Http2Stream>found

    @cython.nonecheck(False)
    cdef int end(self, Http2Stream stream) except -1:
        stream.is_ended_by_us = True
        return self._close(stream, ENDING_BOTH) if stream.is_ended_by_peer else 0

    cdef int reset(self, Http2Stream stream, bint is_by_us) except -1:
        stream.was_cut_short = is_by_us and not stream.is_ended_by_peer
        stream.is_ended_by_us = stream.is_ended_by_peer = True
        return self._close(stream, ENDING_BY_US if is_by_us else ENDING_BY_PEER)

    @cython.nonecheck(False)
    cdef int _close(self, Http2Stream stream, int ending) except -1:
        cdef PyObject* taken = self._streams.take(stream.id)
        if taken is NULL:
            return 0
        self._remember(stream.id, ending)
        # Drop the table's reference.
        Py_DECREF(<object>taken)
        return 0

    cdef int _remember(self, uint32_t id, int ending) noexcept:
        self._ended[id >> 1 & (REMEMBERED - 1)] = id >> 1 << 2 | <uint32_t>ending
        return 0

    cdef int _ending_of(self, uint32_t id) noexcept:
        cdef uint32_t ended = self._ended[id >> 1 & (REMEMBERED - 1)]
        return ended & 3 if ended >> 2 == id >> 1 else ENDING_FORGOTTEN

    cdef list leave(self, uint32_t last_taken, Violation* violation):
        if last_taken > self.last_taken:
            violated(violation, RULE_RISING_GOAWAY, last_taken, self.last_taken)
            return None
        self.is_left = True
        self.last_taken = last_taken
        return [stream for stream in self._streams.entries() if (<Http2Stream>stream).id > last_taken]

    cdef list entries(self):
        return self._streams.entries()

    cdef str count_messages(self):
        if self.streaming >= self.most_streaming:
            return f"this connection has {self.streaming} streams, the limit is {self.most_streaming} (Limits.streams)"
        self.streaming += 1
        return None

    cdef int64_t highest_sending(self) except? -1:
        cdef int64_t highest = 0
        for stream in self._streams.entries():
            highest = max(highest, (<Http2Stream>stream).windows.sending)
        return highest
