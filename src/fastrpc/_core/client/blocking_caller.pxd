"""The compiled base of `SyncClient`: its verbs, and the batch of `call_many`."""

from libc.stdint cimport uint64_t

from fastrpc._core.client.batch_call cimport BatchCall
from fastrpc._core.client.blocking_call cimport BlockingCall
from fastrpc._core.client.blocking_session cimport BlockingSession
from fastrpc._core.client.caller_view cimport CallerView


cdef class BlockingBatch(BatchCall):
    cdef bint start_on(self, BlockingCall head, BlockingSession session, Py_ssize_t unsent) except -1
    cdef list end(self, BlockingCall head)
    cdef list outcomes(self, BlockingCall head)


cdef class BlockingCaller(CallerView):
    cdef object make(self, object method, tuple args, dict kwargs, int verb)
    cdef object _made(self, object method, tuple args, dict kwargs, int verb)
    cdef list _made_many(self, object method, list arguments, bint return_exceptions)
    cdef BlockingSession place(self, BlockingCall call, uint64_t now)
    cdef bint takes(self, BlockingSession session, BlockingCall call) except -1
