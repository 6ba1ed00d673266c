cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly, WriteBuffer
from fastrpc._core.http2.frames cimport Http2Frame, Http2Parser, Http2Settings, OwnSettings, Violation
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HpackDecoder
from fastrpc._core.http2.sender cimport Http2Sender
from fastrpc._core.http2.stream_table cimport FlowControl, Http2Stream, StreamTable
from fastrpc._core.wire.budgets cimport PingCount
from fastrpc._core.wire.silence cimport Silence
from fastrpc._core.wire.window cimport Budget

cdef enum:
    # Our SETTINGS_MAX_FRAME_SIZE, and the window of a connection that is trusted.
    OWN_FRAME_LIMIT = 262_144
    WIDE_WINDOW = 16_777_216

cdef enum DrainStep:
    DRAIN_NONE = 0
    # GOAWAY with 2 ** 31 - 1 was sent: the peer opens nothing new once it has read it.
    DRAIN_ANNOUNCED = 1
    # GOAWAY with the last id was sent: streams with higher ids are dropped.
    DRAIN_FINAL = 2


@cython.final
cdef class Http2Control:
    cdef:
        # The parts of the connection that these frames concern.
        Http2Sender sender
        FlowControl flow
        StreamTable streams
        bint is_client

        # The settings of the peer, and whether they arrived; ours, and whether they were sent.
        Http2Settings peer
        bint is_settled
        OwnSettings ours
        bint has_opened

        # Whether our settings offer extended CONNECT (RFC 8441); set before they are sent.
        bint offers_connect

        # Our drain (DrainStep).
        int drain_step
        # The second step of the drain follows at the end of this read.
        bint drain_is_due
        # The instant of its first step.
        uint64_t drain_started_ns
        # The last id that is taken.
        uint32_t last_taken

        # The budgets of the peer. `short`: DATA that its windows force to be short; `credits`: frames of WINDOW_UPDATE
        # so far; `max_streams`: streams that may be open at once.
        Budget settings
        Budget skipped
        Budget late_frames
        Budget late_bytes
        Budget idle_work
        Budget short
        uint64_t credits
        int64_t max_streams

        # The streams that were refused for their number before the peer knew the limit.
        uint32_t early_refusals

        # The peer's pings: their shortest allowed interval, and the frames that we had sent before the last one. The
        # peer's silence.
        PingCount pings
        uint64_t ping_gap_ns
        uint64_t sent_before_ping
        Silence silence

    cdef int open(self, uint32_t window_bytes, uint32_t header_list_bytes) except -1

    # Frames of the peer. Functions with a `Violation` return -1 for a broken rule, and for a used-up budget.
    # `take_settings`: 1: its settings have changed.
    cdef int take_settings(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2
    cdef int take_ping(self, Http2Frame* frame, uint64_t now, bint is_stuck, Violation* violation) except -2
    cdef int take_window_update(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2

    # Return the streams that the peer did not process; None: the peer broke a rule.
    cdef list take_goaway(self, Http2Frame* frame, Violation* violation)

    # A frame has no effect.
    cdef int skip(self, int kind, uint64_t now, Violation* violation) noexcept
    # Count a frame for an ended stream; `size`: for DATA its size, for other frames -1.
    cdef int drop_late(self, uint32_t id, Py_ssize_t size, uint64_t now, Violation* violation) noexcept
    # Count a stream that the client wasted.
    cdef int spend_idle_work(self, uint64_t now, Violation* violation) noexcept
    # Count a stream that was refused for its number.
    cdef int note_refused(self, uint64_t now, Violation* violation) noexcept
    # A stream ended: frames for it may still come.
    cdef int expect_late(self, bint with_data) noexcept

    # The end.
    cdef bint start_drain(self, str text, uint64_t now) except -1
    cdef bint finish_drain(self) except -1
    cdef int say_goodbye(self, int code, str text) except -1

    # Compare the instants with now; return the Verdict about the peer, and the next instant, 0 = never.
    cdef int check(self, uint64_t now, uint64_t heard_ns, uint64_t* due) except -1


cdef enum BlockKind:
    # An interim head (1xx), the head of a message, trailers.
    BLOCK_INTERIM = 0
    BLOCK_HEAD = 1
    BLOCK_TRAILERS = 2


@cython.final
cdef class Http2Incoming:
    cdef:
        # The parts of the connection that receiving needs, and where its credit is written.
        Http2Parser parser
        HpackDecoder decoder
        StreamTable streams
        FlowControl flow
        Http2Control control
        WriteBuffer out

        # When an incomplete frame or header block began (0: none has), and its received bytes, including consumed ones.
        uint64_t began_ns
        Py_ssize_t came
        Py_ssize_t consumed

        # The stream whose DATA frame is received, None: it is over or was refused; the place of its long message.
        Http2Stream data_stream
        Assembly sink

    # Consume the next frame, or part of one, as `Http2Parser.parse`; note an incomplete one.
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame, uint64_t now) except? -1
    cdef int note_rest(self, Py_ssize_t rest, uint64_t now) noexcept

    # Take a head or trailers: return its BlockKind, -1: it breaks a rule of the stream.
    cdef int take_block(self, Http2Stream stream, HeaderBlock block, bint ends_stream, Violation* violation) except -2

    # Take DATA from the windows by the head of its frame, and find its stream. -1: a violation.
    cdef int begin_data(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2

    # Return the place of the next bytes of a long frame in an assembly; count bytes that were received there, return
    # whether they end the stream.
    cdef char* place_in(self, Assembly sink, Py_ssize_t* room, Py_ssize_t trusted) except? NULL
    cdef bint placed(self, Py_ssize_t size, uint64_t now) except -1

    # Return the bytes that may still arrive for a stream: the rest of its window, and of a frame under way.
    cdef inline int64_t to_come(self, Http2Stream stream) noexcept:
        return self.flow.receivable(&stream.windows) + (self.parser.missing_data() if self.data_stream is stream else 0)

    # Return the credit of the connection for placed bytes, or the credit of a stream (for a grant beyond its window,
    # for its growth).
    cdef int place(self, Py_ssize_t size) except -1
    cdef inline int place_of(self, Http2Stream stream, Py_ssize_t size) except -1:
        if stream is None or not stream.keeps_credit:
            return self.place(size)
        stream.kept_credit += size
        return 0

    cdef int release(self, Http2Stream stream) except -1
    cdef int take(self, Http2Stream stream, Py_ssize_t size, bint may_lend) except -1
    cdef int reader_waits(self, Http2Stream stream, bint may_lend) except -1
    cdef int grant(self, Http2Stream stream, int64_t size) except -1
    cdef int widen(self) except -1
