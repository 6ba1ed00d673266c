from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calling.caller_view cimport CallerView, ViewOptions, ViewState
from fastrpc._core.calling.client_session cimport ClientSession
from fastrpc._core.calling.coroutine_call cimport CoroutineCall
from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.balancing.retry_budget cimport RetryBudget
from fastrpc._core.balancing.selectors cimport EndpointState


cdef class CallerState(ViewState):
    cdef:
        # The loop of its first use, its `is_running`, its thread, and the fork count at that use.
        readonly object loop
        uint64_t fork_generation
        unsigned long thread
        object is_running
        dict future_options

        # The call runner, in Python: `run(call)`, `run_batch(batch)`, `retry(call, error)` … return coroutines.
        readonly object runner

        # Whether calls always take the slow path (interceptors, a selector); the connections that take calls.
        public bint needs_runner
        list sessions
        Py_ssize_t turn

        # Members of ended batches, for reuse.
        list spare

        # The endpoint set, or None with one endpoint; the counters of calls.
        readonly EndpointSet endpoint_set
        readonly RetryBudget budget

    cdef ClientSession pick(self)
    cdef BatchMember new_member(self)
    cdef int take_back(self, list members) except -1
    cdef int check_use(self) except -1


cdef class Caller(CallerView):
    cdef ClientCall new_call(self, object method, tuple args, dict kwargs, int verb)


cdef class PickedCall(CoroutineCall):
    cdef:
        # Its client and its connection.
        ViewOptions options
        readonly object hash_key
        ClientSession session

        # Whether it is an attempt of another call: with a given connection, that call's deadline, and no retries.
        bint is_attempt

        # Until the pick is concluded: the picked endpoint and its breaker's ticket.
        EndpointState endpoint_state
        int64_t ticket

    cdef ClientSession place(self, EndpointSet endpoint_set, uint64_t now)
    cdef int leave(self, object error, uint64_t ended_ns) except -1
    cdef int drop(self) except -1
    cdef int undo(self) except -1


cdef class ClientCall(PickedCall):
    cdef:
        # The payload until it was sent, and the verb; whether another attempt was faster.
        tuple args
        dict kwargs
        int verb
        bint has_lost

    cdef bytes prepare(self, uint64_t now)
    cdef int send_on(self, ClientSession session, uint64_t now) except -1
    cdef object finish(self)


cdef class BatchMember(PendingCall):
    cdef:
        BatchCall batch

    cdef bint make_new(self) noexcept


cdef class BatchCall(PickedCall):
    cdef:
        # The payloads; the number of missing answers; whether errors are results.
        list argument_tuples
        bint return_exceptions
        list members
        Py_ssize_t missing

    cdef list _collected(self, bint* failed)
