cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_stream cimport BlockingStream
from fastrpc._core.client.blocking_wait cimport ReentryGuard, Wait
from fastrpc._core.client.client_call cimport ClientCall


@cython.final
cdef class BlockingSession(BlockingStream):
    cdef:
        # The reason for the end of the connection, and the hint of its error; whether the last frames wait to be read.
        readonly str lost_because
        readonly object lost_hint
        bint lingers
        uint64_t linger_ns

        # The roles besides the receiver's: whether it also watches for room to send; the thread that watches only for
        # that.
        bint receiver_pushes
        Wait pusher

        # The next instant at which the engine is to be checked, and the end of the receiver's wait.
        uint64_t look_due_ns
        uint64_t receiver_due_ns

        # The threads that wait in this session, or elsewhere in the same client.
        ReentryGuard reentry

        # Threads that have a call here, from `start` to the end of `wait`, and streams, from `start` to their end.
        readonly Py_ssize_t users

        # Waits other than for answers: for the server's settings; for one-way calls to be sent.
        list ready_waits
        list hand_overs

        # Waits until all output was sent, before a stream adds to it; the calls of streams without users.
        list room_waits
        list left_calls

        # The time to spin; the instants at which the session was made, since which it is unused, and at which it ended.
        uint64_t spin_ns
        uint64_t made_ns
        uint64_t rests_ns
        uint64_t ended_ns

    cdef bint start(self, ClientCall call, bytes payload, Wait handed) except -1
    cdef bint start_many(self, list calls, list payloads) except -1
    cdef bint wait(self, Wait wait) except -1
    cdef int give_up_all(self, list calls, bint is_overdue, object error=*) except -1

    # Streams.
    cdef int enter_use(self) except -1
    cdef int leave_use(self) except -1
    cdef int end_stream(self, ClientCall call, int reason, object error) except -1
    cdef int let_go(self, ClientCall call) except -1
    cdef int _drop_left_calls(self) except -1

    # The turns.
    cdef bint _takes_call(self, uint64_t now) except -1
    cdef int _came_too_late(self, ClientCall call, bytes payload) except -1
    cdef int _take_over(self, ClientCall call, bytes payload) except -1
    cdef int _read_for_all(self, Wait wait, uint64_t due_ns) except -1
    cdef int _push(self, Wait wait) except -1
    cdef int _sleep(self, Wait wait) except -1
    cdef bint _wants_pusher(self) noexcept
    cdef int _go(self, bint refused=*) except -1
    cdef int _settle_down(self) except -1

    # The checks and the end.
    cdef uint64_t _check(self) except? 0
    cdef int _note_end(self, str why) except -1
    cdef object _lost_error(self, ClientCall call)
    cdef bint _leaves(self, ClientCall call) noexcept
    cdef bint _is_ready(self) noexcept
    cdef int _wake_one(self) except -1
