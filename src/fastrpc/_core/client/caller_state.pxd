from libc.stdint cimport uint64_t

from fastrpc._core.client.caller_view cimport ViewState
from fastrpc._core.io.engine cimport Engine


cdef class CallerState(ViewState):
    cdef:
        # The loop of the first use, its `is_running`, its thread, and the count of forks at the first use.
        readonly object loop
        uint64_t fork_generation
        unsigned long thread
        object is_running
        dict future_options

        # `bounds_output`: whether calls wait until their output has room; `connections`: the connections that calls may
        # be sent on.
        public bint bounds_output
        list connections
        Py_ssize_t turn

        # Members of ended batches, kept for reuse.
        list spare

    cdef Engine pick(self)
    cdef int check_use(self) except -1
