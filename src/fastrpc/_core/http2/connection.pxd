"""The wire of HTTP/2, of either side: frames into hooks, orders into frames, all rules in between."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.http2.frames cimport Http2Frame, Violation
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.http2.incoming cimport Http2Control, Http2Incoming
from fastrpc._core.http2.sender cimport Http2Sender
from fastrpc._core.http2.stream_table cimport Http2Stream, StreamTable
from fastrpc._core.io.engine cimport NOTHING, Engine
from fastrpc._core.link.contract cimport Wire

cdef enum:
    # Flag of a gRPC message: it is compressed.
    MESSAGE_COMPRESSED = 1


cdef class Http2Connection(Wire):
    cdef:
        # The engine that holds it, borrowed: valid in every hook and order, since only the engine, and calls through
        # it, reach this object.
        PyObject* _engine

        # Its parts. Sides use these: `count_open()` and `limit` of the streams tell whether a client may open one more;
        # the control has the settings of the peer (`peer`), whether they arrived (`is_settled`), and the stage of our
        # drain (`drain_step`); `began_ns` and `came` of the incoming part describe an incomplete frame, for a
        # connection's life.
        StreamTable streams
        Http2Sender sender
        Http2Control control
        Http2Incoming incoming

        readonly bint is_client
        uint32_t _window_bytes

        # The size of the largest complete message, set by the side above: `Assembly.place` uses it.
        Py_ssize_t trusted

        # The begin of a head under way.
        Py_ssize_t _head_at

        # Whether tasks of streams that have room run before the next pieces of long messages are written.
        bint _streams_have_turn

        # Whether the connection has ended. If this side ended it: the code of our GOAWAY, -1 before, and the text.
        readonly bint is_closed
        readonly int closed_code
        readonly str closed_text

    # The engine, its instant, its stream (NULL: it has none), and the end of a read.
    cdef inline Engine engine(self):
        return <Engine>self._engine

    cdef inline uint64_t instant(self) noexcept:
        return (<Engine>self._engine).now

    cdef inline int not_before(self, uint64_t now) noexcept:
        """Note the instant of the next order, which may be later than the last read."""
        if now > (<Engine>self._engine).now:
            (<Engine>self._engine).now = now
        return 0

    cdef inline PyObject* stream_below(self) noexcept:
        return (<Engine>self._engine)._stream

    cdef inline int written(self) except -1:
        return (<Engine>self._engine).written()

    # The life. `set_up` once, from `__init__` of a side; `streams` 0: not announced, as by a client. `open` sends preface
    # (a client's), SETTINGS and, with `is_wide`, the wide window: once the side has an engine. `lend`: what streams may
    # borrow beyond their first windows, none without it.
    cdef int set_up(self, bint is_client, uint32_t streams, uint32_t window_bytes, uint32_t header_list_bytes) except -1
    cdef int lend(self, int64_t pool_bytes, int64_t message_bytes) noexcept
    cdef int open(self, bint is_wide) except -1

    # The pings of both sides, in seconds: a silent peer is pinged after `interval` (0: never) and dropped after
    # `timeout`. Pings of the peer that come faster than half of `minimum_interval`, without an answer of ours between,
    # are strikes.
    cdef int set_pings(self, double interval, double timeout, double minimum_interval) except -1

    # Hooks: a side overrides these; each does nothing here. All pointers are valid during the call alone. A hook may give
    # any order, also reset its stream or end the connection. A stream is over once both sides ended it or one reset it.
    # Then `on_over` is the last hook about it, also where an order of the side did that: it comes from within the order, or
    # once what waits is written. The side drops its references then (`stream.user` is the side's own). A connection that is
    # over, or lost, has no further hooks about streams.
    #
    # The first head of a message: of a request to a server, of an answer to a client, where interim ones (1xx) are dropped.
    # A head that keeps all rules of RFC 9113 came. With `block.is_too_large` fields behind the limit are left out, and the
    # answer has to say so. Equal blocks are one object: `block.note` keeps what the side found out about it.
    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1

    # A part of DATA, empty only at the end of the stream: a frame may come in several parts. A part is placed when the hook
    # returns: the credit of the connection goes back by itself, the credit of the stream by `take`.
    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1

    # Where the message that a long DATA frame brings goes, or None (`on_data` gets all of it): the next bytes of the frame
    # up to `total - filled` are received there without a copy, and added to `filled` before `on_placed`.
    cdef Assembly sink_for(self, Http2Stream stream)
    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1

    # Trailers: they end the stream.
    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1

    # The peer reset the stream; or it broke a rule of it, and we have reset it.
    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1
    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1
    cdef int on_over(self, Http2Stream stream) except -1

    # A server refused a stream, as too many are open.
    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1

    # A stream that called `await_turn` has its turn, and all its earlier messages are written.
    cdef int on_sendable(self, Http2Stream stream) except -1

    # The peer's settings arrived, the first or new ones (`peer`): a client may have room for further streams.
    cdef int on_settings(self) except -1

    # GOAWAY of the peer. `not_taken`: our streams that it did not process; they are closed already (no `on_over`). With
    # CODE_CALM_DOWN and `debug` b"too_many_pings" a client doubles the interval of its pings on further connections.
    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1

    # The peer broke a rule of the connection, or used up a budget: GOAWAY and `on_closed` follow.
    cdef int on_violation(self, int code, str text) except -1

    # Whether windows may grow into free memory. Let the rest of a long message arrive, if one is under way;
    # `is_awaited`: the reader of its stream begins to wait for it.
    cdef bint may_lend(self) noexcept
    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1

    # This side ends the connection, by `close_with` or `end`, and its streams: what is written leaves, then the side ends
    # the byte stream, which reads on for a while if it `lingers`. Once. A side's own `lost` also calls `lost` of this class.
    cdef int on_closed(self, bint lingers) except -1

    # Orders of streams: for an ended stream they do nothing. None: no stream can be opened now: as many as the peer takes
    # are open (a later `on_settings` or `on_over` has room again), it leaves, or the ids are used up. The head of an opened
    # stream is sent before another one is opened.
    cdef Http2Stream open_stream(self)

    # A head, in one go or in parts: `begin_head` (False: the stream is over), any number of `put_template` and `put_field`,
    # `end_head`, with no other order in between. It is written at once. `fields` is a list of (token, name, value), or None.
    cdef int send_head(self, Http2Stream stream, HeaderTemplate template, list fields, bint ends_stream) except -1
    cdef bint begin_head(self, Http2Stream stream) except -1
    cdef int put_template(self, HeaderTemplate template) except -1
    cdef int put_field(self, int token, bytes name, bytes value) except -1
    cdef int end_head(self, Http2Stream stream, bint ends_stream) except -1

    # A gRPC message with its prefix of five bytes; bytes as they are. They wait for windows and turns in order. A stream
    # that has many asks `is_full` before each and, if so, waits with `await_turn` for `on_sendable`.
    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1
    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1
    cdef bint is_full(self, Http2Stream stream) noexcept
    cdef int await_turn(self, Http2Stream stream) except -1

    # Trailers after all waiting output. If a server's side of a stream ends before the client's, the whole stream ends:
    # RST_STREAM with CODE_NONE follows by itself.
    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1
    cdef int end_stream(self, Http2Stream stream) except -1

    # Reset a stream and drop its waiting messages; has no effect on an ended stream.
    cdef int reset(self, Http2Stream stream, uint32_t code) except -1

    # With `keeps_credit`, set in `on_head`, received bytes of the stream keep their credit of the connection until this
    # order, or until the stream is over.
    cdef int release(self, Http2Stream stream) except -1

    # The program took `size` bytes of a stream, prefixes included: its window gets them back.
    cdef int took(self, Http2Stream stream, Py_ssize_t size) except -1
    # As `took`, without the bytes that were granted beyond the window.
    cdef int took_messages(self, Http2Stream stream, Py_ssize_t size) except -1
    # Bytes may have been returned to the pool: accept waiting messages, in their order.
    cdef int grant_waiting(self) except -1
    # The program waits for a message: the window may grow.
    cdef int let_grow(self, Http2Stream stream) except -1
    # Let a message of `size` more bytes arrive at once, beyond the window.
    cdef int grant(self, Http2Stream stream, int64_t size) except -1

    # Orders of the connection. `widen` raises its window to WIDE_WINDOW. A drain has two steps; the second follows by itself
    # once the peer has read the first, or from `check` a second later. `close_with` sends GOAWAY and ends it.
    # `fall_silent`: nothing more is written, for an end that the side has ordered itself.
    cdef int widen(self) except -1
    cdef int start_drain(self, str text) except -1
    cdef int finish_drain(self) except -1
    cdef int close_with(self, int code, str text) except -1
    cdef int end(self, int code, str text, bint lingers) except -1
    cdef int fall_silent(self, int code, str text) except -1

    # Refill a server's budget of idle work (PROTOCOL.md 9), because a call was answered.
    cdef int note_answered(self) noexcept
    # A call was refused for its caller's fault. With none of the budget left the connection is over.
    cdef int note_idle_work(self) except -1

    # Bytes in place: a long message is received into its memory.
    cdef char* place(self, Py_ssize_t* room) except? NULL
    cdef int placed(self, Py_ssize_t size) except -1
    cdef bint completes(self, Py_ssize_t size) noexcept

    # Send output: called by the engine when `sender.is_waiting()`, and after its turn.
    cdef int pump(self) except -1
    cdef inline int rest(self) noexcept:
        return NOTHING if self._streams_have_turn else self.sender.rest()

    cdef inline int turn_over(self) noexcept:
        self._streams_have_turn = False
        return 0

    # Facts. Output that the peer has not taken; memory that the connection holds besides messages and output.
    cdef Py_ssize_t unsent_bytes(self) except? -1
    cdef Py_ssize_t held_bytes(self) noexcept

    # Compare the instants of this layer with now (pings, drain); return the next one, 0 = none. A side calls it from
    # its `check`; `schedule_check` of the stream starts these calls.
    cdef uint64_t check_http2(self, uint64_t now) except? 0

    # The frames of the peer.
    cdef int _take_frame(self, Http2Frame* frame) except -1
    cdef int _take_headers(self, Http2Frame* frame) except -1
    cdef int _refuse(self, uint32_t id, HeaderBlock block, Violation* violation) except -1
    cdef int _take_data(self, Http2Frame* frame) except -1
    cdef int _take_reset(self, Http2Frame* frame) except -1
    cdef int _take_control(self, Http2Frame* frame) except -1
    cdef int _take_goaway(self, Http2Frame* frame, Violation* violation) except -2

    # Broken rules, and frames that are dropped.
    cdef int _violate(self, const Violation* violation) except -1
    cdef int _violate_stream(self, uint32_t id, const Violation* violation) except -1
    cdef int _drop_late(self, uint32_t id, Py_ssize_t size) except -1

    # The parts of orders.
    cdef bint _is_open(self, Http2Stream stream) noexcept
    cdef bint _is_stuck(self) noexcept
    cdef int _sent(self, Http2Stream stream) except -1
    cdef int _is_over(self, Http2Stream stream) except -1
