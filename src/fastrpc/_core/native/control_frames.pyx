"""The frames of the connection itself: SETTINGS, PING, AUTH, GOAWAY, CREDIT, and the two steps of a drain.

::

    FrameRouter ──► take(frame) ──► the frame's effect on calls: callee, caller, slots; Side
                └─► credit(frame) ──► sender
    announce, send_ping, start_drain ──► sender
"""

import struct
from operator import attrgetter

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.status cimport UNIMPLEMENTED
from fastrpc._core.base.wire cimport MINUTE, load16, load32, load64
from fastrpc._core.calls.call cimport STATE_ANSWERING, STATE_GIVEN_UP, Call
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.parts_owner cimport DRAIN_ANNOUNCED, DRAIN_FINAL, DRAIN_NONE, PHASE_OPEN, PartsOwner
from fastrpc._core.wire.budgets cimport (
    CREDITS_PER_FRAME,
    FREE_CREDITS,
    UNSENT_PING_ACKS,
    is_early_ping,
    open_settings,
    open_skipped,
    too_many_answers,
)
from fastrpc._core.wire.frame cimport (
    ACK,
    AUTH,
    FINAL,
    GOAWAY,
    GOAWAY_TEXT_LIMIT,
    PING,
    REASON_AUTHENTICATION,
    REASON_CALM_DOWN,
    REASON_CREDIT,
    REASON_MAX_AGE,
    REASON_PROTOCOL,
    REASON_SETTINGS,
    SETTINGS,
)
from fastrpc._core.wire.settings cimport decode_settings
from fastrpc._core.wire.window cimport IDLE_CALLS, IDLE_CALLS_PER_SLOT, fill, open_budget, spend, widen

from fastrpc.errors import LocalProtocolError

cdef enum:
    # The GOAWAYs of one drain (PROTOCOL.md, "Budgets").
    DRAIN_GOAWAYS = 2
    HIGHEST_PING_GAP = 3_600_000

NO_LAST_ID = 2**63 - 1
NOT_CONFIGURED = b"authentication is not configured"
BY_ID = attrgetter("id")


cdef class ControlFrames:
    """The frames of the connection itself."""

    def __cinit__(
        self, PartsOwner owner not None, CalleeStates callee, CallerStates caller, CallSlots slots, SendQueue sender
    ):
        self.callee = callee
        self.caller = caller
        self.slots = slots
        self.sender = sender
        owner.peer_last_id = NO_LAST_ID
        self.unacknowledged = Queue()
        self.acknowledged = WireSettings(False)
        self.pings = Queue()
        open_settings(&self.settings_budget)
        open_budget(&self.auth_budget, 10, 10, MINUTE)
        open_skipped(&self.skip_budget)

    cdef int start(self, WireSettings acknowledged) except -1:
        """Start with the settings that the peer may assume before ours arrive."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        self.acknowledged = acknowledged
        owner.wire.frame_limit = acknowledged.max_frame
        return 0

    cdef int take(self, Frame* frame) except -1:
        """Handle a frame that belongs to no call. Unknown kinds are skipped, up to a budget."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if frame.kind == PING:
            return self._ping(frame)
        if frame.kind == SETTINGS:
            return self._settings(frame)
        if frame.kind == GOAWAY:
            return self._goaway(frame)
        if frame.kind == AUTH:
            return self._auth(frame)
        if not spend(&self.skip_budget, 1, owner.now):
            return owner.close_with(REASON_CALM_DOWN, f"too many frames of unknown kind {frame.kind}")
        return 0

    # CREDIT

    cdef int credit(self, Frame* frame) except -1:
        """Raise the credit of a call, or of the connection (call 0)."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint32_t size = load32(frame.payload)
        cdef Call call = None
        if self.credits_received >= FREE_CREDITS + CREDITS_PER_FRAME * self.sender.data_frames_sent:
            return owner.close_with(REASON_CALM_DOWN, "too many CREDIT frames for what was sent")
        self.credits_received += 1
        if size == 0:
            return owner.close_with(REASON_CREDIT, f"CREDIT of 0 for call {frame.id}")
        if frame.id:
            if (frame.id & 1) == <uint64_t>owner.wire.peer_parity:
                call = self.callee.receiver(frame, "CREDIT")
                if call is None:
                    return 0
            else:
                call = self.slots.find(frame.id)
                if call is None:
                    return owner.close_with(
                        REASON_PROTOCOL, f"CREDIT for call {frame.id}, which is over or was never opened"
                    )
                if call.state == STATE_ANSWERING or call.state == STATE_GIVEN_UP:
                    return 0
        if self.sender.raise_credit(call, size):
            return owner.close_with(REASON_CREDIT, f"credit of call {frame.id} is raised above its bound")
        return 0

    # SETTINGS

    cdef int announce(self, WireSettings settings) except -1:
        """Send SETTINGS. Lower limits apply after the peer's ACK, higher limits immediately."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef bint first = not self.was_announced
        if settings.stream_window != owner.our_stream_window:
            raise LocalProtocolError(
                f"the stream window is {owner.our_stream_window} bytes for as long as the connection lasts, "
                f"not {settings.stream_window}"
            )
        self.was_announced = True
        owner.ours = settings
        if owner.calling is not None:
            (<NativeCalling>owner.calling).most_bytes = settings.max_message
        owner.bound_messages()
        self.callee.most_calls = max(self.callee.most_calls, <Py_ssize_t>settings.max_calls)
        self.callee.serves_calls = self.callee.most_calls > 0
        widen(&self.callee.idle_work, IDLE_CALLS + IDLE_CALLS_PER_SLOT * <int64_t>self.callee.most_calls)
        self.unacknowledged.append(owner.ours)
        self.sender.send_control(self.sender.out, SETTINGS, 0, settings.encode(first))
        return self._enforce()

    cdef int _enforce(self) except -1:
        """Enforce the loosest of the settings that the peer may obey: the acknowledged ones, and all announced since."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef WireSettings announced
        owner.wire.frame_limit = self.acknowledged.max_frame
        owner.open_messages = self.acknowledged.open_messages
        self.callee.call_bound = self.acknowledged.max_calls
        self.callee.stream_bound = self.acknowledged.max_streams
        # Until we announce MIN_PING_MS the peer must not ping at all, so a peer that pings has read our SETTINGS.
        self.ping_gap_ms = self.acknowledged.min_ping_ms if owner.first_settings_acknowledged else HIGHEST_PING_GAP
        for announced in self.unacknowledged:
            owner.wire.frame_limit = max(owner.wire.frame_limit, <Py_ssize_t>announced.max_frame)
            owner.open_messages = max(owner.open_messages, <int>announced.open_messages)
            self.callee.call_bound = max(self.callee.call_bound, <Py_ssize_t>announced.max_calls)
            self.callee.stream_bound = max(self.callee.stream_bound, <Py_ssize_t>announced.max_streams)
            self.ping_gap_ms = min(self.ping_gap_ms, announced.min_ping_ms)
        return 0

    cdef int _settings(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef WireSettings peer
        if frame.flags & ACK:
            return self._settings_acknowledged()
        if not spend(&self.settings_budget, 1, owner.now):
            return owner.close_with(REASON_CALM_DOWN, "more than 32 SETTINGS in a minute")
        peer = owner.peer.copy()
        try:
            peer.apply(decode_settings(frame.payload[:frame.payload_size], not owner.settled))
        except ValueError as problem:
            return owner.close_with(REASON_SETTINGS, str(problem))
        owner.peer = peer
        if owner.calling is not None:
            (<NativeCalling>owner.calling).peer = peer
            (<NativeCalling>owner.calling).is_settled = True
        self.slots.know_slots(peer.max_calls)
        # The ACK is sent in order with our REQUESTs: REQUESTs after the first ACK have the announced stream window.
        self.sender.send_control(self.sender.out, SETTINGS, ACK, b"")
        owner.wire.needs_settings = False
        if not owner.settled:
            owner.settled = True
            self.slots.early_until = self.slots.next_id
            owner.phase = PHASE_OPEN
            owner.side.on_ready()
            for call in self.slots.opened.entries():
                self.sender.unpark(<Call>call)
        return self.slots.release_slots()

    cdef int _settings_acknowledged(self) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not self.unacknowledged:
            return owner.close_with(REASON_SETTINGS, "SETTINGS ACK without SETTINGS")
        self.acknowledged = self.unacknowledged.popleft()
        owner.first_settings_acknowledged = True
        return self._enforce()

    # PING, AUTH

    cdef int _ping(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef bytes body = frame.payload[:8]
        if frame.flags & ACK:
            return self._ping_answered(body)
        if is_early_ping(&self.ping_count, owner.now, <uint64_t>self.ping_gap_ms * 500_000):
            return owner.close_with(REASON_CALM_DOWN, f"PINGs faster than half of MIN_PING_MS {self.ping_gap_ms}")
        if too_many_answers(&self.ping_count, self.sender.is_stuck()):
            return owner.close_with(REASON_CALM_DOWN, f"{UNSENT_PING_ACKS} PING answers wait to be read")
        return self.sender.send_control(self.sender.control, PING, ACK, body)

    cdef int _ping_answered(self, bytes body) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not self.pings or self.pings[0] != body:
            return owner.close_with(REASON_PROTOCOL, "PING ACK that answers no PING, or not the oldest")
        self.pings.popleft()
        owner.answered_ns = owner.now
        if owner.drain_step == DRAIN_ANNOUNCED and self.pings_sent - len(self.pings) == self.drain_ping:
            return self.finish_drain()
        return 0

    cdef int send_ping(self, WriteBuffer buffer, bytes body) except -1:
        self.pings.append(body)
        self.pings_sent += 1
        return self.sender.send_control(buffer, PING, 0, body)

    cdef int _auth(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not spend(&self.auth_budget, 1, owner.now):
            return owner.close_with(REASON_CALM_DOWN, "more than 10 AUTH in a minute")
        return self._verdict(frame) if owner.is_client else self._credential(frame)

    cdef int _credential(self, Frame* frame) except -1:
        """Handle a credential of the client."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if frame.flags & ACK:
            return owner.close_with(REASON_PROTOCOL, "AUTH without an AUTH to answer")
        return 0 if owner.side.on_credential(frame) else self.send_verdict(UNIMPLEMENTED, NOT_CONFIGURED, 0)

    cdef int _verdict(self, Frame* frame) except -1:
        """Handle the server's verdict on our credential. After a refusal the server ends the connection."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Py_ssize_t size
        if not self.auths_sent:
            return owner.close_with(REASON_PROTOCOL, "AUTH without an AUTH to answer")
        if not frame.flags & ACK:
            text = "the server sent a challenge, and this client has only a token"
            return owner.close_with(REASON_AUTHENTICATION, text)
        self.auths_sent -= 1
        size = load16(frame.payload + 2)
        owner.auth_status = load16(frame.payload)
        owner.auth_valid_seconds = load32(frame.payload + 4)
        owner.auth_text = frame.payload[8:8 + size].decode()
        if owner.auth_status == UNIMPLEMENTED:
            # The connection continues without an identity.
            owner.auth_status = -1
        return owner.side.on_verdict()

    cdef int send_verdict(self, int status, bytes text, uint32_t valid_seconds) except -1:
        verdict = struct.pack("<HHI", status, len(text), valid_seconds) + text
        return self.sender.send_control(self.sender.out, AUTH, ACK, verdict)

    cdef int send_credential(self, bytes scheme, bytes data) except -1:
        """Send our credential to the server. `Side.on_verdict` is called after its answer."""
        self.auths_sent += 1
        body = struct.pack("<BBH", 0, len(scheme), len(data)) + scheme + data
        return self.sender.send_control(self.sender.out, AUTH, 0, body)

    # GOAWAY

    cdef int _goaway(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint64_t last_id = load64(frame.payload)
        cdef int reason = load16(frame.payload + 8)
        cdef Py_ssize_t size = load16(frame.payload + 10)
        text = frame.payload[16:16 + size].decode()
        if reason > REASON_MAX_AGE:
            owner.peer_last_id = min(owner.peer_last_id, last_id)
            owner.peer_drains = owner.peer_sent_final = True
            self._fail_above(last_id)
            return owner.end_connection(reason, text, True)
        if owner.peer_sent_final:
            return owner.close_with(REASON_PROTOCOL, "GOAWAY after GOAWAY FINAL")
        self.goaways_received += 1
        if self.goaways_received > DRAIN_GOAWAYS:
            return owner.close_with(REASON_CALM_DOWN, f"more than {DRAIN_GOAWAYS} GOAWAY")
        if last_id > owner.peer_last_id:
            return owner.close_with(REASON_PROTOCOL, f"GOAWAY raises the last id from {owner.peer_last_id} to {last_id}")
        owner.peer_last_id = last_id
        owner.peer_drains = True
        # A drain sends GOAWAY without FINAL first. If the first GOAWAY is final, the peer refuses the connection.
        if reason == REASON_MAX_AGE or not frame.flags & FINAL:
            owner.peer_replaces = True
        if frame.flags & FINAL:
            owner.peer_sent_final = True
            self._fail_above(last_id)
        owner.stop_calls()
        return owner.side.on_peer_drains()

    cdef int _fail_above(self, uint64_t last_id) except -1:
        """End our calls above the last id that the peer accepted: they were not started."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call
        for call in sorted(self.slots.opened.entries(), key=BY_ID):
            if call.id > last_id:
                self.caller.forget(call)
                (<NativeCalling>owner.calling).on_not_started(call)
        return 0

    cdef int start_drain(self, int reason, str text) except -1:
        """Step 1: ask the peer to open no new calls. The answer to a PING shows that it has read this."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if owner.drain_step != DRAIN_NONE or owner.is_closed or not owner.preface_sent:
            return 0
        owner.drain_step = DRAIN_ANNOUNCED
        self.drain_reason = reason
        self.send_goaway(reason, False, NO_LAST_ID, text)
        self.drain_ping = self.pings_sent + 1
        # Sent in order, unlike other PINGs: its answer shows that the peer read the GOAWAY before it.
        return self.send_ping(self.sender.out, struct.pack("<Q", self.pings_sent))

    cdef int finish_drain(self) except -1:
        """Step 2: name the last accepted call; calls with higher ids were not started."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if owner.drain_step != DRAIN_ANNOUNCED or owner.is_closed:
            return 0
        owner.drain_step = DRAIN_FINAL
        self.callee.last_taken = self.callee.highest_id
        fill(&owner.late_bytes)
        self.send_goaway(self.drain_reason, True, self.callee.highest_id, "")
        return owner.side.on_drained()

    cdef int send_goaway(self, int reason, bint final, uint64_t last_id, str text) except -1:
        cdef bytes raw = text.encode("utf-8", "replace")[:GOAWAY_TEXT_LIMIT].decode("utf-8", "ignore").encode()
        body = struct.pack("<QHHI", last_id, reason, len(raw), 0) + raw
        return self.sender.send_control(self.sender.out, GOAWAY, FINAL if final else 0, body)
