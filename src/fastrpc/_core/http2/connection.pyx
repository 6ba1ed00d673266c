"""A connection of HTTP/2, of either side: frames into hooks, orders into frames, all rules in between.

::

    take ─────► Http2Parser ──► HEADERS: HpackDecoder ──► on_head, on_trailers
                   │            DATA ──► windows ───────► on_data, or into place: sink_for, on_placed
                   │            RST_STREAM, GOAWAY ─────► on_reset, on_goaway
                   │            SETTINGS, PING, WINDOW_UPDATE: handled here
                   └─► a broken rule, a budget used up ─► on_stream_violation, RST_STREAM; on_violation, GOAWAY, the end

    send_head, send_message, send_trailers, reset ──► Http2Sender ──► pump ──► the byte stream

A side of gRPC is its `StreamHandler`, which holds it: the side implements the hooks and gives the orders. The engine above
both has the life of the connection, the time and the byte stream; the engine's output is the sender of this object. All
frames of a read, or of a turn of the loop, share one write. A unary exchange crosses six times between the two: on_head,
on_data; send_head, send_message, send_trailers; on_over.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from fastrpc._core.base.big_endian cimport store32_big
from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.http2.frames cimport (
    CODE_NONE, CODE_REFUSED_STREAM, KIND_DATA, KIND_GOAWAY, KIND_HEADERS, KIND_NOTHING, KIND_PING, KIND_RST_STREAM,
    KIND_SETTINGS, KIND_WINDOW_UPDATE, RULE_NONE, RULE_STREAM_LIMIT,
)
from fastrpc._core.http2.frames cimport Http2Frame, ends_connection, error_code, put_reset, violation_text
from fastrpc._core.http2.hpack cimport HpackDecoder, indexing_of
from fastrpc._core.http2.incoming cimport BLOCK_HEAD, BLOCK_TRAILERS, new_control, new_incoming
from fastrpc._core.http2.sender cimport PREFIX_BYTES, new_sender
from fastrpc._core.http2.stream_table cimport FlowControl
from fastrpc._core.io.engine cimport STREAM_SHARE, ByteStream
from fastrpc._core.wire.budgets cimport pay_idle_work
from fastrpc._core.wire.growth cimport open_window_pool
from fastrpc._core.wire.silence cimport PEER_IS_GONE, forgive_silence

cdef enum:
    # The streams that a client opens before it knows the server's limit, as grpc-go does.
    FIRST_STREAMS = 100
    # Bytes of fields whose decoding and checks take as long as a message.
    HEAD_SHARE = 1_024


@cython.final
cdef class Http2Connection:
    """The state of one connection of HTTP/2, without input and output."""

    @property
    def stream_pool_left(self):
        """Bytes that streams may still borrow."""
        return self.incoming.flow.pool.left

    @property
    def growth_left(self):
        """The bytes of the pool that windows may take."""
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
        # As for native: half of the announced distance, although HTTP/2 does not announce it.
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
        # Held: a hook may order the end.
        cdef Engine engine = self.engine()
        while at < size and not self.is_closed:
            taken = self.incoming.parse(data + at, size - at, &frame, engine.now)
            if taken < 0:
                return size + self._violate(&frame.violation)
            if taken == 0:
                return at + (self.finish_drain() if self.control.drain_is_due else 0)
            at += taken
            if frame.kind == KIND_NOTHING:
                continue
            self._take_frame(&frame)
            # No `-=`, which would take a reference first.
            engine.messages_left = engine.messages_left - 1
            if engine.messages_left < 0 and at < size and engine.has_to_wait():
                self.incoming.note_rest(0, engine.now)
                return at
        self.incoming.note_rest(0, engine.now)
        return size + (self.finish_drain() if self.control.drain_is_due else 0)

    @cython.nonecheck(False)
    cdef int _take_frame(self, Http2Frame* frame) except -1:
        if frame.kind == KIND_DATA:
            return self._take_data(frame)
        if frame.kind == KIND_HEADERS:
            return self._take_headers(frame)
        return self._take_reset(frame) if frame.kind == KIND_RST_STREAM else self._take_control(frame)

    # Messages

    @cython.nonecheck(False)
    cdef int _take_headers(self, Http2Frame* frame) except -1:
        cdef Violation violation
        cdef Http2Stream stream
        cdef int kind
        # Decoded in any case: the table of the connection has to stay in step, whatever becomes of the stream.
        cdef HeaderBlock block = self.incoming.decoder.decode(frame.data, frame.size, &violation)
        if block is None:
            return self._violate(&violation)
        if block.size >= HEAD_SHARE:
            (<Engine>self._engine).messages_left -= <int>(block.size // HEAD_SHARE)
        stream = self.streams.arrive(KIND_HEADERS, frame.stream, &violation)
        if stream is None:
            return self._refuse(frame.stream, block, &violation)
        if frame.stream > self.control.last_taken:
            self.streams.reset(stream, True)
            return self._drop_late(frame.stream, -1)
        if frame.violation.rule:
            return self._violate_stream(frame.stream, &frame.violation)
        kind = self.incoming.take_block(stream, block, frame.ends_stream, &violation)
        if kind == BLOCK_HEAD:
            stream.is_known = True
            (<StreamHandler>self.holder).on_head(stream, block, frame.ends_stream)
        elif kind == BLOCK_TRAILERS:
            (<StreamHandler>self.holder).on_trailers(stream, block)
        elif kind < 0 or self.control.skip(KIND_HEADERS, self.instant(), &violation) < 0:
            return self._violate_stream(frame.stream, &violation)
        return self._is_over(stream)

    cdef int _refuse(self, uint32_t id, HeaderBlock block, Violation* violation) except -1:
        """Answer HEADERS that come at the wrong time, or for a stream beyond the limit."""
        if violation.rule == RULE_NONE:
            return self._drop_late(id, -1)
        if violation.rule != RULE_STREAM_LIMIT:
            return self._violate_stream(id, violation)
        put_reset(self.sender.out, id, CODE_REFUSED_STREAM)
        self.written()
        self.control.expect_late(True)
        (<StreamHandler>self.holder).on_refused(id, block)
        self.engine().note_unanswered()
        return 0 if self.control.note_refused(self.instant(), violation) == 0 else self._violate(violation)

    @cython.nonecheck(False)
    cdef int _take_data(self, Http2Frame* frame) except -1:
        cdef Violation violation
        cdef Http2Stream stream
        if frame.is_first and self.incoming.begin_data(frame, self.instant(), &violation) < 0:
            self._violate_stream(frame.stream, &violation)
        stream = self.incoming.data_stream
        if not self.incoming.parser.is_within():
            self.incoming.data_stream = None
        # A stream that was reset meanwhile has ended.
        if stream is not None and not stream.is_ended_by_peer and (frame.size or frame.ends_stream):
            if self.streams.take_data(stream, frame.size, frame.ends_stream, &violation) < 0:
                self._violate_stream(stream.id, &violation)
            else:
                (<StreamHandler>self.holder).on_data(stream, frame.data, frame.size, frame.ends_stream)
                self._is_over(stream)
        return 0 if self.is_closed else self.incoming.place_of(stream, frame.size)

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
                self._violate_stream(stream.id, &violation)
            else:
                (<StreamHandler>self.holder).on_placed(stream, size, ends_stream)
                self._is_over(stream)
        return 0 if self.is_closed else self.incoming.place_of(stream, size)

    cdef bint completes(self, Py_ssize_t size) noexcept:
        cdef Assembly sink = self.incoming.sink
        return sink is None or size >= sink.total - sink.filled

    cdef int _take_reset(self, Http2Frame* frame) except -1:
        cdef Violation violation
        cdef Http2Stream stream = self.streams.arrive(KIND_RST_STREAM, frame.stream, &violation)
        if violation.rule:
            return self._violate(&violation)
        if stream is None:
            return self._drop_late(frame.stream, -1)
        self.engine().note_unanswered()
        self.sender.drop_unsent(stream)
        self.streams.reset(stream, False)
        # Counted before the stream has any effect.
        self.note_idle_work()
        if self.is_closed or not stream.is_known:
            return 0
        (<StreamHandler>self.holder).on_reset(stream, frame.number)
        return self._is_over(stream)

    # Frames of the connection

    cdef int _take_control(self, Http2Frame* frame) except -1:
        cdef Violation violation
        cdef int done = 0
        violation.rule = RULE_NONE
        if frame.kind == KIND_WINDOW_UPDATE:
            done = self.control.take_window_update(frame, self.instant(), &violation)
        elif frame.kind == KIND_SETTINGS:
            done = self.control.take_settings(frame, self.instant(), &violation)
            if done > 0:
                (<StreamHandler>self.holder).on_settings()
        elif frame.kind == KIND_PING:
            self.engine().note_unanswered()
            done = self.control.take_ping(frame, self.instant(), self._is_stuck(), &violation)
        elif frame.violation.rule:
            # PRIORITY. A stream that is idle cannot be reset.
            return self._violate(&frame.violation) if self.streams.find(frame.stream) is None else (
                self._violate_stream(frame.stream, &frame.violation)
            )
        else:
            self.engine().note_unanswered()
            done = self.control.skip(frame.kind, self.instant(), &violation)
            if done == 0 and frame.kind == KIND_GOAWAY:
                done = self._take_goaway(frame, &violation)
        if done < 0:
            return self._violate_stream(frame.stream, &violation)
        return self.written() if self.sender.is_waiting() or self.sender.size() else 0

    cdef int _take_goaway(self, Http2Frame* frame, Violation* violation) except -2:
        cdef list not_taken = self.control.take_goaway(frame, violation)
        if not_taken is None:
            return -1
        return (<StreamHandler>self.holder).on_goaway(
            frame.last_stream, frame.number, PyBytes_FromStringAndSize(frame.data, frame.size), not_taken
        )

    # Broken rules

    cdef int _violate(self, const Violation* violation) except -1:
        """End the connection for a broken rule."""
        cdef int code = error_code(violation.rule)
        cdef str text = violation_text(violation)
        if self.is_closed:
            return 0
        (<StreamHandler>self.holder).on_violation(code, text)
        return self.close_with(code, text)

    cdef int _violate_stream(self, uint32_t id, const Violation* violation) except -1:
        """Reset a stream for a broken rule, or answer a frame of an ended stream; end the connection for other rules."""
        cdef Http2Stream stream
        if ends_connection(violation.rule):
            return self._violate(violation)
        stream = self.streams.find(id)
        self.engine().note_unanswered()
        put_reset(self.sender.out, id, error_code(violation.rule))
        self.written()
        self.control.expect_late(True)
        if stream is not None:
            self.sender.drop_unsent(stream)
            self.streams.reset(stream, True)
        self.note_idle_work()
        if self.is_closed or stream is None or not stream.is_known:
            return 0
        (<StreamHandler>self.holder).on_stream_violation(stream, violation)
        return self._is_over(stream)

    cdef int _drop_late(self, uint32_t id, Py_ssize_t size) except -1:
        """Drop a frame that an honest peer may have sent too late; too many such frames are a flood."""
        cdef Violation violation
        self.engine().note_unanswered()
        return 0 if self.control.drop_late(id, size, self.instant(), &violation) == 0 else self._violate(&violation)

    cdef int note_answered(self) noexcept:
        pay_idle_work(&self.control.idle_work)
        return 0

    cdef int note_idle_work(self) except -1:
        cdef Violation violation
        return 0 if self.control.spend_idle_work(self.instant(), &violation) == 0 else self._violate(&violation)

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
        return self._sent(stream)

    cdef bint begin_head(self, Http2Stream stream) except -1:
        if not self.is_open(stream):
            return False
        self._head_at = self.sender.begin_head()
        return True

    cdef int put_template(self, HeaderTemplate template) except -1:
        return self.sender.put_fields(template, None)

    cdef int put_field(self, int token, bytes name, bytes value) except -1:
        return self.sender.encoder.put(self.sender.out, token, name, value, indexing_of(token, name))

    cdef int end_head(self, Http2Stream stream, bint ends_stream) except -1:
        self.sender.end_head(stream, self._head_at, ends_stream)
        return self._sent(stream)

    @cython.nonecheck(False)
    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1:
        cdef char[PREFIX_BYTES] prefix
        if stream.is_ended_by_us or self.is_closed:
            return 0
        prefix[0] = <char>flags
        store32_big(prefix + 1, <uint32_t>PyBytes_GET_SIZE(payload))
        self.sender.send(stream, prefix, payload, ends_stream)
        return self._sent(stream)

    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1:
        if not self.is_open(stream) or (PyBytes_GET_SIZE(payload) == 0 and not ends_stream):
            return 0
        self.sender.send(stream, NULL, payload, ends_stream)
        return self._sent(stream)

    cdef int end_stream(self, Http2Stream stream) except -1:
        return self.send_data(stream, b"", True)

    @cython.nonecheck(False)
    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1:
        if stream.is_ended_by_us or self.is_closed:
            return 0
        self.sender.send_trailers(stream, template, fields)
        return self._sent(stream)

    cdef int reset(self, Http2Stream stream, uint32_t code) except -1:
        if self.is_closed or (stream.is_ended_by_us and stream.is_ended_by_peer):
            return 0
        self.sender.drop_unsent(stream)
        put_reset(self.sender.out, stream.id, code)
        self.streams.reset(stream, True)
        self.written()
        return self._is_over(stream)

    cdef bint is_full(self, Http2Stream stream) noexcept:
        return self._is_stuck() or not self.sender.has_room(stream)

    cdef bint _is_stuck(self) noexcept:
        return self.stream_below() is not NULL and (<ByteStream>self.stream_below()).is_stuck()

    cdef int await_turn(self, Http2Stream stream) except -1:
        if not self.is_open(stream):
            return 0
        self.sender.wait_turn(stream)
        return self.written()

    cdef int took(self, Http2Stream stream, Py_ssize_t size) except -1:
        cdef bint may_lend = stream.windows.growth.grown == 0 or self._may_lend()
        return 0 if self.is_closed else self.incoming.take(stream, size, may_lend) + self.written()

    cdef bint _may_lend(self) noexcept:
        """Return whether windows may grow. Messages that wait for the pool have priority."""
        return self.incoming.flow.waiting is None and (<StreamHandler>self.holder).may_lend()

    cdef int took_messages(self, Http2Stream stream, Py_ssize_t size) except -1:
        cdef FlowControl flow = self.incoming.flow
        cdef int64_t left = flow.pool.left
        self.took(stream, size - <Py_ssize_t>flow.repay(&stream.windows, size))
        # Most messages got no grant: then the pool has none for waiting ones.
        return 0 if flow.waiting is None or flow.pool.left == left else self.grant_waiting()

    cdef int grant_waiting(self) except -1:
        # A stream that still has to wait takes its place again: all later ones wait, too.
        for stream in self.incoming.flow.take_waiting():
            (<StreamHandler>self.holder).grant_rest(<Http2Stream>stream, False)
        return 0

    cdef int let_grow(self, Http2Stream stream) except -1:
        if self.is_closed or not stream.windows.growth.was_short:
            return 0
        return self.incoming.reader_waits(stream, self._may_lend()) + self.written()

    cdef int grant_awaited(self, Http2Stream stream) except -1:
        return (<StreamHandler>self.holder).grant_rest(stream, True)

    cdef int release(self, Http2Stream stream) except -1:
        return 0 if self.is_closed else self.incoming.release(stream) + self.written()

    cdef int grant(self, Http2Stream stream, int64_t size) except -1:
        return 0 if self.is_closed else self.incoming.grant(stream, size) + self.written()

    @cython.nonecheck(False)
    cdef int _sent(self, Http2Stream stream) except -1:
        """Note a written frame of a stream, perhaps its last one, and flush it."""
        if stream.is_ended_by_us:
            self._is_over(stream)
        return self.written()

    @cython.nonecheck(False)
    cdef int _is_over(self, Http2Stream stream) except -1:
        """Notify the side, once, of a stream that both sides have ended."""
        if not (stream.is_known and stream.is_ended_by_us and stream.is_ended_by_peer):
            return 0
        stream.is_known = False
        self.incoming.flow.end_window(&stream.windows)
        if stream.keeps_credit and not self.is_closed:
            self.release(stream)
        self.control.expect_late(stream.was_cut_short)
        if self.is_closed:
            return 0
        (<StreamHandler>self.holder).on_over(stream)
        return 0 if self.incoming.flow.waiting is None else self.grant_waiting()

    # Bytes out

    @cython.nonecheck(False)
    cdef int pump(self) except -1:
        cdef Http2Sender sender = self.sender
        cdef list woken
        sender.pump(STREAM_SHARE, not self._streams_have_turn)
        while sender.over:
            self._is_over(<Http2Stream>sender.over.pop())
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
            # Received bytes wait for their turn: they prove that the peer lives.
            engine.received_ns = now
        if self.control.check(now, engine.received_ns, &due) == PEER_IS_GONE:
            silent = (now - engine.received_ns) / 1e9
            self.end(CODE_NONE, f"nothing came for {silent:.1f} s, a ping included", False)
            engine.abort()
            return 0
        if self.sender.size():
            self.written()
        return due


cdef Http2Connection new_http2(
    StreamHandler handler, bint is_client, uint32_t streams, uint32_t window_bytes, uint32_t header_list_bytes
):
    cdef Http2Connection made = Http2Connection.__new__(Http2Connection)
    made.holder = <PyObject*>handler
    made.closed_code = -1
    made.first_window = window_bytes
    made.streams = StreamTable(is_client, FIRST_STREAMS if is_client else <Py_ssize_t>streams)
    made.sender = new_sender(FlowControl(), made.streams)
    made.control = new_control(made.sender, made.sender.flow, made.streams)
    made.incoming = new_incoming(made.control, header_list_bytes)
    return made
