from libc.stdint cimport uint64_t

from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.balancing.retry_budget cimport RetryBudget
from fastrpc._core.calling.caller_view cimport ViewState
from fastrpc._core.calls.interception cimport Chain
from fastrpc._core.native.connection cimport Connection


cdef class CallerState(ViewState):
    cdef:
        # The loop of its first use, how to ask whether it runs, its thread, and the fork it was used before.
        readonly object loop
        uint64_t fork_generation
        unsigned long thread
        object is_running
        dict future_options

        # Python's part: `run(call)`, `run_batch(batch)`, `retry(call, error)` … return coroutines.
        readonly object runner

        # Whether calls always take the slow path (a selector), or those that concern an interceptor; whether calls wait for
        # room in the output; connections calls may go out on.
        public bint needs_runner
        public Chain chain
        public bint bounds_output
        list sessions
        Py_ssize_t turn

        # Members of batches that ended, to be used again.
        list spare

        # Who picks where there is a choice, else None; what counts the calls.
        readonly EndpointSet endpoint_set
        readonly RetryBudget budget

    cdef bint takes_slow_path(self) except -1
    cdef Connection pick(self)
    cdef int check_use(self) except -1
