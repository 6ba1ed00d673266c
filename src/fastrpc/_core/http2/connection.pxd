"""An HTTP/2 connection of a client or a server: it calls hooks for received frames, and writes frames for its user."""

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
    # The flag of a compressed gRPC message.
    MESSAGE_COMPRESSED = 1


@cython.final
cdef class Http2Connection:
    cdef:
        # The engine that holds this object, borrowed. It is valid in every method, since only the engine, and calls
        # through it, reach this object.
        PyObject* _engine

        # The `StreamHandler` of the connection's user, borrowed, as it holds this object.
        PyObject* holder

        # The parts of the connection. Its user reads `count_open()` and `limit` of the streams, to know whether a client
        # may open another one; `peer` (the peer's settings), `is_settled` (whether they arrived) and `drain_step` of the
        # control; `began_ns` and `came` of the incoming part, about an incomplete frame.
        StreamTable streams
        Http2Sender sender
        Http2Control control
        Http2Incoming incoming

        # The first window of each stream, as announced to the peer.
        uint32_t first_window

        # The size of the largest complete message so far, set by the user for `Assembly.place`.
        Py_ssize_t trusted

        # Whether the side above knows the peer. A stranger gets no wide window, and its streams keep their credit.
        bint has_known_peer

        # The offset in the output at which the head that is being written begins.
        Py_ssize_t _head_at

        # Whether the tasks of streams with room must run before further pieces of long messages are written.
        bint _streams_have_turn

        # `is_closed`: whether the connection has ended. `closed_code`, `closed_text`: the code and the text of this
        # side's GOAWAY if this side ended the connection; before that -1.
        readonly bint is_closed
        readonly int closed_code
        readonly str closed_text

    # `engine` returns the engine, `instant` its instant, `stream_below` its byte stream or NULL; `written` asks to
    # flush its output.
    cdef inline Engine engine(self):
        return <Engine>self._engine

    cdef inline uint64_t instant(self) noexcept:
        return (<Engine>self._engine).now

    cdef inline int not_before(self, uint64_t now) noexcept:
        """Advance the engine's instant to `now`, which may be later than the last read."""
        if now > (<Engine>self._engine).now:
            (<Engine>self._engine).now = now
        return 0

    cdef inline PyObject* stream_below(self) noexcept:
        return (<Engine>self._engine)._stream

    cdef inline int written(self) except -1:
        return (<Engine>self._engine).written()

    # The life. `join` is called once and first: it makes the sender of this object the output of the engine. `open` sends
    # the preface (a client's), SETTINGS and, with `is_wide`, the wide window. `lend` sets how much streams may borrow
    # beyond their first windows: nothing before. `lost` is called when the byte stream is gone.
    cdef int join(self, Engine engine) except -1
    cdef int lost(self) except -1
    cdef int lend(self, int64_t pool_bytes, int64_t message_bytes) noexcept
    cdef int open(self, bint is_wide) except -1

    # Set the rules for pings, in seconds. A silent peer is pinged after `interval` (0: never) and dropped after `timeout`.
    # The peer gets a strike for a ping within half of `minimum_interval` after the last one, unless we sent HEADERS or
    # DATA in between.
    cdef int set_pings(self, double interval, double timeout, double minimum_interval) except -1

    # Methods for streams, which have no effect on an ended stream. `open_stream` returns None if no stream can be opened
    # now: the peer's limit is reached (until `on_settings` or `on_over`), the peer has sent GOAWAY, or the ids are used
    # up. The head of an opened stream must be sent before another stream is opened.
    cdef Http2Stream open_stream(self)

    # Return whether more may be sent on a stream: its end on this side is neither written nor queued.
    cdef bint is_open(self, Http2Stream stream) noexcept

    # A head, in one go or in parts: `begin_head` (False: the stream is over), any number of `sender.put_fields` and
    # `put_field`, `end_head`, with no other order in between. It is written at once. `fields` is a list of (token, name,
    # value), or None.
    cdef int send_head(self, Http2Stream stream, HeaderTemplate template, list fields, bint ends_stream) except -1
    cdef bint begin_head(self, Http2Stream stream) except -1
    cdef int put_field(self, int token, bytes name, bytes value) except -1
    cdef int end_head(self, Http2Stream stream, bint ends_stream) except -1

    # `send_message` sends a gRPC message with its prefix of five bytes, `send_data` sends plain bytes. Both queue, in
    # order, what has to wait for windows and turns. A sender of many messages checks `is_full` before each; if it is full,
    # the sender calls `await_turn` and waits for `on_sendable`.
    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1
    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1
    cdef bint is_full(self, Http2Stream stream) noexcept
    cdef int await_turn(self, Http2Stream stream) except -1

    # Send trailers, or the end, after all queued output of a stream. If a server ends its side before the client does,
    # RST_STREAM with CODE_NONE follows by itself, which ends the whole stream.
    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1
    cdef int end_stream(self, Http2Stream stream) except -1

    # Reset a stream and drop its queued messages; this has no effect on an ended stream.
    cdef int reset(self, Http2Stream stream, uint32_t code) except -1

    # Return the held-back credit of a stream. If `on_head` sets `keeps_credit`, the connection's credit for received bytes
    # of the stream is held back until this call or the end of the stream.
    cdef int release(self, Http2Stream stream) except -1

    # Return `size` bytes to the window of a stream, as the program has read them (prefixes included).
    cdef int took(self, Http2Stream stream, Py_ssize_t size) except -1
    # Do the same for messages, except for bytes that were granted beyond the window: these go back to the pool.
    cdef int took_messages(self, Http2Stream stream, Py_ssize_t size) except -1
    # Grant waiting messages, in order, as far as the pool has room again.
    cdef int grant_waiting(self) except -1
    # Let the window grow if it was too small, as the program waits for a message.
    cdef int let_grow(self, Http2Stream stream) except -1
    # Grant `size` bytes beyond the window of a stream.
    cdef int grant(self, Http2Stream stream, int64_t size) except -1

    # Methods for the connection. `widen` raises its window to WIDE_WINDOW. A drain has two steps; the second follows by
    # itself once the peer has read the first, or after a second (`check_http2`). `close_with` sends GOAWAY and ends the
    # connection. `fall_silent` stops all output, for a user that ends the connection itself.
    cdef int widen(self) except -1
    cdef int start_drain(self, str text) except -1
    cdef int finish_drain(self) except -1
    cdef int close_with(self, int code, str text) except -1
    cdef int end(self, int code, str text, bint lingers) except -1
    cdef int fall_silent(self, int code, str text) except -1

    # Refill a server's budget of idle work (PROTOCOL.md 9), because a call was answered.
    cdef int note_answered(self) noexcept
    # Count a call that was refused for its caller's fault. The connection ends when the budget is used up.
    cdef int note_idle_work(self) except -1

    # `take` processes received bytes and returns the number of consumed bytes. `forgive` is called if input was not read
    # for `late` nanoseconds, which then do not count as silence of the peer.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1
    cdef int forgive(self, uint64_t late) except -1

    # Receive a long message directly into its memory: `place` returns the place, `placed` notes received bytes,
    # `completes` returns whether `size` more bytes complete the message.
    cdef char* place(self, Py_ssize_t* room) except? NULL
    cdef int placed(self, Py_ssize_t size) except -1
    cdef bint completes(self, Py_ssize_t size) noexcept

    # Write queued output; called by the engine when `sender.is_waiting()`, and after its turn.
    cdef int pump(self) except -1
    cdef inline int rest(self) noexcept:
        return NOTHING if self._streams_have_turn else self.sender.rest()

    cdef inline int turn_over(self) noexcept:
        self._streams_have_turn = False
        return 0

    # Return the bytes of output that the peer has not read. `held_bytes` returns the memory of header blocks and
    # tables.
    cdef Py_ssize_t unsent_bytes(self) except? -1
    cdef Py_ssize_t held_bytes(self) noexcept

    # Check the deadlines of this layer (pings, drain); return the next one, 0 = none. The user calls it from its `check`,
    # which `schedule_check` of the byte stream triggers.
    cdef uint64_t check_http2(self, uint64_t now) except? 0


# Make the connection of a handler, which must hold it. With 0 `streams`, as for a client, no limit is announced.
cdef Http2Connection new_http2(
    StreamHandler handler, bint is_client, uint32_t streams, uint32_t window_bytes, uint32_t header_list_bytes
)
