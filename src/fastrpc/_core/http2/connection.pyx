"""An HTTP/2 connection of a client or a server: it calls hooks for received frames, and writes frames for its user.

::

    take ─────► Http2Parser ──► HEADERS: HpackDecoder ──► on_head, on_trailers
                   │            DATA ──► windows ───────► on_data, or direct: sink_for, on_placed
                   │            RST_STREAM, GOAWAY ─────► on_reset, on_goaway
                   │            SETTINGS, PING, WINDOW_UPDATE: handled here
                   └─► a broken rule, a budget used up ─► on_stream_violation, RST_STREAM; on_violation, GOAWAY, the end

    send_head, send_message, send_trailers, reset ──► Http2Sender ──► pump ──► the byte stream

The user of the connection, a client's or a server's side of gRPC, is its `StreamHandler`: it holds the connection,
implements the hooks and calls the methods. The engine, which holds both, has the life of the connection, the time and the
byte stream; its output is the sender of this object. All frames of a read, or of a turn of the loop, share one write. A
unary call needs six calls between the two: on_head, on_data; send_head, send_message, send_trailers; on_over.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from fastrpc._core.base.big_endian cimport store32_big
from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.http2.frames cimport (
    CODE_NONE, CODE_REFUSED_STREAM, KIND_DATA, KIND_GOAWAY, KIND_HEADERS, KIND_NOTHING, KIND_PING, KIND_RST_STREAM,
    KIND_SETTINGS, KIND_WINDOW_UPDATE, RULE_NONE, RULE_STREAM_LIMIT,
)
from fastrpc._core.http2.frames cimport Http2Frame, Violation, ends_connection, error_code, put_reset, violation_text
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HpackDecoder, indexing_of
from fastrpc._core.http2.incoming cimport BLOCK_HEAD, BLOCK_TRAILERS
from fastrpc._core.http2.sender cimport PREFIX_BYTES
from fastrpc._core.http2.stream_table cimport FlowControl
from fastrpc._core.io.engine cimport STREAM_SHARE, ByteStream
from fastrpc._core.wire.budgets cimport pay_idle_work
from fastrpc._core.wire.growth cimport open_window_pool
from fastrpc._core.wire.silence cimport PEER_IS_GONE, forgive_silence

cdef enum:
    # The most streams that a client opens before it knows the server's limit, as in grpc-go.
    FIRST_STREAMS = 100
    # The bytes of fields that take as long to decode and check as a message.
    HEAD_SHARE = 1_024


@cython.final
cdef class Http2Connection:
    """The state of one connection of HTTP/2, without input and output."""

    @property
    def stream_pool_left(self):
        """The bytes that streams may still borrow from the pool."""
        return self.incoming.flow.pool.left

    @property
    def growth_left(self):
        """The bytes of the pool by which windows may still grow."""
        return self.incoming.flow.pool.growth_left

    # The life

    cdef int join(self, Engine engine) except -1:
        if self._engine is not NULL:
            raise RuntimeError("a wire is held by one link")
        self._engine = <PyObject*>engine
        engine.output = self.sender
        return 0

    cdef int lend(self, int64_t pool_bytes, int64_t message_bytes) noexcept:
        open_window_pool(&self.incoming.flow.pool, pool_bytes, message_bytes)
        return 0

    cdef int set_pings(self, double interval, double timeout, double minimum_interval) except -1:
        self.control.silence.interval_ns = <uint64_t>(interval * 1e9)
        self.control.silence.timeout_ns = <uint64_t>(timeout * 1e9)
        # Half of the interval, as in the native protocol, although HTTP/2 does not announce it to the peer.
        self.control.ping_gap_ns = <uint64_t>(minimum_interval * 5e8)
        return 0

    cdef int open(self, bint is_wide) except -1:
        self.control.open(self.first_window, self.incoming.decoder.list_limit)
        return self.widen() if is_wide else self.written()

    cdef int widen(self) except -1:
        return 0 if self.is_closed else self.incoming.widen() + self.written()

    cdef int start_drain(self, str text) except -1:
        if self.is_closed or not self.control.start_drain(text, self.instant()):
            return 0
        if self.stream_below() is not NULL:
            (<ByteStream>self.stream_below()).schedule_check(self.check_http2(self.instant()))
        return self.written()

    cdef int finish_drain(self) except -1:
        return self.written() if not self.is_closed and self.control.finish_drain() else 0

    cdef int close_with(self, int code, str text) except -1:
        if not self.is_closed:
            self.control.say_goodbye(code, text)
        return self.end(code, text, True)

    cdef int end(self, int code, str text, bint lingers) except -1:
        if self.is_closed:
            return 0
        self.fall_silent(code, text)
        return (<StreamHandler>self.holder).on_closed(lingers)

    cdef int fall_silent(self, int code, str text) except -1:
        self.is_closed = True
        self.closed_code = code
        self.closed_text = text
        for stream in self.streams.entries():
            self.sender.drop_unsent(<Http2Stream>stream)
        return 0

    cdef int lost(self) except -1:
        self.is_closed = True
        self.incoming.data_stream = self.incoming.sink = None
        self.incoming.flow.take_waiting()
        return self.sender.forget_all()

    # Bytes in

    @cython.nonecheck(False)
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Http2Frame frame
        cdef Py_ssize_t at = 0, taken
        # A reference, as a hook may end the connection.
        cdef Engine engine = self.engine()
        while at < size and not self.is_closed:
            taken = self.incoming.parse(data + at, size - at, &frame, engine.now)
            if taken < 0:
                return size + _violate(self, &frame.violation)
            if taken == 0:
                return at + (self.finish_drain() if self.control.drain_is_due else 0)
            at += taken
            if frame.kind == KIND_NOTHING:
                continue
            _take_frame(self, &frame)
            # Not `-=`, for which Cython would add a reference to the engine.
            engine.messages_left = engine.messages_left - 1
            if engine.messages_left < 0 and at < size and engine.has_to_wait():
                self.incoming.note_rest(0, engine.now)
                return at
        self.incoming.note_rest(0, engine.now)
        return size + (self.finish_drain() if self.control.drain_is_due else 0)

    cdef char* place(self, Py_ssize_t* room) except? NULL:
        cdef Http2Stream stream = self.incoming.data_stream
        if stream is None or stream.is_ended_by_peer or self.is_closed:
            return NULL
        return self.incoming.place_in((<StreamHandler>self.holder).sink_for(stream), room, self.trusted)

    cdef int placed(self, Py_ssize_t size) except -1:
        cdef Violation violation
        cdef Http2Stream stream = self.incoming.data_stream
        cdef bint ends_stream
        if self.is_closed or stream is None:
            return 0
        ends_stream = self.incoming.placed(size, self.instant())
        (<Engine>self._engine).messages_left -= self.incoming.data_stream is None
        if not stream.is_ended_by_peer:
            if self.streams.take_data(stream, size, ends_stream, &violation) < 0:
                _violate_stream(self, stream.id, &violation)
            else:
                (<StreamHandler>self.holder).on_placed(stream, size, ends_stream)
                _is_over(self, stream)
        return 0 if self.is_closed else self.incoming.place_of(stream, size)

    cdef bint completes(self, Py_ssize_t size) noexcept:
        cdef Assembly sink = self.incoming.sink
        return sink is None or size >= sink.total - sink.filled

    # Budgets

    cdef int note_answered(self) noexcept:
        pay_idle_work(&self.control.idle_work)
        return 0

    cdef int note_idle_work(self) except -1:
        cdef Violation violation
        return 0 if self.control.spend_idle_work(self.instant(), &violation) == 0 else _violate(self, &violation)

    # Orders of streams

    @cython.nonecheck(False)
    cdef Http2Stream open_stream(self):
        cdef Http2Stream stream = None if self.is_closed else self.streams.open()
        if stream is not None:
            stream.is_known = True
        return stream

    cdef bint is_open(self, Http2Stream stream) noexcept:
        return not (stream.is_ended_by_us or self.is_closed or self.sender.has_end(stream))

    @cython.nonecheck(False)
    cdef int send_head(self, Http2Stream stream, HeaderTemplate template, list fields, bint ends_stream) except -1:
        cdef Py_ssize_t start
        if stream.is_ended_by_us or self.is_closed:
            return 0
        start = self.sender.begin_head()
        self.sender.put_fields(template, fields)
        self.sender.end_head(stream, start, ends_stream)
        return _sent(self, stream)

    cdef bint begin_head(self, Http2Stream stream) except -1:
        if not self.is_open(stream):
            return False
        self._head_at = self.sender.begin_head()
        return True

    cdef int put_field(self, int token, bytes name, bytes value) except -1:
        return self.sender.encoder.put(self.sender.out, token, name, value, indexing_of(token, name))

    cdef int end_head(self, Http2Stream stream, bint ends_stream) except -1:
        self.sender.end_head(stream, self._head_at, ends_stream)
        return _sent(self, stream)

    @cython.nonecheck(False)
    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1:
        cdef char[PREFIX_BYTES] prefix
        if stream.is_ended_by_us or self.is_closed:
            return 0
        prefix[0] = <char>flags
        store32_big(prefix + 1, <uint32_t>PyBytes_GET_SIZE(payload))
        self.sender.send(stream, prefix, payload, ends_stream)
        return _sent(self, stream)

    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1:
        if not self.is_open(stream) or (PyBytes_GET_SIZE(payload) == 0 and not ends_stream):
            return 0
        self.sender.send(stream, NULL, payload, ends_stream)
        return _sent(self, stream)

    cdef int end_stream(self, Http2Stream stream) except -1:
        return self.send_data(stream, b"", True)

    @cython.nonecheck(False)
    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1:
        if stream.is_ended_by_us or self.is_closed:
            return 0
        self.sender.send_trailers(stream, template, fields)
        return _sent(self, stream)

    cdef int reset(self, Http2Stream stream, uint32_t code) except -1:
        if self.is_closed or (stream.is_ended_by_us and stream.is_ended_by_peer):
            return 0
        self.sender.drop_unsent(stream)
        put_reset(self.sender.out, stream.id, code)
        self.streams.reset(stream, True)
        self.written()
        return _is_over(self, stream)

    cdef bint is_full(self, Http2Stream stream) noexcept:
        return _is_stuck(self) or not self.sender.has_room(stream)

    cdef int await_turn(self, Http2Stream stream) except -1:
        if not self.is_open(stream):
            return 0
        self.sender.wait_turn(stream)
        return self.written()

    cdef int took(self, Http2Stream stream, Py_ssize_t size) except -1:
        cdef bint may_lend = stream.windows.growth.grown == 0 or _may_lend(self)
        return 0 if self.is_closed else self.incoming.take(stream, size, may_lend) + self.written()

    cdef int took_messages(self, Http2Stream stream, Py_ssize_t size) except -1:
        cdef FlowControl flow = self.incoming.flow
        cdef int64_t left = flow.pool.left
        self.took(stream, size - <Py_ssize_t>flow.repay(&stream.windows, size))
        # Most messages were not granted beyond the window. Then the pool has not changed.
        return 0 if flow.waiting is None or flow.pool.left == left else self.grant_waiting()

    cdef int grant_waiting(self) except -1:
        # If a stream still has to wait, it and all later streams are queued again, in order.
        for stream in self.incoming.flow.take_waiting():
            (<StreamHandler>self.holder).grant_rest(<Http2Stream>stream, False)
        return 0

    cdef int let_grow(self, Http2Stream stream) except -1:
        if self.is_closed or not stream.windows.growth.was_short:
            return 0
        return self.incoming.reader_waits(stream, _may_lend(self)) + self.written()

    cdef int release(self, Http2Stream stream) except -1:
        return 0 if self.is_closed else self.incoming.release(stream) + self.written()

    cdef int grant(self, Http2Stream stream, int64_t size) except -1:
        return 0 if self.is_closed else self.incoming.grant(stream, size) + self.written()

    # Bytes out

    @cython.nonecheck(False)
    cdef int pump(self) except -1:
        cdef Http2Sender sender = self.sender
        cdef list woken
        sender.pump(STREAM_SHARE, not self._streams_have_turn)
        while sender.over:
            _is_over(self, <Http2Stream>sender.over.pop())
        if not sender.woken:
            return 0
        woken, sender.woken = sender.woken, []
        for stream in woken:
            (<StreamHandler>self.holder).on_sendable(<Http2Stream>stream)
        if not self._streams_have_turn and sender.is_waiting() and self.stream_below() is not NULL:
            self._streams_have_turn = (<ByteStream>self.stream_below()).ask_turn()
        return 0

    # Facts and time

    cdef Py_ssize_t unsent_bytes(self) except? -1:
        cdef Py_ssize_t unsent = self.sender.size() + self.sender.queued_bytes
        return unsent + (0 if self.stream_below() is NULL else <Py_ssize_t>(<ByteStream>self.stream_below()).untaken_bytes())

    cdef Py_ssize_t held_bytes(self) noexcept:
        cdef HpackDecoder decoder = self.incoming.decoder
        return self.incoming.parser.held_bytes() + decoder.table.size + decoder.known_bytes + self.sender.encoder.table.size

    cdef int forgive(self, uint64_t late) except -1:
        (<Engine>self._engine).received_ns += late
        forgive_silence(&self.control.silence, late)
        return 0

    cdef uint64_t check_http2(self, uint64_t now) except? 0:
        cdef uint64_t due = 0
        cdef Engine engine = self.engine()
        if self.is_closed:
            return 0
        if self.stream_below() is not NULL and (<ByteStream>self.stream_below()).waits_for_turn():
            # Received bytes wait to be processed, which proves that the peer is alive.
            engine.received_ns = now
        if self.control.check(now, engine.received_ns, &due) == PEER_IS_GONE:
            text = f"nothing came for {(now - engine.received_ns) / 1e9:.1f} s, a ping included"
            # If the peer was only suspended, GOAWAY tells it which of its requests were not processed.
            self.control.say_goodbye(CODE_NONE, text)
            self.end(CODE_NONE, text, False)
            engine.abort()
            return 0
        if self.sender.size():
            self.written()
        return due


cdef bint _is_stuck(Http2Connection http2) noexcept:
    return http2.stream_below() is not NULL and (<ByteStream>http2.stream_below()).is_stuck()


cdef bint _may_lend(Http2Connection http2) noexcept:
    """Return whether windows may grow; not while messages wait for the pool."""
    return http2.incoming.flow.waiting is None and (<StreamHandler>http2.holder).may_lend()


@cython.nonecheck(False)
cdef int _sent(Http2Connection http2, Http2Stream stream) except -1:
    """Request a flush for a written frame of a stream, which may have ended the stream."""
    if stream.is_ended_by_us:
        _is_over(http2, stream)
    return http2.written()


@cython.nonecheck(False)
cdef int _is_over(Http2Connection http2, Http2Stream stream) except -1:
    """If both sides have ended a stream, notify the user, once."""
    if not (stream.is_known and stream.is_ended_by_us and stream.is_ended_by_peer):
        return 0
    stream.is_known = False
    http2.incoming.flow.end_window(&stream.windows)
    if stream.keeps_credit and not http2.is_closed:
        http2.release(stream)
    http2.control.expect_late(stream.was_cut_short)
    if http2.is_closed:
        return 0
    (<StreamHandler>http2.holder).on_over(stream)
    return 0 if http2.incoming.flow.waiting is None else http2.grant_waiting()


@cython.nonecheck(False)
cdef int _take_frame(Http2Connection http2, Http2Frame* frame) except -1:
    if frame.kind == KIND_DATA:
        return _take_data(http2, frame)
    if frame.kind == KIND_HEADERS:
        return _take_headers(http2, frame)
    return _take_reset(http2, frame) if frame.kind == KIND_RST_STREAM else _take_control(http2, frame)


@cython.nonecheck(False)
cdef int _take_headers(Http2Connection http2, Http2Frame* frame) except -1:
    cdef Violation violation
    cdef Http2Stream stream
    cdef Engine engine
    cdef int kind
    # Decoded in any case, even if the stream is refused: the table of the connection has to stay in step.
    cdef HeaderBlock block = http2.incoming.decoder.decode(frame.data, frame.size, &violation)
    if block is None:
        return _violate(http2, &violation)
    if block.size >= HEAD_SHARE:
        engine = http2.engine()
        engine.messages_left -= <int>(block.size // HEAD_SHARE)
    stream = http2.streams.arrive(KIND_HEADERS, frame.stream, &violation)
    if stream is None:
        return _refuse(http2, frame.stream, block, &violation)
    if frame.stream > http2.control.last_taken:
        http2.streams.reset(stream, True)
        return _drop_late(http2, frame.stream, -1)
    if frame.violation.rule:
        return _violate_stream(http2, frame.stream, &frame.violation)
    kind = http2.incoming.take_block(stream, block, frame.ends_stream, &violation)
    if kind == BLOCK_HEAD:
        stream.is_known = True
        (<StreamHandler>http2.holder).on_head(stream, block, frame.ends_stream)
    elif kind == BLOCK_TRAILERS:
        (<StreamHandler>http2.holder).on_trailers(stream, block)
    elif kind < 0 or http2.control.skip(KIND_HEADERS, http2.instant(), &violation) < 0:
        return _violate_stream(http2, frame.stream, &violation)
    return _is_over(http2, stream)


cdef int _refuse(Http2Connection http2, uint32_t id, HeaderBlock block, Violation* violation) except -1:
    """Handle HEADERS that arrive at the wrong time, or for a stream beyond the limit."""
    if violation.rule == RULE_NONE:
        return _drop_late(http2, id, -1)
    if violation.rule != RULE_STREAM_LIMIT:
        return _violate_stream(http2, id, violation)
    put_reset(http2.sender.out, id, CODE_REFUSED_STREAM)
    http2.written()
    http2.control.expect_late(True)
    (<StreamHandler>http2.holder).on_refused(id, block)
    http2.engine().note_unanswered()
    return 0 if http2.control.note_refused(http2.instant(), violation) == 0 else _violate(http2, violation)


@cython.nonecheck(False)
cdef int _take_data(Http2Connection http2, Http2Frame* frame) except -1:
    cdef Violation violation
    cdef Http2Stream stream
    if frame.is_first and http2.incoming.begin_data(frame, http2.instant(), &violation) < 0:
        _violate_stream(http2, frame.stream, &violation)
    stream = http2.incoming.data_stream
    if not http2.incoming.parser.is_within():
        http2.incoming.data_stream = None
    # The stream may have been reset since the frame began.
    if stream is not None and not stream.is_ended_by_peer and (frame.size or frame.ends_stream):
        if http2.streams.take_data(stream, frame.size, frame.ends_stream, &violation) < 0:
            _violate_stream(http2, stream.id, &violation)
        else:
            (<StreamHandler>http2.holder).on_data(stream, frame.data, frame.size, frame.ends_stream)
            _is_over(http2, stream)
    return 0 if http2.is_closed else http2.incoming.place_of(stream, frame.size)


cdef int _take_reset(Http2Connection http2, Http2Frame* frame) except -1:
    cdef Violation violation
    cdef Http2Stream stream = http2.streams.arrive(KIND_RST_STREAM, frame.stream, &violation)
    if violation.rule:
        return _violate(http2, &violation)
    if stream is None:
        return _drop_late(http2, frame.stream, -1)
    http2.engine().note_unanswered()
    http2.sender.drop_unsent(stream)
    http2.streams.reset(stream, False)
    # Counted before `on_reset`, as the budget may end the connection.
    http2.note_idle_work()
    if http2.is_closed or not stream.is_known:
        return 0
    (<StreamHandler>http2.holder).on_reset(stream, frame.number)
    return _is_over(http2, stream)


cdef int _take_control(Http2Connection http2, Http2Frame* frame) except -1:
    cdef Violation violation
    cdef int done = 0
    violation.rule = RULE_NONE
    if frame.kind == KIND_WINDOW_UPDATE:
        done = http2.control.take_window_update(frame, http2.instant(), &violation)
    elif frame.kind == KIND_SETTINGS:
        done = http2.control.take_settings(frame, http2.instant(), &violation)
        if done > 0:
            (<StreamHandler>http2.holder).on_settings()
    elif frame.kind == KIND_PING:
        http2.engine().note_unanswered()
        done = http2.control.take_ping(frame, http2.instant(), _is_stuck(http2), &violation)
    elif frame.violation.rule:
        # PRIORITY. On an idle stream it ends the connection, as an idle stream cannot be reset.
        return _violate(http2, &frame.violation) if http2.streams.find(frame.stream) is None else (
            _violate_stream(http2, frame.stream, &frame.violation)
        )
    else:
        http2.engine().note_unanswered()
        done = http2.control.skip(frame.kind, http2.instant(), &violation)
        if done == 0 and frame.kind == KIND_GOAWAY:
            done = _take_goaway(http2, frame, &violation)
    if done < 0:
        return _violate_stream(http2, frame.stream, &violation)
    return http2.written() if http2.sender.is_waiting() or http2.sender.size() else 0


cdef int _take_goaway(Http2Connection http2, Http2Frame* frame, Violation* violation) except -2:
    cdef list not_taken = http2.control.take_goaway(frame, violation)
    if not_taken is None:
        return -1
    return (<StreamHandler>http2.holder).on_goaway(
        frame.last_stream, frame.number, PyBytes_FromStringAndSize(frame.data, frame.size), not_taken
    )


cdef int _violate(Http2Connection http2, const Violation* violation) except -1:
    """End the connection for a broken rule."""
    cdef int code = error_code(violation.rule)
    cdef str text = violation_text(violation)
    if http2.is_closed:
        return 0
    (<StreamHandler>http2.holder).on_violation(code, text)
    return http2.close_with(code, text)


cdef int _violate_stream(Http2Connection http2, uint32_t id, const Violation* violation) except -1:
    """Send RST_STREAM for a broken rule, even on an ended stream; end the connection if the rule demands it."""
    cdef Http2Stream stream
    if ends_connection(violation.rule):
        return _violate(http2, violation)
    stream = http2.streams.find(id)
    http2.engine().note_unanswered()
    put_reset(http2.sender.out, id, error_code(violation.rule))
    http2.written()
    http2.control.expect_late(True)
    if stream is not None:
        http2.sender.drop_unsent(stream)
        http2.streams.reset(stream, True)
    http2.note_idle_work()
    if http2.is_closed or stream is None or not stream.is_known:
        return 0
    (<StreamHandler>http2.holder).on_stream_violation(stream, violation)
    return _is_over(http2, stream)


cdef int _drop_late(Http2Connection http2, uint32_t id, Py_ssize_t size) except -1:
    """Drop a frame that the peer may have sent before it knew the end of the stream; limit the number of such frames."""
    cdef Violation violation
    http2.engine().note_unanswered()
    return 0 if http2.control.drop_late(id, size, http2.instant(), &violation) == 0 else _violate(http2, &violation)


cdef Http2Connection new_http2(
    StreamHandler handler, bint is_client, uint32_t streams, uint32_t window_bytes, uint32_t header_list_bytes
):
    cdef Http2Connection made = Http2Connection.__new__(Http2Connection)
    made.holder = <PyObject*>handler
    made.closed_code = -1
    made.first_window = window_bytes
    made.streams = StreamTable(is_client, FIRST_STREAMS if is_client else <Py_ssize_t>streams)
    made.sender = Http2Sender(FlowControl(), made.streams)
    made.control = Http2Control(made.sender, made.sender.flow, made.streams)
    made.incoming = Http2Incoming(made.control, header_list_bytes)
    return made
