"""What a server lets in: connections that open, calls that wait for their start, bytes that are held."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.serving.openings cimport Openings
from fastrpc._core.io.session cimport Session
from fastrpc._core.base.timed cimport Timed

cdef enum Hold:
    # Why a request takes the slow way in. A stall of the loop: first everything is read that came meanwhile.
    HOLD_STALL = 1
    # More of our output waits than `Memory.send_soft`.
    HOLD_OUTPUT = 2
    # `Memory.request_bytes` is nearly used up: each request is compared with what is left.
    HOLD_REQUESTS = 4

cdef enum:
    # What a call costs beside its bytes: its objects, its coroutine, its task (PROTOCOL.md, "Memory").
    CALL_RECORD = 3072

# What all connections of this process hold together: requests, calls under way, output, reads that wait.
cdef int64_t process_held


cdef class AdmittedCall(Call):
    cdef:
        # Bytes of its decoded arguments, known once they are; bytes counted for it now, at the connection.
        Py_ssize_t weight
        Py_ssize_t charge

        # While it waits for its start: what it is started with, and since when.
        bytes waiting_payload
        uint64_t queued_ns


cdef class Admission(Timed):
    cdef:
        # The loop of the server, its live connections.
        readonly LoopState loop_state
        readonly set sessions
        object __weakref__

        # Calls that wait for their start, over all connections; connections to be looked at in the next turn.
        readonly Py_ssize_t waiting
        Py_ssize_t queue_length
        uint64_t queue_age_ns
        object turn
        bint is_scheduled
        object _look
        object _context

        # Connections that are opening, and how many there may be in all.
        Openings openings
        Py_ssize_t connections
        readonly uint64_t refused_connections

        # Calls that were not started; of those, the counters of the ones whose method is not served here.
        readonly uint64_t refused
        MethodCounters unknown_method

        # Bounds in bytes, of one connection and of the process. Full: no connection credit is returned for a
        # while, which tests may shorten.
        int64_t request_bytes
        int64_t send_soft
        int64_t send_hard
        int64_t process_bytes
        int64_t refuse_above
        public uint64_t full_wait_ns
        readonly bint is_full

    cdef int accepted(self, GuardedSession session) except -1
    cdef int left(self, GuardedSession session) except -1
    cdef int schedule(self, GuardedSession session) except -1
    cdef int count(self, int64_t change) except -1


cdef class GuardedSession(Session):
    cdef:
        readonly Admission admission

        # Why requests take the slow way in (Hold), and those that wait: {id: AdmittedCall}, in order.
        readonly int holding
        object queue
        bint is_in_turn

        # When the handler that ran last gave the loop back, and when it was given to this connection.
        uint64_t stepped_ns
        uint64_t turn_ns

        # Behind a stall: when the socket was last seen empty; looks taken, and the last read at the one before.
        uint64_t dated_ns
        uint64_t seen_read_ns
        int looks

        # What is counted for this connection: its requests, its calls' records, its output, what it sent and waits for a
        # turn of the loop; credit kept back.
        readonly int64_t request_held
        int64_t record_held
        int64_t output_held
        int64_t tail_held
        int64_t withheld

        # Opening under way; one connection too many; told to drain before it was open; when a drain ends.
        bint is_opening
        bint is_surplus
        int pending_drain
        uint64_t leave_at_ns
        uint64_t leave_after_ns

        # Set once it is to end; made on first use.
        object drain_signal

    cpdef int64_t held_bytes(self) noexcept
    cdef int leave_opening(self) except -1
    cdef int slow_start(self, AdmittedCall call, bytes payload) except -1
    cdef int start_waiting(self) except -1
    cdef int let_in(self, AdmittedCall call, bytes payload) except -1
    cdef int hold_for_stall(self, uint64_t since) except -1
    cdef bint is_caught_up(self) noexcept
    cdef int weigh_output(self) except -1
    cdef int charge(self, AdmittedCall call, Py_ssize_t size) except -1
    cdef int count_refused(self, Call call, int status) except -1
    cdef int drop_request(self, Call call, int status, str text) except -1
    cdef int drop_waiting(self, AdmittedCall call) except -1
    cdef int _drop_all_waiting(self) except -1
    cdef int return_credit(self) except -1
    cpdef int end_calls(self, str text) except -1
    cdef int tell_watcher(self) except -1
    cdef int task_finished(self, HandlerTask ended) except -1
    cdef bint _peer_rests(self) noexcept
    cdef str _over_budget(self, Py_ssize_t size, bint is_new)
    cdef int _enqueue_call(self, AdmittedCall call, bytes payload) except -1
    cdef int _refuse_aged(self, uint64_t now) except -1
    cdef uint64_t _check_waiting(self, uint64_t now) except? 0
    cdef uint64_t _check_leaving(self, uint64_t now) except? 0
