from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_session cimport BlockingSession
from fastrpc._core.client.blocking_wait cimport ReentryGuard
from fastrpc._core.client.caller_view cimport ViewState


cdef class BlockingState(ViewState):
    cdef:
        # `fork_generation`: the process of the client, as a count of forks; `remake`: the function that remakes its
        # parts in the child of a fork; `renewing`: the thread that runs it.
        uint64_t fork_generation
        public object remake
        unsigned long renewing

        # `looks_for_loop`: whether the next call checks if it would block an event loop. `has_warned`: whether the
        # warning was logged.
        bint looks_for_loop
        bint has_warned

        # The threads that wait in the guard; each process has its own guard.
        readonly ReentryGuard reentry

        # Usable connections, a list for each endpoint that has one.
        list groups
        # The most connections of an endpoint.
        public Py_ssize_t width
        # Another connection is allowed once the least used one has more threads than this.
        Py_ssize_t crowd
        Py_ssize_t turn
        # The instant from which the runner has to check the connections first.
        uint64_t look_after_ns

        # Whether the client's endpoints are listed by a registry.
        public bint follows

    cdef int look_for_loop(self) except -1
    cdef BlockingSession pick(self)
    cdef bint is_settled(self, uint64_t now) except -1
    cdef BlockingSession least_used(self, list group)
    cdef int check_use(self, bint waits) except -1
