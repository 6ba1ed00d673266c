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
    # OWN_FRAME_LIMIT: our SETTINGS_MAX_FRAME_SIZE. WIDE_WINDOW: the window of a connection whose client is known.
    OWN_FRAME_LIMIT = 262_144
    WIDE_WINDOW = 16_777_216

cdef enum DrainStep:
    DRAIN_NONE = 0
    # GOAWAY with the id 2 ** 31 - 1 was sent. The peer opens no streams once it has read this.
    DRAIN_ANNOUNCED = 1
    # GOAWAY with the last id was sent: streams with higher ids are dropped.
    DRAIN_FINAL = 2


@cython.final
cdef class Http2Control:
    cdef:
        # The parts of the connection that its control frames change.
        Http2Sender sender
        FlowControl flow
        StreamTable streams
        bint is_client

        # `peer`: the settings of the peer; `is_settled`: whether they arrived; `ours`: our settings; `has_opened`:
        # whether they were sent.
        Http2Settings peer
        bint is_settled
        OwnSettings ours
        bint has_opened

        # Whether our settings offer extended CONNECT (RFC 8441); set before they are sent.
        bint offers_connect

        # Our drain (DrainStep).
        int drain_step
        # Whether the second step of the drain follows at the end of this read.
        bint drain_is_due
        # When the first step of the drain was sent.
        uint64_t drain_started_ns
        # The highest id of streams that are processed.
        uint32_t last_taken

        # The budgets of the peer (see the drawing in the `.pyx`). `credits`: the number of its WINDOW_UPDATE frames so
        # far; `max_streams`: the most streams that may be open at a time.
        Budget settings
        Budget skipped
        Budget late_frames
        Budget late_bytes
        Budget idle_work
        Budget short
        uint64_t credits
        int64_t max_streams

        # The number of streams beyond the limit that were refused before the peer knew it.
        uint32_t early_refusals

        # `pings`: the count of the peer's pings; `ping_gap_ns`: their shortest allowed interval; `sent_before_ping`:
        # how many frames we had sent before the last one; `silence`: the rules for a silent peer.
        PingCount pings
        uint64_t ping_gap_ns
        uint64_t sent_before_ping
        Silence silence

    cdef int open(self, uint32_t window_bytes, uint32_t header_list_bytes) except -1

    # Handle frames of the peer. Functions with a `Violation` return -1 for a broken rule or a used-up budget.
    # `take_settings` returns 1 if the peer's settings have changed.
    cdef int take_settings(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2
    cdef int take_ping(self, Http2Frame* frame, uint64_t now, bint is_stuck, Violation* violation) except -2
    cdef int take_window_update(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2

    # Handle GOAWAY; return the streams that the peer did not process, or None if it broke a rule.
    cdef list take_goaway(self, Http2Frame* frame, Violation* violation)

    # Count a frame without effect.
    cdef int skip(self, int kind, uint64_t now, Violation* violation) noexcept
    # Count a frame for an ended stream. `size` is the size of DATA, -1 for other frames.
    cdef int drop_late(self, uint32_t id, Py_ssize_t size, uint64_t now, Violation* violation) noexcept
    # Count a stream that the client opened for nothing: it was reset or refused.
    cdef int spend_idle_work(self, uint64_t now, Violation* violation) noexcept
    # Count a stream that was refused because too many were open.
    cdef int note_refused(self, uint64_t now, Violation* violation) noexcept
    # Allow late frames for a stream that has ended, `with_data`: also DATA.
    cdef int expect_late(self, bint with_data) noexcept

    # The end.
    cdef bint start_drain(self, str text, uint64_t now) except -1
    cdef bint finish_drain(self) except -1
    cdef int say_goodbye(self, int code, str text) except -1

    # Check the deadlines; return the Verdict about the peer, and set `due` to the next deadline, 0 = none.
    cdef int check(self, uint64_t now, uint64_t heard_ns, uint64_t* due) except -1


cdef enum BlockKind:
    # An interim head (1xx), the head of a message, trailers.
    BLOCK_INTERIM = 0
    BLOCK_HEAD = 1
    BLOCK_TRAILERS = 2


@cython.final
cdef class Http2Incoming:
    cdef:
        # The parts of the connection that receiving needs. `out`: the output, for WINDOW_UPDATE.
        Http2Parser parser
        HpackDecoder decoder
        StreamTable streams
        FlowControl flow
        Http2Control control
        WriteBuffer out

        # For an incomplete frame or header block. `began_ns`: the instant at which it began, 0 without one.
        # `came`: its received bytes. `consumed`: the consumed bytes among them.
        uint64_t began_ns
        Py_ssize_t came
        Py_ssize_t consumed

        # `data_stream`: the stream of the DATA frame that is being received, or None if it is over or was refused;
        # `sink`: the assembly into which its long message is received.
        Http2Stream data_stream
        Assembly sink

    # Call `Http2Parser.parse`, and keep track of an incomplete frame.
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame, uint64_t now) except? -1
    cdef int note_rest(self, Py_ssize_t rest, uint64_t now) noexcept

    # Check a head or trailers; return the BlockKind, or -1 if a rule of the stream is broken.
    cdef int take_block(self, Http2Stream stream, HeaderBlock block, bint ends_stream, Violation* violation) except -2

    # Count a DATA frame for the windows at its header, and set `data_stream`. Return -1 if a rule is broken.
    cdef int begin_data(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2

    # `place_in` returns where the next bytes of a long frame are received in an assembly, or NULL. `placed` counts
    # bytes that were received there, and returns whether they end the stream.
    cdef char* place_in(self, Assembly sink, Py_ssize_t* room, Py_ssize_t trusted) except? NULL
    cdef bint placed(self, Py_ssize_t size, uint64_t now) except -1

    # Return the bytes that may still arrive for a stream: the rest of its window, and the rest of the present frame.
    cdef inline int64_t to_come(self, Http2Stream stream) noexcept:
        return self.flow.receivable(&stream.windows) + (self.parser.missing_data() if self.data_stream is stream else 0)

    # Return credit to the peer: credit of the connection for processed bytes; credit of a stream for processed bytes,
    # for a window that may grow, or for a grant beyond the window.
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
