cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.http2.frames cimport Http2Frame
from fastrpc._core.http2.sender cimport Http2Sender
from fastrpc._core.http2.settings cimport Http2Settings, OwnSettings
from fastrpc._core.http2.stream_table cimport StreamTable
from fastrpc._core.http2.violations cimport Violation
from fastrpc._core.http2.windows cimport FlowControl
from fastrpc._core.wire.budgets cimport PingCount
from fastrpc._core.wire.silence cimport Silence
from fastrpc._core.wire.window cimport Budget

cdef enum:
    # Our SETTINGS_MAX_FRAME_SIZE, and the window of a connection that is trusted.
    OWN_FRAME_LIMIT = 262_144
    WIDE_WINDOW = 16_777_216

cdef enum DrainStep:
    DRAIN_NONE = 0
    # GOAWAY with 2 ** 31 - 1 went out: the peer opens nothing new once it has read that.
    DRAIN_ANNOUNCED = 1
    # GOAWAY with the last id went out: higher streams are dropped.
    DRAIN_FINAL = 2


@cython.final
cdef class Http2Control:
    cdef:
        # The parts of the connection that these frames concern.
        Http2Sender sender
        FlowControl flow
        StreamTable streams
        bint is_client

        # The settings of the peer, and whether they came; ours, and whether they went out.
        Http2Settings peer
        bint is_settled
        OwnSettings ours
        bint has_opened

        # Our drain (DrainStep), the instant of its first step, and the last id that is taken.
        int drain_step
        uint64_t drain_started_ns
        uint32_t last_taken

        # The budgets of the peer. `short`: DATA that its windows force to be short; `credits`: frames of WINDOW_UPDATE so
        # far; `max_streams`: streams that may be open at once.
        Budget settings
        Budget skipped
        Budget late_frames
        Budget late_bytes
        Budget idle_work
        Budget short
        uint64_t credits
        int64_t max_streams

        # Its pings: they may come so close to each other, and the frames that we had sent before the last one. Its silence.
        PingCount pings
        uint64_t ping_gap_ns
        uint64_t sent_before_ping
        Silence silence

    cdef int open(self, uint32_t window_bytes, uint32_t header_list_bytes) except -1

    # Frames of the peer. Those with a `Violation` return -1 for a broken rule, also where a budget is used up.
    # `take_settings`: 1: its settings have changed.
    cdef int take_settings(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2
    cdef int take_ping(self, Http2Frame* frame, uint64_t now, bint is_stuck, Violation* violation) except -2
    cdef int take_window_update(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2

    # Return the streams that the peer did not take; None: a violation.
    cdef list take_goaway(self, Http2Frame* frame, Violation* violation)

    # A frame without effect; one for a stream that is over, of DATA with its size, else -1; a stream that the client wasted;
    # one that it did not; a stream that is over.
    cdef int skip(self, int kind, uint64_t now, Violation* violation) noexcept
    cdef int drop_late(self, uint32_t id, Py_ssize_t size, uint64_t now, Violation* violation) noexcept
    cdef int spend_idle_work(self, uint64_t now, Violation* violation) noexcept
    cdef int return_idle_work(self) noexcept
    cdef int expect_late(self, bint with_data) noexcept

    # The end.
    cdef bint start_drain(self, str text, uint64_t now) except -1
    cdef bint finish_drain(self) except -1
    cdef int say_goodbye(self, int code, str text) except -1

    # Compare the instants with now; return the Verdict about the peer, and the next instant, 0 = never.
    cdef int check(self, uint64_t now, uint64_t heard_ns, uint64_t* due) except -1
    cdef int forgive(self, uint64_t late) noexcept
    cdef int _apply_settings(self, Http2Frame* frame, Violation* violation) except -2


cdef Http2Control new_control(Http2Sender sender, FlowControl flow, StreamTable streams)
