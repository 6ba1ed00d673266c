"""The rules by which a connection lives and counts as dead, compared with the time that is passed in.

::

    check(now) ──► due: writing, pieces, drain, pings
         │              the instant of the next check; 0 = never
         └──► close_with, cut_off; ServingPart.on_stuck

The rules of opening, age and rest are in `server/connection_life` and `io/client_life`.

A timer of the loop calls `check` for the session. A blocking client has no timer: the thread that reads calls `check`
between two reads, and only while a call is under way. There silence counts from the moment a thread reads again
(`forget_silence`), since an answer to a ping would have stayed unread. A blocking client also lingers by itself: a
separate loop reads on until its last output is read.
"""

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED
from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.native.call_parts cimport ServingPart
from fastrpc._core.native.callee_states cimport CalleeStates
from fastrpc._core.native.parts_owner cimport DRAIN_ANNOUNCED, PHASE_OPEN, PartsOwner
from fastrpc._core.wire.frame cimport CANCEL_DEADLINE, DATA, REASON_KEEPALIVE, REASON_SLOW_READER
from fastrpc._core.wire.silence cimport (
    PEER_IS_GONE, PEER_LIVES, asked, forget_asked, forgive_silence, interval_of, judge_silence,
)

# PROTOCOL.md, "Limits": the peer reads nothing for 10 s, or for 1 s while more than send_hard waits; no piece of a cut
# message arrives for 10 s; GOAWAY FINAL is sent at most 1 s after GOAWAY.
cdef uint64_t SLOW_READER_NS = 10 * <uint64_t>SECOND
cdef uint64_t OVERDUE_READER_NS = <uint64_t>SECOND
cdef uint64_t PIECE_WAIT_NS = 10 * <uint64_t>SECOND
cdef uint64_t FINAL_AFTER_NS = <uint64_t>SECOND
# PROTOCOL.md, "Cut messages": the next piece may wait while the window of its stream has less room than this.
cdef Py_ssize_t ROOM_FOR_A_PIECE = 4096


cdef class Liveness:
    """The rules by which a connection is checked and ended."""

    def __cinit__(self, PartsOwner owner not None, ControlFrames control not None):
        self.control = control
        self.write_wait_ns = SLOW_READER_NS
        self.piece_wait_ns = PIECE_WAIT_NS

    cdef int set_rules(self, object timeouts, object keepalive) except -1:
        """Set the rules of a connection that begins now."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        owner.answered_ns = owner.now
        self.linger_ns = nanoseconds(timeouts.linger)
        self.silence.interval_ns = nanoseconds(keepalive.interval)
        self.silence.timeout_ns = nanoseconds(keepalive.timeout)
        return 0

    cdef uint64_t linger(self, uint64_t now) noexcept:
        """Keep reading so that the peer gets the last output; return the instant at which reading stops."""
        self.linger_until_ns = now + self.linger_ns
        return self.linger_until_ns

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Compare every deadline with now; return the instant of the next check, 0 = never."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint64_t due
        if self.linger_until_ns:
            if now >= self.linger_until_ns:
                self.control.sender.below().cut_off()
                return 0
            return self.linger_until_ns
        if owner.is_closed:
            # Without a linger the stream ends when its output was sent.
            return self._check_writing(now)
        due = self._check_writing(now)
        due = due if owner.is_closed else earlier(due, self.check_pieces(now))
        due = due if owner.is_closed else earlier(due, self._check_drain(now))
        due = due if owner.is_closed else earlier(due, self._check_life(now))
        return self.linger_until_ns if owner.is_closed else due

    # Writing

    cdef uint64_t note_blocked(self, uint64_t now) except? 0:
        """Start to watch output that cannot be written; return the next check, or 0 if it was watched already."""
        if self.blocked_ns:
            return 0
        self.blocked_ns = now
        self.blocked_taken = self.control.sender.below().taken_bytes()
        return now + min(OVERDUE_READER_NS, self.write_wait_ns)

    cdef uint64_t _check_writing(self, uint64_t now) except? 0:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint64_t limit = self.write_wait_ns
        cdef int64_t taken
        if not self._has_unsent():
            self.blocked_ns = 0
            self.is_pausing = False
            return 0
        taken = self.control.sender.below().taken_bytes()
        if self.answers_prove and self.blocked_ns and taken > self.blocked_taken:
            self._hear(now)
        if self.blocked_ns == 0 or taken > self.blocked_taken:
            # The output was not watched before, or the peer took some bytes: a slow reader is not stuck.
            self.blocked_taken = taken
            self.blocked_ns = now
        self.is_pausing = not owner.is_closed and self._may_pause()
        if self.send_hard and self.control.sender.untaken_bytes() > self.send_hard:
            limit = min(limit, OVERDUE_READER_NS)
        elif self.is_pausing:
            self.blocked_ns = now
        if now < self.blocked_ns + limit:
            return min(now + OVERDUE_READER_NS, self.blocked_ns + limit)
        if not owner.is_closed:
            text = f"nothing could be written for {limit / 1e9:g} s, {self.control.sender.untaken_bytes()} bytes wait"
            if limit < self.write_wait_ns:
                text += f"; above {self.send_hard} the time is short (Memory.send_hard)"
            owner.close_with(REASON_SLOW_READER, text)
        # The peer reads nothing, so waiting until it reads the reason would only hold the memory longer.
        self.control.sender.below().cut_off()
        return 0

    cdef bint _has_unsent(self) except -1:
        """Return whether output waits here because the stream or the peer does not accept it."""
        return self.control.sender.is_waiting() or self.control.sender.below().untaken_bytes() != 0

    cdef bint _may_pause(self) noexcept:
        """Return whether the peer may stop reading without a time limit; see `is_pausing`."""
        # True while there is memory and the peer need not answer pings (`_wants_ping`). The peer may still be reading a
        # stream that has ended here.
        cdef Py_ssize_t streams = self.control.callee.streams
        if (<PartsOwner>self.owner).peer.ping_reply_ms or self.control.callee.calls.size != streams:
            return False
        return self.control.caller.assembler.may_lend() and (streams > 0 or self.is_pausing)

    # Pieces

    cdef uint64_t check_pieces(self, uint64_t now) except? 0:
        """End the calls whose cut messages have stalled. The interval is a quarter of the time limit of a piece."""
        cdef Call call
        if now < self.pieces_due_ns:
            return self.pieces_due_ns
        if not self.has_cut_messages():
            self.pieces_due_ns = 0
            return 0
        self.pieces_due_ns = now + self.piece_wait_ns // 4
        for call in self.control.callee.calls.entries() + self.control.caller.slots.opened.entries():
            if call.incoming is not None and self._is_stuck(call, now):
                self._end_stuck(call)
        return self.pieces_due_ns

    cdef int _end_stuck(self, Call call) except -1:
        """End a call whose cut message has stalled."""
        cdef ServingPart serving = (<PartsOwner>self.owner).serving
        cdef str text = f"no piece of the message came for {self.piece_wait_ns / 1e9:g} s"
        if not call.is_local and serving.on_stuck(call, text):
            return 0
        return self.control.caller.assembler.end_locally(call, DEADLINE_EXCEEDED, text, CANCEL_DEADLINE)

    cdef bint _is_stuck(self, Call call, uint64_t now) noexcept:
        cdef Assembly assembly = <Assembly>call.incoming.assembly
        cdef bint may_come = (
            # A message of a stream may lack credit, which we have to return first.
            call.incoming.head.kind != DATA or call.window.left >= min(assembly.total - assembly.filled, ROOM_FOR_A_PIECE)
        )
        if call.incoming.seen_ns == 0 or assembly.filled != call.incoming.seen_size or not may_come:
            call.incoming.seen_ns = now
            call.incoming.seen_size = assembly.filled
            return False
        return now >= call.incoming.seen_ns + self.piece_wait_ns

    # Drain

    cdef uint64_t begin_drain(self, uint64_t now) noexcept:
        """Note that GOAWAY was sent; return the instant at which FINAL has to follow."""
        self.drain_started_ns = now
        return now + FINAL_AFTER_NS

    cdef uint64_t _check_drain(self, uint64_t now) except? 0:
        cdef PartsOwner owner = <PartsOwner>self.owner
        if owner.drain_step != DRAIN_ANNOUNCED:
            return 0
        if now < self.drain_started_ns + FINAL_AFTER_NS:
            return self.drain_started_ns + FINAL_AFTER_NS
        self.control.finish_drain()
        owner.written()
        return 0

    # Use

    cdef uint64_t uses(self) noexcept:
        """Return a number that grows by two with each call of either side, health checks aside."""
        # The ids of a side grow by two with each call.
        return self.control.callee.highest_id + self.control.caller.slots.next_id - 2 * self.probes

    cdef bint is_idle(self) noexcept:
        """Return whether no call is in progress in either direction."""
        cdef CalleeStates callee = self.control.callee
        return self.control.caller.slots.opened.size == 0 and callee.calls.size == 0 and callee.one_way_calls == 0

    cdef bint is_unused(self) except -1:
        """Return whether no call is in progress, except our health checks."""
        cdef Call call
        if self.probes == 0 or self.control.caller.slots.opened.size == 0:
            return self.is_idle()
        if self.control.callee.calls.size or self.control.callee.one_way_calls:
            return False
        for call in self.control.caller.slots.opened.entries():
            if not call.is_probe:
                return False
        return True

    cdef bint was_used(self) except -1:
        """Return whether calls are in progress, or were since the last call of this method. Health checks do not count."""
        cdef uint64_t uses = self.uses()
        cdef bint is_used = uses != self.idle_ids or not self.is_unused()
        self.idle_ids = uses
        return is_used

    # Silence

    cdef int forgive(self, uint64_t late) noexcept:
        """Extend the time limits of the peer by `late` nanoseconds, in which it was not checked."""
        forgive_silence(&self.silence, late)
        (<PartsOwner>self.owner).received_ns += late
        (<PartsOwner>self.owner).answered_ns += late
        if self.blocked_ns:
            self.blocked_ns += late
        return 0

    cdef int forget_silence(self) except -1:
        """Count silence from now, as no thread was reading. Output that was sent meanwhile no longer counts as blocked."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        self._hear(owner.now)
        forget_asked(&self.silence)
        if self.blocked_ns and not self._has_unsent():
            self.blocked_ns = 0
        return 0

    cdef uint64_t _heard_ns(self) noexcept:
        """Return the instant of the last proof that the peer is alive."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        return owner.answered_ns if self.answers_prove else owner.received_ns

    cdef int _hear(self, uint64_t now) noexcept:
        """Count silence from `now`."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        owner.received_ns = owner.answered_ns = now
        return 0

    cdef uint64_t _check_life(self, uint64_t now) except? 0:
        """Ping a peer that was silent for an interval; drop it when the answer takes too long."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint64_t heard_ns, due = 0
        cdef int verdict
        if owner.phase != PHASE_OPEN:
            return 0
        self.silence.least_ns = 2_000_000 * <uint64_t>owner.peer.min_ping_ms
        if self.silence.interval_ns and self.control.sender.below().waits_for_turn():
            # The received bytes that wait for their turn prove that the peer is alive.
            self._hear(now)
        heard_ns = self._heard_ns()
        verdict = judge_silence(&self.silence, now, heard_ns, &due)
        if verdict == PEER_LIVES:
            return due
        if verdict == PEER_IS_GONE:
            silent = (now - heard_ns) / 1e9
            owner.close_with(REASON_KEEPALIVE, f"nothing came for {silent:.1f} s, a ping included")
            self.control.sender.below().cut_off()
            return 0
        self._give_back()
        if not self._wants_ping():
            return now + interval_of(&self.silence)
        due = asked(&self.silence, now)
        self.control.send_ping(self.control.sender.control, (<uint64_t>now).to_bytes(8, "little"))
        return due

    cdef bint _wants_ping(self) noexcept:
        """Return whether a silent peer is to be pinged."""
        # A peer that reads only while it waits for an answer is pinged only then. A stream does not count, as such a peer
        # may leave it unread.
        cdef CalleeStates callee = self.control.callee
        return (<PartsOwner>self.owner).peer.ping_reply_ms != 0 or callee.calls.size > callee.streams

    cdef int _give_back(self) except -1:
        """Free the memory left by a burst, on a connection that has become quiet."""
        self.control.sender.out.release()
        self.control.caller.slots.opened.shrink()
        self.control.callee.calls.shrink()
        return 0
