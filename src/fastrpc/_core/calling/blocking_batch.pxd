from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.balancing.selectors cimport EndpointState
from fastrpc._core.calling.blocking_session cimport BlockingSession
from fastrpc._core.calling.blocking_wait cimport Wait
from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.calls.call cimport Route


cdef class BatchMember(PendingCall):
    cdef:
        Wait wait


cdef class BlockingBatch:
    cdef:
        # Who makes it, what to send and until when; whether errors are results.
        ViewOptions options
        readonly object hash_key
        Route route
        list argument_tuples
        uint64_t started_ns
        uint64_t deadline_ns
        bint return_exceptions

        # The calls under way on a connection, and what their thread waits for.
        list members
        BlockingSession session
        Wait wait

        # As of a call.
        EndpointSet endpoint_set
        EndpointState endpoint_state
        int64_t ticket

    cdef bint start_on(self, BlockingSession session, Py_ssize_t unsent) except -1
    cdef int leave(self, object error) except -1
    cdef list end(self)
    cdef list outcomes(self)
