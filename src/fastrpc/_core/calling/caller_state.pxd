from libc.stdint cimport uint64_t

from fastrpc._core.calling.caller_view cimport ViewState
from fastrpc._core.native.connection cimport Connection


cdef class CallerState(ViewState):
    cdef:
        # The loop of its first use, how to ask whether it runs, its thread, and the fork it was used before.
        readonly object loop
        uint64_t fork_generation
        unsigned long thread
        object is_running
        dict future_options

        # Whether calls wait for room in the output; connections calls may go out on.
        public bint bounds_output
        list sessions
        Py_ssize_t turn

        # Members of batches that ended, to be used again.
        list spare

    cdef Connection pick(self)
    cdef int check_use(self) except -1
