"""Admission to a server: which calls start, wait for their start, or are refused."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.server.handler_context cimport SharedContext
from fastrpc._core.server.memory_budget cimport MemoryBudget
from fastrpc._core.server.served_call cimport ServerCall, WaitingCalls
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class CallAdmission:
    cdef:
        # The loop of the server; its live connections, their limit, the number refused above it.
        readonly LoopState loop_state
        readonly set engines
        readonly Py_ssize_t connections
        readonly uint64_t refused_connections

        # Calls that wait for their start, over all connections: all, and calls of another priority than 0.
        readonly Py_ssize_t waiting
        readonly WaitingCalls prioritised
        # `Admission.queue_length` and `Admission.queue_age`.
        Py_ssize_t queue_length
        uint64_t queue_age_ns

        # The longest hold after a stall; the turns that a connection waits for do not count.
        uint64_t hold_ns

        # Until this instant calls that waited for half of their time are refused, because others expired unstarted.
        uint64_t sheds_until_ns
        # Connections to be checked in the next turn; whether that is scheduled, and since when.
        object turn
        bint is_scheduled
        uint64_t scheduled_ns

        # The time in which one connection starts waiting calls while others wait for theirs.
        uint64_t starts_each_ns
        object _look
        object _context

        # The contexts in which waiting requests were read.
        SharedContext _contexts

        # The last text for a call that waited too long, and the values in it.
        str _told
        str _told_method
        uint64_t _told_waited_ns
        uint64_t _told_timeout_ns

        # Calls that were not started.
        readonly uint64_t refused
        # The counters of calls to methods that are not served here.
        MethodCounters unknown_method
        # The counters of calls by other protocols than the native one: by protocol, then method.
        dict _counters

        # Limits for engines of other protocols: calls under way, and bytes of metadata.
        Py_ssize_t concurrent_calls
        uint32_t metadata_bytes

        # The bytes that connections hold. Bounds in bytes: of a received message, of a sent message, and of the
        # output of one connection.
        readonly MemoryBudget memory
        uint64_t message_bytes
        uint64_t sent_bytes
        int64_t send_soft
        int64_t send_hard

        # Notified of calls that do not start (`fastrpc.server.watching`); None in most servers.
        public object watch

        # Nanoseconds that a stream may wait for its peer (`Timeouts.stream_idle`), 0: no limit.
        public uint64_t stream_idle_ns

    cdef MethodCounters counters_of(self, ServerCall call, MethodRoute route)
    cdef bint add_engine(self, object engine) except -1
    cdef int schedule(self, ServedConnection connection) except -1
    cdef str over_budget(self, ServerCall call, Py_ssize_t size, bint is_new)
    cdef bint has_room(self, ServerCall call, bytes payload) except -1
    cdef bint _can_make_room(self, ServedConnection connection, Py_ssize_t size, bint is_new) noexcept
    cdef ServerCall _call_to_shed(self, ServedConnection connection, bint of_any)
    cdef int _shed(self, ServerCall call, str why, str reason) except -1
    cdef int weigh(self, ServedConnection connection, int64_t size) except -1
    cdef int note_stall(self, ServedConnection connection, uint64_t now, uint64_t came_ns) except -1
    cdef int hold_for_stall(self, ServedConnection connection) except -1
    cdef int note_expired(self, ServerCall call) noexcept
    cdef bint _is_stale(self, ServerCall call, uint64_t since, uint64_t now) except -1
    cdef int slow_start(self, ServerCall call, bytes payload) except -1
    cdef int start(self, ServerCall call, bytes payload) except -1
    cdef int refuse(self, ServerCall call, int status, str text, bint is_faulty=*) except -1
    cdef int count_refused(self, ServerCall call, int status, str text) except -1
    cdef int drop_waiting(self, ServerCall call, uint64_t now=*) except -1
    cdef int drop_all_waiting(self, ServedConnection connection) except -1
    cdef uint64_t check_waiting(self, ServedConnection connection, uint64_t now) except? 0
    cdef int _start_waiting(self, ServedConnection connection, int last_rank) except -1
    cdef int _start_ready(self, list ready, uint64_t began, int last_rank) except -1
    cdef bint _refuse_on(self, ServedConnection connection, uint64_t began) except -1
    cdef int _start_on(self, ServedConnection connection, uint64_t began, int last_rank) except -1
    cdef bint _higher_rank_waits(self, int rank) except -1
    cdef int start_inside(self, object context, ServerCall call, bytes payload) except -1
    cdef int _refuse_aged(self, ServedConnection connection, uint64_t now) except -1
    cdef int _enqueue(self, ServerCall call, bytes payload) except -1
    cdef str _told_wait(self, str method, uint64_t waited, uint64_t timeout)
