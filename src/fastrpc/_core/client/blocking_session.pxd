cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_events cimport BlockingEvents
from fastrpc._core.client.blocking_stream cimport BlockingStream
from fastrpc._core.client.blocking_wait cimport ReentryGuard, Wait
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.engine cimport Engine


@cython.final
cdef class BlockingSession:
    # Fields are written under the guard of the stream, and the engine is used under it. A thread that holds no guard may
    # read single fields under the GIL: whether the engine is usable or closed, the number of users, the instants.
    cdef:
        # `engine`: the engine of the connection, never None, which the stream holds too; `stream`: the stream, with the
        # guard; `events`: the events that the stream reports. None of them has a pointer to the session. `endpoint`:
        # the peer's address.
        readonly Engine engine
        BlockingStream stream
        BlockingEvents events
        readonly object endpoint

        # `lingers`: whether a close waits until the peer has read the last frames. `linger_ns`: the longest wait.
        bint lingers
        uint64_t linger_ns

        # The threads that wait in this session, or elsewhere in the same client.
        ReentryGuard reentry

        # The number of threads with a call, from `start` to the end of `wait`, and of streams, from `start` to their end.
        readonly Py_ssize_t users

        # The calls of streams without users. Finalizers append to it without the guard, under the GIL.
        list left_calls

        # `spin_ns`: the time to spin; `made_ns`: the instant at which the session was made; `rests_ns`: the instant
        # since which it is unused.
        uint64_t spin_ns
        uint64_t made_ns
        uint64_t rests_ns

    cdef bint start(self, ClientCall call, bytes payload, Wait handed=*, list members=*, list payloads=*) except -1
    cdef bint wait(self, Wait wait) except -1
    cdef int await_answers(self, Wait wait, ClientCall call, list members=*) except -1
    cdef int give_up_all(self, list calls, bint is_overdue, object error=*) except -1

    # Uses. `enter_use` takes the guard; `leave_use` ends the use and releases it. `flush` needs it.
    cdef int enter_use(self) except -1
    cdef int leave_use(self, bint refused=*) except -1
    cdef int flush(self) except -1
    cdef int end_stream(self, ClientCall call, int reason, object error) except -1
    cdef int let_go(self, ClientCall call) except -1
    cdef int _drop_left_calls(self) except -1

    # The turns. The caller holds the guard. The turns release it while they wait, and `_go` releases it at the end of a
    # use.

    cdef bint _is_ready(self) noexcept
