from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.balancing.selectors cimport EndpointState
from fastrpc._core.calling.blocking_session cimport BlockingSession
from fastrpc._core.calling.blocking_wait cimport Wait
from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.calling.pending_call cimport PendingCall


cdef class BlockingCall(PendingCall):
    cdef:
        # Who makes it, what to send, and what is wanted of it.
        ViewOptions options
        readonly object hash_key
        tuple args
        dict kwargs
        int verb

        # Where it went last, and what its thread waits for there.
        BlockingSession session
        Wait wait

        # Until the endpoint set was told what became of it: which endpoint set, where it picked, and its breaker's ticket.
        EndpointSet endpoint_set
        EndpointState endpoint_state
        int64_t ticket

    cdef bint start_on(self, BlockingSession session, uint64_t now) except -1
    cdef int leave(self, object error) except -1
    cdef int drop(self) except -1
    cdef int undo(self) except -1
    cdef object end(self)
    cdef object outcome(self)
