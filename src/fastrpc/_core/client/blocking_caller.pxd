from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_call cimport BlockingCall
from fastrpc._core.client.blocking_session cimport BlockingSession
from fastrpc._core.client.caller_view cimport CallerView


cdef class BlockingCaller(CallerView):
    cdef object make(self, object method, tuple args, dict kwargs, int verb)
    cdef object _made(self, object method, tuple args, dict kwargs, int verb)
    cdef list _made_many(self, object method, list arguments, bint return_exceptions)
    cdef BlockingSession place(self, BlockingCall call, uint64_t now)
