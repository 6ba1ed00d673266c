"""A connection of HTTP/2, of either side: frames into hooks, orders into frames, all rules in between."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.http2.hpack cimport HeaderTemplate
from fastrpc._core.http2.incoming cimport Http2Control, Http2Incoming
from fastrpc._core.http2.sender cimport Http2Sender
from fastrpc._core.http2.stream_handler cimport StreamHandler
from fastrpc._core.http2.stream_table cimport Http2Stream, StreamTable
from fastrpc._core.io.engine cimport NOTHING, Engine

cdef enum:
    # Flag of a gRPC message: it is compressed.
    MESSAGE_COMPRESSED = 1


@cython.final
cdef class Http2Connection:
    cdef:
        # The engine above it, borrowed: valid in every hook and order, since only the engine, and calls through it,
        # reach this object.
        PyObject* _engine

        # The side that takes its frames, borrowed in the same way: it holds this object.
        PyObject* holder

        # Its parts. Sides use these: `count_open()` and `limit` of the streams tell whether a client may open one more;
        # the control has the settings of the peer (`peer`), whether they arrived (`is_settled`), and the stage of our
        # drain (`drain_step`); `began_ns` and `came` of the incoming part describe an incomplete frame, for a
        # connection's life.
        StreamTable streams
        Http2Sender sender
        Http2Control control
        Http2Incoming incoming

        # The window of each stream, as announced to the peer.
        uint32_t first_window

        # The size of the largest complete message, set by the side above: `Assembly.place` uses it.
        Py_ssize_t trusted

        # Whether the side above knows the peer. A stranger gets no wide window, and its streams keep their credit.
        bint has_known_peer

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

    # The life. `join` once, before any other order: the output of the engine is the sender of this object. `open` sends
    # preface (a client's), SETTINGS and, with `is_wide`, the wide window. `lend`: what streams may borrow beyond their
    # first windows, none without it. `lost`: the byte stream is gone.
    cdef int join(self, Engine engine) except -1
    cdef int lost(self) except -1
    cdef int lend(self, int64_t pool_bytes, int64_t message_bytes) noexcept
    cdef int open(self, bint is_wide) except -1

    # The pings of both sides, in seconds: a silent peer is pinged after `interval` (0: never) and dropped after
    # `timeout`. Pings of the peer that come faster than half of `minimum_interval`, without an answer of ours between,
    # are strikes.
    cdef int set_pings(self, double interval, double timeout, double minimum_interval) except -1

    # Orders of streams, without effect on an ended stream. `open_stream` returns None if no stream can be opened now:
    # as many as the peer takes are open (a later `on_settings` or `on_over` has room again), the peer leaves, or the
    # ids are used up. The head of an opened stream is sent before another one is opened.
    cdef Http2Stream open_stream(self)

    # Whether our side of a stream takes further orders: its end is neither written nor waiting.
    cdef bint is_open(self, Http2Stream stream) noexcept

    # A head, in one go or in parts: `begin_head` (False: the stream is over), any number of `sender.put_fields` and
    # `put_field`, `end_head`, with no other order in between. It is written at once. `fields` is a list of (token, name,
    # value), or None.
    cdef int send_head(self, Http2Stream stream, HeaderTemplate template, list fields, bint ends_stream) except -1
    cdef bint begin_head(self, Http2Stream stream) except -1
    cdef int put_field(self, int token, bytes name, bytes value) except -1
    cdef int end_head(self, Http2Stream stream, bint ends_stream) except -1

    # `send_message` sends a gRPC message with its prefix of five bytes, `send_data` bytes as they are. Both wait for
    # windows and turns in order. The sender of many messages asks `is_full` before each and, if so, waits with
    # `await_turn` for `on_sendable`.
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

    # The program took `size` bytes of a stream, prefixes included: the window of the stream gets these bytes back.
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
    # A call was refused for its caller's fault. A used-up budget ends the connection.
    cdef int note_idle_work(self) except -1

    # Bytes in: `take` returns the number of consumed ones. Input was not read for `late` nanoseconds: silence of the peer
    # proves nothing.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1
    cdef int forgive(self, uint64_t late) except -1

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


# Make the connection of a handler, which holds it; `streams` 0: not announced, as by a client.
cdef Http2Connection new_http2(
    StreamHandler handler, bint is_client, uint32_t streams, uint32_t window_bytes, uint32_t header_list_bytes
)
