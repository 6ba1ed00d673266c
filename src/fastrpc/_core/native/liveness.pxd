cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.control_frames cimport ControlFrames
from fastrpc._core.native.hooks cimport ConnectionPart
from fastrpc._core.wire.silence cimport Silence


@cython.final
cdef class Liveness(ConnectionPart):
    cdef:
        # The control frames, from which the other parts are reached.
        ControlFrames control

        # The time limits in nanoseconds; 0 = no limit. Public fields are constants that tests may shorten.
        uint64_t linger_ns
        public uint64_t write_wait_ns
        public uint64_t piece_wait_ns

        # If more bytes of our output than this wait, a slow reader has less time; 0 = no bound.
        int64_t send_hard

        # The starts and ends of periods, compared with now; 0 = the period is not running.
        uint64_t linger_until_ns
        uint64_t drain_started_ns
        uint64_t pieces_due_ns

        # The state of the rule that a silent peer gets a PING.
        Silence silence

        # `blocked_ns`: the instant since which no waiting output was sent, 0 if none waits; `blocked_taken`: the number
        # of bytes sent by then.
        uint64_t blocked_ns
        int64_t blocked_taken

        # Whether a translating layer lies between us and the server. Frames made by the layer do not prove that the server
        # is alive; an answer to a ping does, and so does accepted output. The server answers no ping during a long request,
        # so the answer counts from its next byte.
        bint answers_prove

        # Whether the peer may stop reading without a time limit, because it pauses between two messages of a stream.
        bint is_pausing

        # The result of `uses` at the last call of `was_used`.
        uint64_t idle_ids
        # The number of calls of either side that were health checks.
        uint64_t probes

    cdef int set_rules(self, object timeouts, object keepalive) except -1
    cdef uint64_t linger(self, uint64_t now) noexcept
    cdef uint64_t check(self, uint64_t now) except? 0
    cdef uint64_t check_pieces(self, uint64_t now) except? 0
    cdef uint64_t note_blocked(self, uint64_t now) except? 0
    cdef uint64_t begin_drain(self, uint64_t now) noexcept
    cdef int forgive(self, uint64_t late) noexcept
    cdef int forget_silence(self) except -1
    cdef uint64_t uses(self) noexcept
    cdef bint is_idle(self) noexcept
    cdef bint is_unused(self) except -1
    cdef bint was_used(self) except -1

    @cython.nonecheck(False)
    cdef inline bint has_cut_messages(self) noexcept:
        """Return whether messages are incomplete. The parts are held as long as this one."""
        return (
            self.control.callee.open_requests > 0
            or self.control.caller.open_responses > 0
            or self.control.caller.assembler.cut_messages > 0
        )

    cdef bint _has_unsent(self) except -1
    cdef int _end_stuck(self, Call call) except -1
    cdef bint _may_pause(self) noexcept
    cdef bint _wants_ping(self) noexcept
    cdef int _give_back(self) except -1
    cdef uint64_t _check_writing(self, uint64_t now) except? 0
    cdef uint64_t _check_drain(self, uint64_t now) except? 0
    cdef bint _is_stuck(self, Call call, uint64_t now) noexcept
    cdef uint64_t _heard_ns(self) noexcept
    cdef int _hear(self, uint64_t now) noexcept
    cdef uint64_t _check_life(self, uint64_t now) except? 0
