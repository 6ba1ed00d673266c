"""The receiving half of a connection: it parses frames, checks heads, and counts DATA for our windows.

::

    bytes ──► parse ──► HEADERS ──► decoder ──► take_block: the rules of its kind ──► a hook of the connection
                └─────► DATA ─────► begin_data: windows, its stream ──► in parts ──┬──► a hook
                                                                       place_in ───┘    into an assembly, uncopied
    credit:  of the connection when bytes are processed, of a stream when the program reads them

`Http2Control` has the control frames (SETTINGS, PING, WINDOW_UPDATE, GOAWAY), the budgets against floods, drain and
silence. It calls no hooks: it answers frames itself, and returns broken rules to the connection.

::

    budget       as in PROTOCOL.md 9, for these frames of HTTP/2
    ──────────── ──────────────────────────────────────────────────────────────────────────────────────────
    settings     SETTINGS without ACK
    skipped      unknown kinds, PRIORITY, GOAWAY, empty DATA, interim heads, unasked answers to PING
    credits      WINDOW_UPDATE: a total, and more for each opened stream and each sent frame of DATA or HEADERS
    late         frames for streams that are over: DATA by its bytes, others by their number
    idle work    streams that the client opened and reset, or that were refused or reset for its fault
    short        our DATA frames that the peer's small windows force to be short
    pings        pings that come too fast, up to three
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcmp

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.http2.frames cimport (
    FIRST_TABLE_BYTES,
    CODE_NONE,
    FLAG_ACK,
    KIND_DATA,
    KIND_PING,
    KIND_WINDOW_UPDATE,
    RULE_CREDIT_FLOOD,
    RULE_IDLE_WORK,
    RULE_LATE_FLOOD,
    RULE_NONE,
    RULE_PING_ANSWERS,
    RULE_PING_FLOOD,
    RULE_SETTINGS_FLOOD,
    RULE_SHORT_WINDOWS,
    RULE_SKIPPED_FLOOD,
    RULE_STATUS,
    RULE_ZERO_STREAM_INCREMENT,
    SETTING_CONNECT,
    SETTING_FRAME,
    SETTING_HEADER_LIST,
    SETTING_PUSH,
    SETTING_STREAMS,
    SETTING_WINDOW,
    ends_connection,
    put_goaway,
    put_ping,
    put_preface,
    put_settings_ack,
    put_window_update,
    violated,
)
from fastrpc._core.http2.header_block cimport CHECKED_AS_CONNECT, CHECKED_AS_REQUEST, CHECKED_AS_RESPONSE
from fastrpc._core.http2.header_block cimport TOKEN_PROTOCOL, TOKEN_STATUS
from fastrpc._core.native.parts_owner cimport LATE_BYTES_PER_SECOND
from fastrpc._core.wire.budgets cimport (
    CREDITS_PER_FRAME, FREE_CREDITS, LEAST_LATE_BYTES, SETTINGS_PER_MINUTE, UNSENT_PING_ACKS, expect_late_frames,
    is_early_ping, open_idle_work, open_late_frames, open_settings, open_skipped, too_many_answers,
)
from fastrpc._core.wire.frame cimport GOAWAY_TEXT_LIMIT
from fastrpc._core.wire.silence cimport PEER_IS_SILENT, PEER_LIVES, asked, interval_of, judge_silence
from fastrpc._core.wire.window cimport (
    CONNECTION_WINDOW, IDLE_CALLS, IDLE_CALLS_PER_SLOT, fill, open_budget, placed as count_placed, spend,
    widen as widen_budget,
)

cdef enum:
    HIGHEST_ID = 0x7FFFFFFF
    PING_BYTES = 8
    EARLY_REFUSALS = 10_000

# The most time between the two steps of a drain (PROTOCOL.md, "GOAWAY and close").
cdef uint64_t FINAL_AFTER_NS = <uint64_t>SECOND

# The payloads of our pings.
cdef bytes PING_OF_LIFE = b"fastrpc\0"
cdef bytes PING_OF_DRAIN = b"fastrpc\1"

cdef enum:
    # The shortest rest of a message that is received directly; a shorter one is copied, without a separate read.
    LEAST_DIRECT = 4_096


@cython.final
cdef class Http2Control:
    """The control frames of a connection, the budgets against floods, and the drain."""

    def __cinit__(self, Http2Sender sender not None, FlowControl flow not None, StreamTable streams not None):
        self.sender = sender
        self.flow = flow
        self.streams = streams
        self.is_client = streams.is_client
        self.peer = Http2Settings()
        self.ours = OwnSettings(not streams.is_client)
        self.last_taken = HIGHEST_ID
        self.max_streams = streams.limit
        open_settings(&self.settings)
        open_skipped(&self.skipped)
        open_late_frames(&self.late_frames)
        open_budget(&self.late_bytes, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)
        open_idle_work(&self.idle_work)
        widen_budget(&self.idle_work, IDLE_CALLS + IDLE_CALLS_PER_SLOT * self.max_streams)
        open_budget(&self.short, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)

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
            if self.offers_connect:
                values[SETTING_CONNECT] = 1
        self.has_opened = True
        return self.ours.send(self.sender.out, values)

    cdef int take_settings(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2:
        if not frame.flags & FLAG_ACK:
            if not spend(&self.settings, 1, now):
                return violated(violation, RULE_SETTINGS_FLOOD, 0, SETTINGS_PER_MINUTE)
            return _apply_settings(self, frame, violation)
        if self.ours.acknowledge(violation) < 0:
            return -1
        self.flow.first_receiving = self.ours.acknowledged.window_bytes
        return 0

    # PING, WINDOW_UPDATE

    cdef int take_ping(self, Http2Frame* frame, uint64_t now, bint is_stuck, Violation* violation) except -2:
        if frame.flags & FLAG_ACK:
            if self.drain_step == DRAIN_ANNOUNCED and memcmp(frame.data, PyBytes_AS_STRING(PING_OF_DRAIN), PING_BYTES) == 0:
                # Only after the rest of this read: clients send the answer to PING before requests that they have queued.
                self.drain_is_due = True
                return 0
            return 0 if self.silence.asked_ns else self.skip(KIND_PING, now, violation)
        if self.sender.frames_sent != self.sent_before_ping:
            # As in gRPC, a peer that receives frames may ping, to measure the bandwidth.
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
        # Opened streams count as well: gRPC's core raises the window of each stream when it opens it, with hundreds of
        # frames before the first answer.
        if self.credits > FREE_CREDITS + CREDITS_PER_FRAME * (self.sender.frames_sent + self.streams.opened):
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
        # This also refuses a WINDOW_UPDATE of 0 bytes.
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
        # No limit for a server: it can only reset streams that we opened.
        if self.is_client or spend(&self.idle_work, 1, now):
            return 0
        return violated(violation, RULE_IDLE_WORK)

    cdef int note_refused(self, uint64_t now, Violation* violation) noexcept:
        # Only a peer that knows the limit is at fault; before it does, it may open many streams within one round trip.
        # EARLY_REFUSALS is for peers that never acknowledge our SETTINGS.
        if self.ours.acknowledged.streams > self.streams.limit and self.early_refusals < EARLY_REFUSALS:
            self.early_refusals += 1
            return 0
        return self.spend_idle_work(now, violation)

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
            # A client's GOAWAY is about pushed streams, which we never open.
            return []
        not_taken = self.streams.leave(frame.last_stream, violation)
        if not_taken is not None:
            for stream in not_taken:
                self.sender.drop_unsent(stream)
                self.streams.reset(stream, True)
                self.flow.end_window(&stream.windows)
                stream.is_known = False
        return not_taken

    cdef bint start_drain(self, str text, uint64_t now) except -1:
        """Send the first step of the drain; return False if it was sent already or our SETTINGS were not sent."""
        if self.drain_step != DRAIN_NONE or not self.has_opened:
            return False
        self.drain_step = DRAIN_ANNOUNCED
        self.drain_started_ns = now
        put_goaway(self.sender.out, HIGHEST_ID, CODE_NONE, debug_of(text))
        # The answer to this PING shows that the peer has read the GOAWAY before it.
        put_ping(self.sender.out, PyBytes_AS_STRING(PING_OF_DRAIN), False)
        return True

    cdef bint finish_drain(self) except -1:
        """Send the second step of the drain; return False unless only the first step was sent."""
        if self.drain_step != DRAIN_ANNOUNCED:
            return False
        self.drain_step = DRAIN_FINAL
        self.drain_is_due = False
        self.last_taken = 0 if self.is_client else self.streams.highest
        self.expect_late(True)
        put_goaway(self.sender.out, self.last_taken, CODE_NONE, b"")
        return True

    cdef int say_goodbye(self, int code, str text) except -1:
        """Send the GOAWAY that ends the connection, unless the drain has sent the same."""
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
            # A client without calls sends no pings: it waits for nothing, and servers limit such pings.
            verdict = PEER_LIVES
            due[0] = now + interval_of(&self.silence)
            if not self.is_client or self.streams.count_open():
                put_ping(self.sender.out, PyBytes_AS_STRING(PING_OF_LIFE), False)
                due[0] = asked(&self.silence, now)
        due[0] = earlier(due[0], drain_due)
        return verdict


cdef int _apply_settings(Http2Control control, Http2Frame* frame, Violation* violation) except -2:
    cdef int64_t first, highest = 0
    if control.peer.apply(frame.data, frame.size, control.is_client, violation) < 0:
        return -1
    first = control.peer.window_bytes
    if control.flow.needs_highest(first):
        highest = control.streams.highest_sending()
    if control.flow.change_first_sending(first, highest, violation) < 0:
        return -1
    control.sender.frame_limit = control.peer.frame_bytes
    put_settings_ack(control.sender.out)
    # After the ACK: the next header block begins with the new size of the table.
    control.sender.encoder.limit_table(control.peer.header_table_bytes)
    if control.is_client:
        control.streams.limit = control.peer.streams
    control.is_settled = True
    control.sender.unpark_all()
    return 1


cdef bytes debug_of(str text):
    """Return a text as the debug data of GOAWAY."""
    return text.encode("utf-8", "replace")[:GOAWAY_TEXT_LIMIT]


@cython.final
cdef class Http2Incoming:
    """The parsing of received frames, the check of heads, and the windows that the peer may fill."""

    def __cinit__(self, Http2Control control not None, Py_ssize_t header_list_bytes):
        self.control = control
        self.streams = control.streams
        self.flow = control.flow
        self.out = control.sender.out
        # The frame limit that we announce applies from the start: the peer may use it before its ACK arrives.
        self.parser = Http2Parser(not control.is_client, OWN_FRAME_LIMIT)
        self.decoder = HpackDecoder(FIRST_TABLE_BYTES, header_list_bytes)

    @cython.nonecheck(False)
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame, uint64_t now) except? -1:
        cdef Py_ssize_t taken = self.parser.parse(data, size, frame)
        if taken > 0 and not self.parser.is_within():
            self.consumed = 0
            self.began_ns = 0
        elif taken > 0:
            self.consumed += taken
        elif taken == 0:
            self.note_rest(size, now)
        return taken

    cdef int note_rest(self, Py_ssize_t rest, uint64_t now) noexcept:
        """Note that `rest` bytes of an incomplete frame have arrived and are not consumed yet."""
        self.came = self.consumed + rest
        if self.came == 0:
            self.began_ns = 0
        elif self.began_ns == 0:
            self.began_ns = now
        return 0

    # Heads

    @cython.nonecheck(False)
    cdef int take_block(self, Http2Stream stream, HeaderBlock block, bint ends_stream, Violation* violation) except -2:
        cdef int rule
        cdef bint is_interim = False
        cdef const char* status
        if stream.has_head:
            rule = block.check_as_trailers(stream.is_of_grpc)
            if rule:
                return violated(violation, rule)
            return -1 if self.streams.take_head(stream, False, ends_stream, -1, violation) < 0 else BLOCK_TRAILERS
        rule = block.check(CHECKED_AS_RESPONSE if self.streams.is_client else (
            CHECKED_AS_CONNECT if self.control.offers_connect and block.has(TOKEN_PROTOCOL) else CHECKED_AS_REQUEST
        ))
        if self.streams.is_client and rule == RULE_NONE:
            # `check` has found `:status` with three digits.
            status = PyBytes_AS_STRING(block.field(TOKEN_STATUS).value)
            is_interim = status[0] == b"1"
            # HTTP/2 has no 101 (Switching Protocols).
            rule = RULE_STATUS if memcmp(status, b"101", 3) == 0 else RULE_NONE
        if rule:
            return violated(violation, rule)
        stream.is_of_grpc = block.is_of_grpc
        if self.streams.take_head(stream, is_interim, ends_stream, block.content_length(), violation) < 0:
            return -1
        return BLOCK_INTERIM if is_interim else BLOCK_HEAD

    # DATA

    @cython.nonecheck(False)
    cdef int begin_data(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2:
        cdef Violation window
        cdef Py_ssize_t size = frame.flow_bytes, padding = size - frame.size - self.parser.missing_data()
        cdef Http2Stream stream = self.streams.arrive(KIND_DATA, frame.stream, violation)
        self.data_stream = stream
        if self.flow.receive(NULL if stream is None else &stream.windows, size, &window) < 0 and (
            violation.rule == RULE_NONE or ends_connection(window.rule)
        ):
            violation[0] = window
        if padding > 0:
            self.place(padding)
        if violation.rule:
            self.data_stream = None
            return -1
        if stream is None:
            return self.control.drop_late(frame.stream, size, now, violation)
        if padding > 0:
            self.take(stream, padding, True)
        # A frame without content that does not end the stream has no effect.
        return self.control.skip(KIND_DATA, now, violation) if size == padding and not frame.ends_stream else 0

    cdef char* place_in(self, Assembly sink, Py_ssize_t* room, Py_ssize_t trusted) except? NULL:
        cdef Py_ssize_t left
        self.sink = sink
        if sink is None:
            return NULL
        left = min(self.parser.missing_data(), sink.total - sink.filled)
        return NULL if left < LEAST_DIRECT else sink.place(left, room, trusted)

    cdef bint placed(self, Py_ssize_t size, uint64_t now) except -1:
        cdef bint ends_stream = self.parser.place_data(size)
        self.sink.filled += size
        self.consumed = self.consumed + size if self.parser.is_within() else 0
        self.note_rest(0, now)
        if self.consumed == 0:
            self.data_stream = None
        return ends_stream

    # Credit

    @cython.nonecheck(False)
    cdef int place(self, Py_ssize_t size) except -1:
        cdef int64_t credit = count_placed(&self.flow.receiving, size)
        return put_window_update(self.out, 0, <uint32_t>credit) if credit else 0

    cdef int release(self, Http2Stream stream) except -1:
        cdef Py_ssize_t size = <Py_ssize_t>stream.kept_credit
        stream.keeps_credit = False
        stream.kept_credit = 0
        return self.place(size) if size else 0

    cdef int take(self, Http2Stream stream, Py_ssize_t size, bint may_lend) except -1:
        if stream.is_ended_by_peer:
            return 0
        return _send_credit(self, stream, self.flow.place_of_stream(&stream.windows, size, may_lend))

    cdef int reader_waits(self, Http2Stream stream, bint may_lend) except -1:
        if stream.is_ended_by_peer:
            return 0
        return _send_credit(self, stream, self.flow.reader_waits(&stream.windows, may_lend))

    cdef int grant(self, Http2Stream stream, int64_t size) except -1:
        return 0 if stream.is_ended_by_peer else _send_credit(self, stream, self.flow.grant(&stream.windows, size))

    cdef int widen(self) except -1:
        cdef int64_t credit = self.flow.widen(WIDE_WINDOW)
        return put_window_update(self.out, 0, <uint32_t>credit) if credit else 0


cdef int _send_credit(Http2Incoming incoming, Http2Stream stream, int64_t credit) except -1:
    return put_window_update(incoming.out, stream.id, <uint32_t>credit) if credit else 0
