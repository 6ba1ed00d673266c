"""The frames of a connection itself: SETTINGS, PING, WINDOW_UPDATE, GOAWAY; the budgets against floods; drain and silence.

::

    budget       PROTOCOL.md 9, with the frames that HTTP/2 has instead
    ──────────── ──────────────────────────────────────────────────────────────────────────────────────────
    settings     SETTINGS without ACK
    skipped      unknown kinds, PRIORITY, GOAWAY, empty DATA, interim heads, answers to no PING
    credits      WINDOW_UPDATE: so many in all, and for each frame of DATA or HEADERS that was sent to that peer
    late         frames for streams that are over: DATA by its bytes, others by their number
    idle work    streams that the client opened to reset, or that were refused or reset for its fault
    short        DATA that the peer's windows force to be short
    pings        three strikes

A part that knows no hooks: it answers what it can, and returns the broken rule to the connection.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcmp

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.http2.frames cimport (
    FLAG_ACK, KIND_PING, KIND_WINDOW_UPDATE, put_goaway, put_ping, put_preface,
)
from fastrpc._core.http2.settings cimport (
    SETTING_FRAME, SETTING_HEADER_LIST, SETTING_PUSH, SETTING_STREAMS, SETTING_WINDOW, put_settings_ack,
)
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.http2.violations cimport (
    CODE_NONE, RULE_CREDIT_FLOOD, RULE_IDLE_WORK, RULE_LATE_FLOOD, RULE_PING_ANSWERS, RULE_PING_FLOOD,
    RULE_SETTINGS_FLOOD, RULE_SHORT_WINDOWS, RULE_SKIPPED_FLOOD, RULE_ZERO_STREAM_INCREMENT, violated,
)
from fastrpc._core.native.parts_owner cimport LATE_BYTES_PER_SECOND
from fastrpc._core.wire.budgets cimport (
    CREDITS_PER_FRAME, FREE_CREDITS, LEAST_LATE_BYTES, SETTINGS_PER_MINUTE, UNSENT_PING_ACKS, expect_late_frames,
    is_early_ping, open_idle_work, open_late_frames, open_settings, open_skipped, pay_idle_work, too_many_answers,
)
from fastrpc._core.wire.frame cimport GOAWAY_TEXT_LIMIT
from fastrpc._core.wire.silence cimport PEER_IS_SILENT, PEER_LIVES, asked, forgive_silence, interval_of, judge_silence
from fastrpc._core.wire.window cimport (
    CONNECTION_WINDOW, IDLE_CALLS, IDLE_CALLS_PER_SLOT, fill, open_budget, spend, widen,
)

cdef enum:
    HIGHEST_ID = 0x7FFFFFFF
    PING_BYTES = 8

# PROTOCOL.md, "GOAWAY and close": the second step follows at most a second after the first.
cdef uint64_t FINAL_AFTER_NS = <uint64_t>SECOND

# The contents of our pings.
cdef bytes PING_OF_LIFE = b"fastrpc\0"
cdef bytes PING_OF_DRAIN = b"fastrpc\1"


@cython.final
cdef class Http2Control:
    """The frames of the connection itself, the budgets against floods, and the drain."""

    # SETTINGS

    cdef int open(self, uint32_t window_bytes, uint32_t header_list_bytes) except -1:
        """Send the preface of a client, and SETTINGS."""
        cdef dict values = {
            SETTING_WINDOW: window_bytes, SETTING_FRAME: OWN_FRAME_LIMIT, SETTING_HEADER_LIST: header_list_bytes,
        }
        if self.is_client:
            put_preface(self.sender.out)
            values[SETTING_PUSH] = 0
        else:
            values[SETTING_STREAMS] = self.max_streams
        self.has_opened = True
        return self.ours.send(self.sender.out, values)

    cdef int take_settings(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2:
        if not frame.flags & FLAG_ACK:
            if not spend(&self.settings, 1, now):
                return violated(violation, RULE_SETTINGS_FLOOD, 0, SETTINGS_PER_MINUTE)
            return self._apply_settings(frame, violation)
        if self.ours.acknowledge(violation) < 0:
            return -1
        return self.flow.change_first_receiving(self.ours.acknowledged.window_bytes)

    cdef int _apply_settings(self, Http2Frame* frame, Violation* violation) except -2:
        cdef int64_t first, highest = 0
        if self.peer.apply(frame.data, frame.size, self.is_client, violation) < 0:
            return -1
        first = self.peer.window_bytes
        if self.flow.needs_highest(first):
            highest = self.streams.highest_sending()
        if self.flow.change_first_sending(first, highest, violation) < 0:
            return -1
        self.sender.frame_limit = self.peer.frame_bytes
        put_settings_ack(self.sender.out)
        # The next header block begins with the size of the table, behind the ACK.
        self.sender.encoder.limit_table(self.peer.header_table_bytes)
        if self.is_client:
            self.streams.limit = self.peer.streams
        self.is_settled = True
        self.sender.unpark_all()
        return 1

    # PING, WINDOW_UPDATE

    cdef int take_ping(self, Http2Frame* frame, uint64_t now, bint is_stuck, Violation* violation) except -2:
        if frame.flags & FLAG_ACK:
            if self.drain_step == DRAIN_ANNOUNCED and memcmp(frame.data, PyBytes_AS_STRING(PING_OF_DRAIN), PING_BYTES) == 0:
                self.finish_drain()
                return 0
            return 0 if self.silence.asked_ns else self.skip(KIND_PING, now, violation)
        if self.sender.frames_sent != self.sent_before_ping:
            # As gRPC has it: a side that gets messages may measure the line by pings.
            self.pings.was_pinged = False
        self.sent_before_ping = self.sender.frames_sent
        if is_early_ping(&self.pings, now, self.ping_gap_ns):
            return violated(violation, RULE_PING_FLOOD)
        if too_many_answers(&self.pings, is_stuck):
            return violated(violation, RULE_PING_ANSWERS, 0, UNSENT_PING_ACKS)
        return put_ping(self.sender.out, frame.data, True)

    cdef int take_window_update(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2:
        cdef Http2Stream stream
        cdef Py_ssize_t cost = self.sender.short_cost
        self.sender.short_cost = 0
        self.credits += 1
        if self.credits > FREE_CREDITS + CREDITS_PER_FRAME * self.sender.frames_sent:
            return violated(violation, RULE_CREDIT_FLOOD, <int64_t>self.credits)
        if cost and not spend(&self.short, cost, now):
            return violated(violation, RULE_SHORT_WINDOWS)
        if frame.stream == 0:
            return self.flow.raise_window(NULL, frame.number, violation)
        stream = self.streams.arrive(KIND_WINDOW_UPDATE, frame.stream, violation)
        if violation.rule:
            return -1
        if stream is None and frame.number:
            return self.drop_late(frame.stream, -1, now, violation)
        if stream is None:
            return violated(violation, RULE_ZERO_STREAM_INCREMENT)
        # One of 0 bytes is a violation as well.
        if self.flow.raise_window(&stream.windows, frame.number, violation) < 0:
            return -1
        return self.sender.unpark(stream)

    # Budgets

    cdef int skip(self, int kind, uint64_t now, Violation* violation) noexcept:
        return 0 if spend(&self.skipped, 1, now) else violated(violation, RULE_SKIPPED_FLOOD, kind)

    cdef int drop_late(self, uint32_t id, Py_ssize_t size, uint64_t now, Violation* violation) noexcept:
        cdef bint is_allowed
        if size < 0:
            is_allowed = spend(&self.late_frames, 1, now)
        else:
            is_allowed = spend(&self.late_bytes, max(<Py_ssize_t>LEAST_LATE_BYTES, size), now)
        return 0 if is_allowed else violated(violation, RULE_LATE_FLOOD, id)

    cdef int spend_idle_work(self, uint64_t now, Violation* violation) noexcept:
        # A server that wastes our streams wastes no more than we opened.
        if self.is_client or spend(&self.idle_work, 1, now):
            return 0
        return violated(violation, RULE_IDLE_WORK)

    cdef int return_idle_work(self) noexcept:
        pay_idle_work(&self.idle_work)
        return 0

    cdef int expect_late(self, bint with_data) noexcept:
        expect_late_frames(&self.late_frames, self.max_streams)
        if with_data:
            fill(&self.late_bytes)
        return 0

    # GOAWAY

    cdef list take_goaway(self, Http2Frame* frame, Violation* violation):
        cdef list not_taken
        cdef Http2Stream stream
        if not self.is_client:
            # A client's GOAWAY is about pushes.
            return []
        not_taken = self.streams.leave(frame.last_stream, violation)
        if not_taken is not None:
            for stream in not_taken:
                self.sender.drop_unsent(stream)
                self.streams.reset(stream, True)
                stream.is_known = False
        return not_taken

    cdef bint start_drain(self, str text, uint64_t now) except -1:
        """Send the first step of the drain; False: it did so before, or nothing can be sent."""
        if self.drain_step != DRAIN_NONE or not self.has_opened:
            return False
        self.drain_step = DRAIN_ANNOUNCED
        self.drain_started_ns = now
        put_goaway(self.sender.out, HIGHEST_ID, CODE_NONE, debug_of(text))
        # In order: its answer shows that the peer has read the GOAWAY before.
        put_ping(self.sender.out, PyBytes_AS_STRING(PING_OF_DRAIN), False)
        return True

    cdef bint finish_drain(self) except -1:
        """Send the second step of the drain; False: the first one did not go out, or the second did."""
        if self.drain_step != DRAIN_ANNOUNCED:
            return False
        self.drain_step = DRAIN_FINAL
        self.last_taken = 0 if self.is_client else self.streams.highest
        self.expect_late(True)
        put_goaway(self.sender.out, self.last_taken, CODE_NONE, b"")
        return True

    cdef int say_goodbye(self, int code, str text) except -1:
        """Send the GOAWAY that ends the connection, unless the drain has said the same."""
        cdef uint32_t last = 0 if self.is_client else min(self.last_taken, self.streams.highest)
        if not self.has_opened or (code == CODE_NONE and self.drain_step == DRAIN_FINAL):
            return 0
        return put_goaway(self.sender.out, last, code, debug_of(text))

    # Time

    cdef int check(self, uint64_t now, uint64_t heard_ns, uint64_t* due) except -1:
        cdef uint64_t drain_due = 0
        cdef int verdict = judge_silence(&self.silence, now, heard_ns, due)
        if self.drain_step == DRAIN_ANNOUNCED:
            drain_due = self.drain_started_ns + FINAL_AFTER_NS
            if now >= drain_due:
                drain_due = 0
                self.finish_drain()
        if verdict == PEER_IS_SILENT:
            # A client without a call depends on no answer, and servers dislike its pings.
            verdict = PEER_LIVES
            due[0] = now + interval_of(&self.silence)
            if not self.is_client or self.streams.count_open():
                put_ping(self.sender.out, PyBytes_AS_STRING(PING_OF_LIFE), False)
                due[0] = asked(&self.silence, now)
        due[0] = earlier(due[0], drain_due)
        return verdict

    cdef int forgive(self, uint64_t late) noexcept:
        """The peer was not heard for so long through our fault."""
        forgive_silence(&self.silence, late)
        return 0


cdef bytes debug_of(str text):
    """Return a text as GOAWAY has it."""
    return text.encode("utf-8", "replace")[:GOAWAY_TEXT_LIMIT]


cdef Http2Control new_control(Http2Sender sender, FlowControl flow, StreamTable streams):
    cdef Http2Control control = Http2Control.__new__(Http2Control)
    control.sender = sender
    control.flow = flow
    control.streams = streams
    control.is_client = streams.is_client
    control.peer = Http2Settings()
    control.ours = OwnSettings(not streams.is_client)
    control.last_taken = HIGHEST_ID
    control.max_streams = streams.limit
    open_settings(&control.settings)
    open_skipped(&control.skipped)
    open_late_frames(&control.late_frames)
    open_budget(&control.late_bytes, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)
    open_idle_work(&control.idle_work)
    widen(&control.idle_work, IDLE_CALLS + IDLE_CALLS_PER_SLOT * control.max_streams)
    open_budget(&control.short, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)
    return control
